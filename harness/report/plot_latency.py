"""Plots of speed along an axis: prefill over prompt length, decode over depth and over batch size.

Drawn only where a study measured more than one place of the axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.ticker import MaxNLocator

from harness.report.format import elided, number
from harness.report.labels import label_ends
from harness.report.latency_tables import slope_text, verdict_text
from harness.report.plot_curves import bars_text, error_sides, looks_of, top_of, value_axis
from harness.report.results import NAME_COLUMNS, estimates_text, row_name
from harness.report.style import Drawing, counting_axis, new_axes, put_title
from harness.report.values import ModelSummary, Row
from harness.stats import Estimate


class Line(NamedTuple):
    """The speeds of one row (or of one strategy's rows) along an axis."""

    row: Row
    name: str
    points: tuple[tuple[int, Estimate], ...]


def lengths(model: ModelSummary) -> Drawing | None:
    """Prefill speed over the length of the prompt."""
    lines = [
        Line(
            row,
            row_name(row, of_speed=True),
            tuple((one.tokens, one.tok_per_s) for one in row.prefill_lengths),
        )
        for row in model.rows
    ]
    what = "Prefill speed by prompt length"
    return _curves(model, what, "prompt, tokens", "prefill, tokens per second", lines)


def depth(model: ModelSummary) -> Drawing | None:
    """Decode speed behind more and more context."""
    lines = []
    for row in model.rows:
        sweep = row.latency.depth
        if sweep is not None:
            points = tuple((one.tokens, one.tok_per_s) for one in sweep.speeds)
            # In the place of "(reference)", which is as long: that one is black and round.
            name = f"{elided(row.label, NAME_COLUMNS)}: {verdict_text(sweep.slope)}"
            lines.append(Line(row, name, points))
    what = "Decode speed by depth of context"
    drawing = _curves(model, what, "context, tokens", "decode, tokens per second", lines)
    if drawing is None:
        return None
    slopes = [
        f"{row.label}: {slope_text(sweep.slope)} % per 1,000 tokens, {verdict_text(sweep.slope)}"
        for row in model.rows
        if (sweep := row.latency.depth) is not None and sweep.slope is not None
    ]
    return drawing._replace(says=f"{drawing.says} Slope of the time: {'; '.join(slopes)}.")


def batch(model: ModelSummary) -> Drawing | None:
    """Decode speed of all rows together over the batch size."""
    same: dict[tuple[str, str, int], list[Row]] = {}
    for row in model.rows:
        if row.decode_tok_per_s is not None:
            same.setdefault((row.engine, row.strategy, row.threads), []).append(row)
    lines = [
        Line(
            rows[0],
            row_name(rows[0], of_speed=True).replace(f", batch {rows[0].batch}", ""),
            tuple(
                (row.batch, row.decode_tok_per_s)
                for row in sorted(rows, key=lambda row: row.batch)
                if row.decode_tok_per_s is not None
            ),
        )
        for rows in same.values()
    ]
    what = "Decode speed by batch size"
    return _curves(model, what, "rows at once", "decode, tokens per second in all", lines)


def _curves(
    model: ModelSummary, what: str, x_label: str, y_label: str, lines: Sequence[Line]
) -> Drawing | None:
    lines = [line for line in lines if len(line.points) > 1]
    if not lines:
        return None
    figure, axes = new_axes(3.9)
    ends = []
    looks = looks_of(model)
    for line in lines:
        look = looks[line.row.label]
        for x, value in line.points:
            axes.errorbar([x], [value.value], yerr=error_sides(value), color=look["color"])
        xs = [x for x, _ in line.points]
        ys = [value.value for _, value in line.points]
        axes.plot(xs, ys, markersize=4, linewidth=1.3, **look)
        ends.append((xs[-1], ys[-1], line.name, look["color"]))
    values = [value for line in lines for _, value in line.points]
    value_axis(axes, min(value.value for value in values), top_of(values), y_label)
    furthest = max(x for line in lines for x, _ in line.points)
    axes.set_xlim(-0.015 * furthest, 1.02 * furthest)  # so that no marker is cut
    counting_axis(axes.xaxis)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    bars = bars_text(values, axes.get_ylim()[1])
    axes.set_xlabel(f"{x_label}; bars: {bars}" if bars else x_label)
    title = put_title(figure, what, model.name, estimates_text(values))
    label_ends(axes, ends)
    said = [
        f"{line.name}: {number(line.points[0][1].value)} at {line.points[0][0]:,} to "
        f"{number(line.points[-1][1].value)} at {line.points[-1][0]:,}"
        for line in lines
    ]
    says = f"Line chart of {what.lower()}, tokens per second: {'; '.join(said)}."
    return Drawing(figure, title, says)
