"""Speed against quality: each strategy a disc as large as its memory, and the numbers of that.

Quality is the mean divergence on a logarithmic axis, not the agreement: strategies that are worth
choosing agree on 97 to 100 % of tokens, where a share crowds them into one corner and an interval
covers several, while their divergences lie powers of ten apart. The axis points down, so that
better is up, as in the other plots; what is below 1e-9 nats is the reference but for rounding, and
stands there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from harness.report.format import elided, listing, number, size
from harness.report.labels import Point, label_points
from harness.report.plot_curves import error_sides, say_better, top_of
from harness.report.quality_cells import (
    NO_DIFFERENCE,
    agreement,
    divergence,
    scored_on,
    why_no_mean,
    why_unscored,
)
from harness.report.results import NAME_COLUMNS, decode, peak, row_name, trials_text
from harness.report.style import (
    BLUE,
    INK,
    MUTED,
    PALE_BLUE,
    Drawing,
    counting_axis,
    new_axes,
    put_title,
)
from harness.report.table import Table, code, columns
from harness.report.values import ModelSummary, Row
from harness.stats import Estimate

HEIGHT_IN = 4.3
LINE_IN = 0.17  # of what is written below the axes
LETTERS = 96  # in such a line
LARGEST = 400.0  # area of the largest disc, in points squared
LEAST = 12.0  # and of the smallest, which still shows


def quality(model: ModelSummary) -> Drawing | None:
    """Decode speed against the mean divergence, with memory as size; None where no row has both."""
    shown = [(row, place) for row in model.rows if (place := _place(row)) is not None]
    if not shown:
        return None
    left_out = [(row, why) for row in model.rows if (why := why_not_shown(row)) is not None]
    below = _named_below(left_out)
    figure_, axes = new_axes(HEIGHT_IN + LINE_IN * len(below))
    most = max(row.memory.total_peak_bytes or 0 for row, _ in shown)
    points = []
    for row, (speed, kl) in shown:
        area = _area(row, most)
        look: dict[str, Any] = {"s": area, "facecolor": PALE_BLUE, "linewidth": 1.2}
        look |= {"edgecolor": INK, "hatch": "////"} if row.is_reference else {"edgecolor": BLUE}
        axes.scatter([speed.value], [kl], zorder=3, **look)
        bar: dict[str, Any] = {"fmt": "none", "ecolor": MUTED, "elinewidth": 0.8}
        axes.errorbar([speed.value], [kl], xerr=error_sides(speed), **bar)
        points.append(_point(row, speed, kl, math.sqrt(area / math.pi)))
    axes.set_xlim(0, top_of([speed for _, (speed, _) in shown]) * 1.08)
    counting_axis(axes.xaxis)
    _divergence_axis(axes, [kl for _, (_, kl) in shown])
    axes.set_xlabel("\n".join(["decode, tokens per second; bars: 95 % interval", *below]))
    how = trials_text([row for row, _ in shown])
    title = put_title(figure_, "Speed against quality, memory as size", model.name, how)
    say_better(axes, at_right=True)
    label_points(axes, points)
    said = [
        f"{row.label}: {number(speed.value)} tok/s, {divergence(row).text} nats, {_memory(row)}"
        for row, (speed, _) in shown
    ]
    names = [row.label for row, _ in left_out]
    return Drawing(
        figure_,
        title,
        "Scatter plot of decode speed against the mean divergence from the exact reference "
        f"{scored_on(model)}, each strategy a disc as large as its peak memory: {'; '.join(said)}."
        + (f" Not shown: {'; '.join(names)}." if names else ""),
    )


def quality_table(model: ModelSummary) -> Table:
    """The numbers of that plot, with every strategy that is not in it."""
    titles = ("Decode, tok/s", "Mean KL, nats", "Agreement", "Peak memory")
    return Table(
        caption=f"Speed, quality and memory of {model.name}",
        columns=columns("Strategy", *titles, numeric=titles),
        rows=tuple(
            (code(row.label), decode(row), divergence(row), agreement(row), peak(row))
            for row in model.rows
        ),
    )


def why_not_shown(row: Row) -> str | None:
    """Why a strategy has no place in the plot; None for one that has."""
    if _place(row) is not None:
        return None
    if any(outcome.kind == "wrong_answers" for outcome in row.outcomes):
        return "wrong answers, so it was not measured"
    if row.decode_tok_per_s is None:
        return row.missing.get("decode_tok_per_s", "no decode speed")
    found = None if row.quality is None else row.quality.headline
    return why_unscored(row) if found is None else f"KL {why_no_mean(found)}"


def _place(row: Row) -> tuple[Estimate, float] | None:
    """Where a strategy stands: speed, and divergence in nats."""
    found = None if row.quality is None else row.quality.headline
    if row.decode_tok_per_s is None or found is None or found.kl_mean is None:
        return None
    return row.decode_tok_per_s, max(found.kl_mean.value, NO_DIFFERENCE)


def _area(row: Row, most: int) -> float:
    """Of a disc, in points squared: as the peak memory, host and devices together."""
    total = row.memory.total_peak_bytes
    return LEAST if total is None or not most else max(LEAST, LARGEST * total / most)


def _memory(row: Row) -> str:
    total = row.memory.total_peak_bytes
    return "memory not known" if total is None else size(total)


def _point(row: Row, speed: Estimate, kl: float, radius: float) -> Point:
    """With its name and memory, and the bar that a label should leave free."""
    across = None if speed.low is None or speed.high is None else (speed.low, speed.high)
    text = f"{row_name(row)}, {_memory(row)}"
    return Point(speed.value, kl, None, None, text, radius, across)


def _divergence_axis(axes: Axes, values: Sequence[float]) -> None:
    """Logarithmic and upside down, with room for the discs; the least is no difference at all."""
    axes.set_yscale("log")
    least, most = min(values), max(values)
    beyond = max(10 ** (0.12 * math.log10(most / least)), 3.0)
    axes.set_ylim(most * beyond, least / beyond)
    axes.yaxis.set_major_locator(LogLocator(numticks=9))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("mean KL from the exact reference, nats per token")


def _tick(value: float) -> str:
    if value < NO_DIFFERENCE * 0.99:
        return ""
    text = f"1e{round(math.log10(value))}".replace("-", "−")
    return f"< {text}" if value < NO_DIFFERENCE * 1.01 else text


def _named_below(left_out: Sequence[tuple[Row, str]]) -> list[str]:
    """Lines that name what has no place in the plot, strategies with the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for row, why in left_out:
        by_reason.setdefault(why, []).append(f"“{elided(row.label, NAME_COLUMNS)}”")
    lines = []
    for why, names in by_reason.items():
        lines += wrap(f"Not shown: {listing(names)} ({elided(why, LETTERS)})", LETTERS)
    return lines
