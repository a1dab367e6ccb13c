"""Plots of points and lines: speed against memory, and the time of each token over its position.

Labels stand beside what they name; the reference strategy is black and round throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from matplotlib.transforms import offset_copy

from harness.report.format import number, size
from harness.report.labels import (
    LETTERS,
    LINE_IN,
    Point,
    label_ends,
    label_points,
    texts_or_numbers,
)
from harness.report.results import device_names, row_name, trials_text
from harness.report.style import (
    BLUE,
    INK,
    LINES,
    MARKERS,
    MUTED,
    Drawing,
    counting_axis,
    new_axes,
    put_title,
    size_axis,
)
from harness.report.values import ModelSummary
from harness.stats import Estimate

LOG_FROM = 20  # a spread of values that only a logarithmic axis shows
HEAP = 0.7  # the smallest as a share of the largest from which an axis from zero shows a heap
LEAST_SPAN = 0.05  # of the largest value, that an axis shows which does not begin at zero
LEAST_SPAN_BYTES = 2**20  # and in bytes
DWARFS = 2.0  # times the largest value: where an axis ends that longer error bars would stretch
MARKED = 8  # markers on a line


def tradeoff(model: ModelSummary) -> Drawing | None:
    """Decode speed against peak memory, host and devices together."""
    points = [
        (total, row.decode_tok_per_s, row)
        for row in model.rows
        if (total := row.memory.total_peak_bytes) is not None and row.decode_tok_per_s is not None
    ]
    if not points:
        return None
    names = [row_name(row, of_speed=True) for _, _, row in points]
    texts, key = texts_or_numbers(names, names)
    figure, axes = new_axes(3.9 + LINE_IN * len(key))
    for total, speed, row in points:
        look: dict[str, Any] = (
            {"fmt": "o", "color": INK} if row.is_reference else {"fmt": "s", "color": BLUE}
        )
        axes.errorbar([total], [speed.value], yerr=error_sides(speed), markersize=6, **look)
    unit = _memory_axis(axes, [total for total, _, _ in points])
    speeds = [speed.value for _, speed, _ in points]
    top = top_of([speed for _, speed, _ in points])
    value_axis(axes, min(speeds), top, "decode, tokens per second")
    where = ", host and devices together" if device_names(model.rows) else ""
    bars = bars_text([speed for _, speed, _ in points], axes.get_ylim()[1])
    what = f"; bars of the speed: {bars}" if bars else ""
    axes.set_xlabel("\n".join([*wrap(f"peak memory{where}, {unit}{what}", LETTERS), *key]))
    how = trials_text([row for _, _, row in points])
    title = put_title(figure, "Speed against memory", model.name, how)
    say_better(axes)
    label_points(
        axes,
        [
            Point(total, speed.value, speed.low, speed.high, text)
            for (total, speed, _), text in zip(points, texts, strict=True)
        ],
    )
    said = [f"{row.label}: {number(v.value)} tok/s with {size(n)}" for n, v, row in points]
    says = f"Scatter plot of decode speed against peak memory: {'; '.join(said)}."
    return Drawing(figure, title, says)


def latency(model: ModelSummary) -> Drawing | None:
    """The time of each token over its position."""
    rows = [row for row in model.rows if len(row.curve_s) > 1]
    if not rows:
        return None
    figure, axes = new_axes(3.9)
    curves = [[s * 1e3 for s in row.curve_s] for row in rows]
    ends = []
    looks = looks_of(model)
    for row, curve in zip(rows, curves, strict=True):
        look = looks[row.label]
        every = max(1, len(curve) // MARKED)
        positions = range(1, len(curve) + 1)
        axes.plot(positions, curve, markevery=every, markersize=4, linewidth=1.3, **look)
        ends.append((len(curve), curve[-1], row_name(row, of_speed=True), look["color"]))
    axes.set_xlim(1, max(len(curve) for curve in curves))
    value_axis(axes, min(map(min, curves)), max(map(max, curves)), "milliseconds")
    axes.set_xlabel("position of the generated token")
    how = f"median over passes, {trials_text(rows)}"
    title = put_title(figure, "Time per token", model.name, how)
    label_ends(axes, ends)
    said = [
        f"{row.label}: {number(curve[0])} to {number(curve[-1])} ms"
        for row, curve in zip(rows, curves, strict=True)
    ]
    says = f"Line chart of the time per token, from the first to the last: {'; '.join(said)}."
    return Drawing(figure, title, says)


def _memory_axis(axes: Axes, sizes: Sequence[int]) -> str:
    """From zero, or around the points where they would lie in one heap; returns unit and remark."""
    low, high = min(sizes), max(sizes)
    if high * HEAP < low < high:
        # Not nearer: what differs by less is alike, and ticks there would be all digits.
        span = max(1.8 * (high - low), LEAST_SPAN * high, LEAST_SPAN_BYTES)
        left = (low + high - span) / 2
        if left > 0:
            axes.set_xlim(left, left + span)
            return f"{size_axis(axes.xaxis, high, span=span)} (not from zero)"
    axes.set_xlim(0, high * 1.12)
    return size_axis(axes.xaxis, high)


def value_axis(axes: Axes, low: float, high: float, label: str) -> None:
    """From zero, or logarithmic where values that differ this much would lie on the axis."""
    if high > LOG_FROM * low > 0:
        axes.set_yscale("log")
        axes.set_ylim(low * 0.6, high * 1.6)
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.set_ylabel(f"{label}, logarithmic")
    else:
        axes.set_ylim(0, high * 1.12 or 1)
        axes.set_ylabel(label)
    counting_axis(axes.yaxis)


def top_of(values: Sequence[Estimate]) -> float:
    """How far an axis reaches: to the ends of all intervals, unless they dwarf what is measured."""
    ends = max(value.value if value.high is None else value.high for value in values)
    return min(ends, DWARFS * max(value.value for value in values))


def bars_text(values: Sequence[Estimate], end: float) -> str:
    """What the error bars of these speeds are, on an axis up to `end`; empty where there are none.

    An interval beyond the axis is cut by it; its ends are with the numbers of the plot.
    """
    highs = [value.high for value in values if value.high is not None]
    if not highs:
        return ""
    lone = ", none of one trial" if len(highs) < len(values) else ""
    return f"95 % interval{lone}{', some end beyond the axis' if max(highs) > end else ''}"


def looks_of(model: ModelSummary) -> dict[str, dict[str, Any]]:
    """Colour, marker and dashes of each row's line by its label: no two are alike in all three.

    They follow from all rows of the model, so that a row looks the same in every plot. The first
    row of each strategy chooses before its larger batches do: colours differ where they fit.
    """
    first: dict[tuple[str, str, int], str] = {}
    for row in model.rows:
        first.setdefault((row.engine, row.strategy, row.threads), row.label)
    leading = set(first.values())
    looks: dict[str, dict[str, Any]] = {}
    others = 0
    for row in sorted(model.rows, key=lambda row: row.label not in leading):
        if row.is_reference and not any(look["color"] == INK for look in looks.values()):
            looks[row.label] = {"color": INK, "marker": "o", "linestyle": "-"}
            continue
        looks[row.label] = {
            "color": LINES[others % len(LINES)],
            "marker": MARKERS[others % len(MARKERS)],
            "linestyle": ("-", "--", ":")[others // len(LINES) % 3],
        }
        others += 1
    return looks


def error_sides(value: Estimate) -> list[list[float]] | None:
    """The two lengths of an error bar; None without an interval."""
    if value.low is None or value.high is None:
        return None
    return [[value.value - value.low], [value.high - value.value]]


def say_better(axes: Axes, *, at_right: bool = False) -> None:
    """An arrow to the corner at the top in which one would like to be, above the axes.

    In them a point, a bar or a name may lie anywhere.
    """
    at, side = (1, -1) if at_right else (0, 1)
    figure = axes.figure
    assert isinstance(figure, Figure)
    corner = offset_copy(axes.transAxes, figure, y=4, units="points")
    where: dict[str, Any] = {"xycoords": corner, "textcoords": "offset points", "color": MUTED}
    beside = "right" if at_right else "left"
    axes.annotate("better", (at, 1), (side * 16, 0), ha=beside, va="bottom", fontsize=8.5, **where)
    where["xycoords"] = offset_copy(axes.transAxes, figure, y=15, units="points")
    arrow = {"arrowstyle": "->", "color": MUTED, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (at, 1), (side * 11, -11), arrowprops=arrow, **where)
