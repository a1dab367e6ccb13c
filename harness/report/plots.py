"""Where the plots are drawn: five per model, from its summary.

Each function draws one plot, or returns None where there is nothing to draw. Bars begin at zero,
error bars are 95 % intervals over trials, and what could not be measured is named in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from msgspec import Struct

from harness.report import numbers
from harness.report.format import listing, number, size
from harness.report.labels import place_labels, spread
from harness.report.missing import why
from harness.report.results import device_names, trials_text
from harness.report.style import (
    BLUE,
    INK,
    LINES,
    MARKERS,
    MUTED,
    ORANGE,
    PALE_BLUE,
    house_style,
    new_axes,
    to_png,
    to_svg,
)
from harness.report.table import Table
from harness.report.values import ModelSummary, Row
from harness.stats import Estimate

BAR_IN = 0.34  # height that a bar takes
FRAME_IN = 1.15  # height that title and axis take
LOG_FROM = 20  # a spread of times per token from which only a logarithmic axis shows them all


class Plot(Struct, frozen=True, kw_only=True):
    """A drawn plot with what it says and the numbers behind it."""

    kind: str  # "decode", "prefill", "memory", "tradeoff" or "latency"
    title: str
    says: str  # the text alternative
    svg: str
    png: bytes
    tables: tuple[Table, ...]


def draw_plots(model: ModelSummary) -> tuple[Plot, ...]:
    """All plots of a model that there are numbers for."""
    drawn: list[Plot] = []
    with house_style():
        for kind, (draw, tables) in _PLOTS.items():
            result = draw(model)
            if result is None:
                continue
            figure, title, says = result
            drawn.append(
                Plot(
                    kind=kind,
                    title=title,
                    says=says,
                    svg=to_svg(figure),
                    png=to_png(figure),
                    tables=tuple(table(model) for table in tables),
                )
            )
    return tuple(drawn)


Drawing = tuple[Figure, str, str]


def decode(model: ModelSummary) -> Drawing | None:
    """Decode speed per strategy."""
    values = [row.decode_tok_per_s for row in model.rows]
    return _speed_bars(model, values, "Decode speed", "tokens per second")


def prefill(model: ModelSummary) -> Drawing | None:
    """Prefill speed per strategy, at the longest prompt."""
    lengths = {one.tokens for row in model.rows for one in row.prefill_lengths[-1:]}
    of = f" of {max(lengths)} tokens" if len(lengths) == 1 else ""
    values = [row.prefill_tok_per_s for row in model.rows]
    return _speed_bars(model, values, f"Prefill speed{of}", "tokens per second")


def memory(model: ModelSummary) -> Drawing | None:
    """Peak memory per strategy: the host's, in two parts, and each device's."""
    rows = [row for row in _drawn(model.rows) if row.memory.peak_rss_bytes or row.curve_s]
    if not any(row.memory.peak_rss_bytes for row in rows):
        return None
    devices = device_names(rows)
    figure, axes = new_axes(FRAME_IN + 0.3 + BAR_IN * len(rows) * (1 + 0.8 * len(devices)))
    thickness = 0.68 / (1 + len(devices))
    for at, row in enumerate(rows):
        _memory_bars(axes, row, at, thickness, devices)
    scale = max(_largest_peak(row) for row in rows)
    _size_axis(axes, "x", scale)
    _name_rows(axes, rows)
    axes.set_xlim(0, scale * 1.17)
    axes.set_xlabel(f"largest of {trials_text(rows)}" if _timed(rows) else "largest of the trials")
    title = f"Peak memory, {model.name}"
    axes.set_title(title, loc="left", pad=26)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)
    peaks = [f"{row.label} {size(_largest_peak(row))}" for row in rows]
    return figure, title, f"Bar chart of peak memory: {listing(peaks)}."


def tradeoff(model: ModelSummary) -> Drawing | None:
    """Decode speed against peak memory, host and devices together."""
    points = [
        (total, row.decode_tok_per_s, row)
        for row in model.rows
        if (total := row.memory.total_peak_bytes) is not None and row.decode_tok_per_s is not None
    ]
    if not points:
        return None
    figure, axes = new_axes(3.8)
    for total, speed, row in points:
        marker, colour = ("o", INK) if row.is_reference else ("s", BLUE)
        axes.errorbar(
            [total], [speed.value], yerr=_errors([speed]), fmt=marker, color=colour, markersize=6
        )
    largest = max(total for total, _, _ in points)
    _size_axis(axes, "x", largest)
    axes.set_xlim(0, largest * 1.12)
    axes.set_ylim(0, _top([speed for _, speed, _ in points]) * 1.1)
    axes.set_xlabel("peak memory, host and devices together")
    axes.set_ylabel("decode, tokens per second")
    title = f"Speed against memory, {model.name}, {trials_text([row for _, _, row in points])}"
    axes.set_title(title)
    axes.text(0.01, 0.99, "better: up and to the left", transform=axes.transAxes, va="top",
              color=MUTED, fontsize=8)  # fmt: skip
    place_labels(axes, [(total, speed.value, _name(row)) for total, speed, row in points])
    pairs = [f"{row.label} {number(v.value)} tok/s with {size(n)}" for n, v, row in points]
    return figure, title, f"Scatter plot of decode speed against peak memory: {listing(pairs)}."


def latency(model: ModelSummary) -> Drawing | None:
    """The time of each token over its position."""
    rows = [row for row in model.rows if len(row.curve_s) > 1]
    if not rows:
        return None
    figure, axes = new_axes(3.9)
    times = [[s * 1e3 for s in row.curve_s] for row in rows]
    longest = max(len(curve) for curve in times)
    others = iter(range(len(rows)))
    ends = []
    for row, curve in zip(rows, times, strict=True):
        look = _reference_line() if row.is_reference else _line(next(others))
        every = max(1, len(curve) // 8)
        axes.plot(range(1, len(curve) + 1), curve, markevery=every, markersize=4, lw=1.3, **look)
        ends.append((len(curve), curve[-1], _name(row), look["color"]))
    low, high = min(min(curve) for curve in times), max(max(curve) for curve in times)
    logarithmic = high > LOG_FROM * low > 0
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(0, high * 1.08)
    axes.set_xlim(1, longest)
    axes.set_xlabel("position of the generated token")
    axes.set_ylabel("milliseconds" + (", logarithmic" if logarithmic else ""))
    title = f"Time per token, {model.name}, median over passes, {trials_text(rows)}"
    axes.set_title(title)
    spread(axes, ends)
    first_last = [f"{row.label} {number(c[0])} to {number(c[-1])} ms"
                  for row, c in zip(rows, times, strict=True)]  # fmt: skip
    says = f"Line chart of the time per token, from the first to the last: {listing(first_last)}."
    return figure, title, says


_PLOTS: dict[
    str,
    tuple[Callable[[ModelSummary], Drawing | None], tuple[Callable[[ModelSummary], Table], ...]],
] = {
    "decode": (decode, (numbers.decode,)),
    "prefill": (prefill, (numbers.prefill,)),
    "memory": (memory, (numbers.memory,)),
    "tradeoff": (tradeoff, (numbers.tradeoff,)),
    "latency": (latency, (numbers.token_times, numbers.latency)),
}


def _speed_bars(
    model: ModelSummary, values: Sequence[Estimate | None], what: str, unit: str
) -> Drawing | None:
    both = [
        (row, v) for row, v in zip(model.rows, values, strict=True) if row in _drawn(model.rows)
    ]
    known = [value for _, value in both if value is not None]
    if not known:
        return None
    rows = [row for row, _ in both]
    figure, axes = new_axes(FRAME_IN + BAR_IN * len(rows))
    top = _top(known)
    for at, (row, value) in enumerate(both):
        if value is None:
            axes.text(0, at, f" {_short_reason(row)}", va="center", color=MUTED, style="italic")
            continue
        hatch = "///" if row.is_reference else None
        axes.barh(at, value.value, height=0.62, color=BLUE, hatch=hatch, edgecolor="none")
        if value.low is not None:
            axes.errorbar(value.value, at, xerr=_errors([value]), color=INK, lw=1.1)
        end = value.high if value.high is not None else value.value
        axes.text(end + top * 0.012, at, number(value.value), va="center")
    _name_rows(axes, rows)
    axes.set_xlim(0, top * 1.12)
    intervals = any(value.low is not None for value in known)
    axes.set_xlabel(unit + (" (error bars: 95 % interval)" if intervals else " (no interval)"))
    ns = sorted({value.n for value in known})
    of = trials_text(rows) if len(ns) == 1 else f"{ns[0]} to {ns[-1]} trials"
    title = f"{what}, {model.name}, median of {of}"
    axes.set_title(title)
    said = [f"{row.label} {number(value.value)}" for row, value in both if value is not None]
    return figure, title, f"Bar chart of {what.lower()} in {unit}: {listing(said)}."


def _memory_bars(axes: Axes, row: Row, at: int, thickness: float, devices: Sequence[str]) -> None:
    used = row.memory
    first = at - 0.34 + thickness / 2
    peak, before = used.peak_rss_bytes, used.import_rss_bytes
    if peak is None:
        axes.text(0, first, f" {row.missing['peak_rss_bytes']}", va="center", color=MUTED)
    else:
        libraries = before if used.model_bytes is not None and before is not None else 0
        own: dict[str, Any] = {"label": "the model and its work"} if at == 0 else {}
        if libraries:
            base: dict[str, Any] = {"label": "libraries"} if at == 0 else {}
            axes.barh(first, libraries, height=thickness, color=PALE_BLUE, hatch="....", **base)
        axes.barh(first, peak - libraries, left=libraries, height=thickness, color=BLUE, **own)
        axes.annotate(size(peak), (peak, first), (4, 0), textcoords="offset points", va="center")
    for number_, name in enumerate(devices, start=1):
        n_bytes = used.device_peak_bytes.get(name)
        if n_bytes is None:
            continue
        y = first + number_ * thickness
        axes.barh(y, n_bytes, height=thickness, color=ORANGE, hatch="\\\\\\")
        axes.annotate(f"{size(n_bytes)} on {name}", (n_bytes, y), (4, 0),
                      textcoords="offset points", va="center")  # fmt: skip


def _drawn(rows: Sequence[Row]) -> list[Row]:
    """Rows that were to be measured: what was skipped beforehand is in the tables only."""
    return [r for r in rows if any(o.state not in ("skipped", "not run") for o in r.outcomes)]


def _short_reason(row: Row) -> str:
    outcome = next((o for o in row.outcomes if o.workload == "speed"), None)
    text = "not measured" if outcome is None else why(outcome)
    return text if len(text) <= 70 else text[:69] + "…"


def _name(row: Row) -> str:
    return f"{row.label} (reference)" if row.is_reference else row.label


def _name_rows(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_yticks(range(len(rows)), [_name(row) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)  # the first strategy on top
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def _size_axis(axes: Axes, which: str, largest: float) -> None:
    """Ticks at round numbers of the unit in which the largest value is read."""
    unit = 1024 ** max(0, min(4, (max(1, int(largest)).bit_length() - 1) // 10))
    step = _round_step(largest / unit) * unit
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks([step * n for n in range(int(largest * 1.2 / step) + 1)])
    axis.set_major_formatter(FuncFormatter(lambda value, _: size(value) if value else "0"))


def _round_step(largest: float) -> float:
    """A round step that gives four to eight ticks."""
    step = 10.0 ** (len(str(int(largest))) - 1)
    return next(step * f for f in (0.2, 0.5, 1, 2) if largest / (step * f) <= 7)


def _errors(values: Sequence[Estimate]) -> list[list[float]] | None:
    known = [(v.value, v.low, v.high) for v in values]
    if any(low is None or high is None for _, low, high in known):
        return None
    return [
        [value - low for value, low, _ in known if low is not None],
        [high - value for value, _, high in known if high is not None],
    ]


def _top(values: Sequence[Estimate]) -> float:
    return max(v.high if v.high is not None else v.value for v in values)


def _largest_peak(row: Row) -> int:
    used = row.memory
    return max([used.peak_rss_bytes or 0, *used.device_peak_bytes.values()])


def _timed(rows: Sequence[Row]) -> bool:
    return any(row.decode_tok_per_s is not None for row in rows)


def _reference_line() -> dict[str, Any]:
    return {"color": INK, "marker": "o", "linestyle": "-"}


def _line(number_: int) -> dict[str, Any]:
    """Line number `number_` among those that are not the reference."""
    return {
        "color": LINES[number_ % len(LINES)],
        "marker": MARKERS[number_ % len(MARKERS)],
        "linestyle": ("-", "--", ":")[number_ // len(LINES) % 3],
    }
