"""Bar plots: decode and prefill speed, and peak memory, per strategy.

Bars begin at zero, error bars are 95 % intervals over trials, and a strategy that failed is named
with its reason where its bar would be. What was skipped beforehand is in the tables only.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes

from harness.report.format import elided, number, size
from harness.report.labels import lay_out
from harness.report.missing import why
from harness.report.plot_curves import bars_text, top_of
from harness.report.results import device_names, estimates_text, numbers_of_trials, row_name
from harness.report.style import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    PALE_BLUE,
    Drawing,
    counting_axis,
    new_axes,
    put_title,
    size_axis,
)
from harness.report.values import ModelSummary, Row
from harness.stats import Estimate

BAR_IN = 0.34  # height that a bar takes
FRAME_IN = 1.15  # height that title and axis take
THICKNESS = 0.62  # of a bar, as a share of its row
BETWEEN = 0.92  # of that, what a bar leaves to the next one in the same row
LETTER_POINTS = 4.9  # width that a letter of a reason takes
REASON: dict[str, Any] = {"va": "center", "style": "italic", "fontsize": 8, "linespacing": 1.0}


def decode(model: ModelSummary) -> Drawing | None:
    """Decode speed per strategy."""
    return _speed(model, "Decode speed", [row.decode_tok_per_s for row in model.rows])


def prefill(model: ModelSummary) -> Drawing | None:
    """Prefill speed per strategy, at the longest prompt."""
    longest = {row.prefill_lengths[-1].tokens for row in model.rows if row.prefill_lengths}
    of = f" of {max(longest)} tokens" if len(longest) == 1 else ""
    return _speed(model, f"Prefill speed{of}", [row.prefill_tok_per_s for row in model.rows])


def memory(model: ModelSummary) -> Drawing | None:
    """Peak memory per strategy: the host's, in two parts, and each device's below it."""
    rows = [row for row in model.rows if _largest_peak(row)]
    if not rows:
        return None
    devices = device_names(rows)
    figure, axes = new_axes(FRAME_IN + 0.25 + BAR_IN * len(rows) * (1 + 0.7 * len(devices)))
    for at, row in enumerate(rows):
        lanes = 1 + len(row.memory.device_peak_bytes)
        thickness = min(THICKNESS, 0.84 / (1 + len(devices)))
        middle = at - (lanes - 1) / 2 * thickness
        _host_bar(axes, row, middle, thickness * BETWEEN)
        for lane, device in enumerate(row.memory.device_peak_bytes.items(), start=1):
            _device_bar(axes, device, middle + lane * thickness, thickness * BETWEEN)
    name_rows(axes, rows)
    scale = max(_largest_peak(row) for row in rows)
    axes.set_xlim(0, scale * (1.3 if devices else 1.12))
    axes.set_xlabel(f"{size_axis(axes.xaxis, scale)}, largest of the trials")
    title = put_title(
        figure, "Peak memory", model.name, numbers_of_trials(row.memory.trials for row in rows)
    )
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    axes.legend(
        unique.values(), unique, loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=4, borderpad=0.2
    )
    peaks = [f"{row.label}: {size(_largest_peak(row))}" for row in rows]
    return Drawing(figure, title, f"Bar chart of peak memory: {'; '.join(peaks)}.")


def _speed(model: ModelSummary, what: str, values: Sequence[Estimate | None]) -> Drawing | None:
    pairs = [(row, v) for row, v in zip(model.rows, values, strict=True) if row.is_timed]
    known = [value for _, value in pairs if value is not None]
    if not known:
        return None
    figure, axes = new_axes(FRAME_IN + BAR_IN * len(pairs))
    top = top_of(known)
    reasons = []
    for at, (row, value) in enumerate(pairs):
        if value is None:
            reasons.append((at, _reason(row)))
        else:
            _speed_bar(axes, row, value, at)
    name_rows(axes, [row for row, _ in pairs], of_speed=True)
    axes.set_xlim(0, top * 1.03)
    counting_axis(axes.xaxis)
    bars = bars_text(known, axes.get_xlim()[1])
    axes.set_xlabel(f"tokens per second ({f'error bars: {bars}' if bars else 'no interval'})")
    title = put_title(figure, what, model.name, f"median of {estimates_text(known)}")
    _write_reasons(axes, top * 0.008, reasons)
    said = [f"{row.label}: {number(value.value)}" for row, value in pairs if value is not None]
    return Drawing(
        figure, title, f"Bar chart of {what.lower()}, tokens per second: {'; '.join(said)}."
    )


def _speed_bar(axes: Axes, row: Row, value: Estimate, at: int) -> None:
    hatch = "///" if row.is_reference else None
    axes.barh(at, value.value, height=THICKNESS, color=BLUE, hatch=hatch)
    if value.low is not None and value.high is not None:
        sides = [[value.value - value.low], [value.high - value.value]]
        axes.errorbar([value.value], [at], xerr=sides, color=INK, linewidth=1.1)
    # In a column of its own: beside a long error bar it would be read as the bar's end.
    axes.annotate(
        number(value.value),
        (1, at),
        (6, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        va="center",
    )


def _host_bar(axes: Axes, row: Row, y: float, height: float) -> None:
    used = row.memory
    peak = used.peak_rss_bytes
    if peak is None:
        text = elided(f" host: {row.missing['peak_rss_bytes']}", 46)
        axes.text(0, y, text, color=MUTED, **REASON)
        return
    own: dict[str, Any] = {"height": height, "color": BLUE}
    if used.model_bytes is None or used.import_rss_bytes is None:
        axes.barh(y, peak, label="host", **own)
    else:
        before = used.import_rss_bytes
        axes.barh(y, before, height=height, color=PALE_BLUE, hatch="///", label="libraries")
        axes.barh(y, peak - before, left=before, label="the model and its work", **own)
    beside(axes, size(peak), peak, y)


def _device_bar(axes: Axes, device: tuple[str, int], y: float, height: float) -> None:
    name, n_bytes = device
    axes.barh(y, n_bytes, height=height, color=ORANGE, hatch="\\\\\\", label="device")
    beside(axes, f"{size(n_bytes)} on {name}", n_bytes, y)


def beside(axes: Axes, text: str, x: float, y: float, **look: Any) -> None:
    """Write a text on the right of a bar that ends at x."""
    axes.annotate(text, (x, y), (4, 0), textcoords="offset points", va="center", **look)


def name_rows(axes: Axes, rows: Sequence[Row], *, of_speed: bool = False) -> None:
    """Write the strategies' names on the left, the first on top; bars are at 0, 1 and so on."""
    axes.set_yticks(range(len(rows)), [row_name(row, of_speed=of_speed) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)  # the first strategy on top
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def _reason(row: Row) -> str:
    outcome = next((o for o in row.outcomes if o.workload == "speed"), None)
    return "not measured" if outcome is None else why(outcome)


def _write_reasons(axes: Axes, x: float, reasons: Sequence[tuple[float, str]]) -> None:
    """Write texts where there is no bar, each in at most two lines that end within the axes."""
    if not reasons:
        return
    lay_out(axes)  # gives the axes their width
    points = axes.get_window_extent().width * 72 / axes.figure.dpi
    letters = max(12, int(points / LETTER_POINTS))
    for y, reason in reasons:
        lines = wrap(reason, letters, max_lines=2, placeholder=" …")
        text = axes.text(x, y, "\n".join(lines), color=MUTED, **REASON)
        text.set_in_layout(False)


def _largest_peak(row: Row) -> int:
    return max([row.memory.peak_rss_bytes or 0, *row.memory.device_peak_bytes.values()])
