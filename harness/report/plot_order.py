"""The plot of each trial's speed over its place in the run, and its numbers: to see drift."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator

from harness.report.format import number
from harness.report.labels import label_ends
from harness.report.order_values import TrialPlace
from harness.report.plot_curves import looks_of
from harness.report.results import row_name
from harness.report.style import INK, Drawing, counting_axis, new_axes, put_title
from harness.report.table import Cell, Table, code, columns, figure
from harness.report.values import ModelSummary, Row
from harness.stats import median

_REMARK = (
    "Block: each visits every cell once, in an order shuffled anew. The median is that of the "
    "strategy's trials. Waited: for the machine to cool down."
)
_DRIFT = (
    "The run's drift is that of one straight line through the logarithms of all strategies' trials "
    "over their places, each strategy at a level of its own; its interval is Student's t."
)
_LOWEST = -105.0  # a speed falls by 100 % at most
LEAST_REACH = 5.0  # percent either way that the axis shows at least: less is noise to the eye


def sequence(model: ModelSummary) -> Drawing | None:
    """Decode speed of each trial as a share of its strategy's median; None below two trials."""
    rows = [row for row in model.rows if len(row.places) > 1]
    if not rows:
        return None
    drawn, axes = new_axes(3.4)
    ends: list[tuple[float, float, str, str]] = []
    everything: list[float] = []
    looks = looks_of(model)
    for row in rows:
        look = looks[row.label]
        places = _in_order(row)
        percents = _percents(places)
        everything.extend(percents)
        numbers = [place.sequence + 1 for place in places]
        axes.plot(numbers, percents, markersize=5, linewidth=0.8, alpha=0.9, **look)
        ends.append((numbers[-1], percents[-1], row_name(row), look["color"]))
    reach = max(LEAST_REACH, 1.15 * max(abs(percent) for percent in everything))
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_ylim(max(-reach, _LOWEST), reach)
    axes.set_xlabel("trial of the run, in the order in which they ran")
    axes.set_ylabel("decode, % from the median")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    counting_axis(axes.xaxis)
    counting_axis(axes.yaxis)
    how = "each strategy against its own median"
    title = put_title(drawn, "Speed over the run", model.name, how)
    label_ends(axes, ends)
    said = [
        f"{row.label}: {number(min(_percents(row.places)))} to "
        f"{number(max(_percents(row.places)))} % from its median"
        for row in rows
    ]
    says = f"Line chart of each trial's decode speed over its place in the run: {'; '.join(said)}."
    return Drawing(drawn, title, says)


def sequence_table(model: ModelSummary) -> Table:
    """Each trial in the order in which they ran."""
    titles = ("Trial of the run", "Block", "Decode, tok/s", "% from the median")
    heat = ("Processor at its start, °C", "Waited, s")
    trials = sorted(
        (
            (place, row, percent)
            for row in model.rows
            for place, percent in zip(row.places, _percents(row.places), strict=True)
        ),
        key=lambda one: one[0].sequence,
    )
    return Table(
        caption=f"Trials of {model.name} in their order",
        columns=columns("Strategy", *titles, *heat, numeric=(*titles, *heat)),
        rows=tuple(_trial(*one) for one in trials),
        remarks=(_REMARK, _DRIFT),
    )


def _trial(place: TrialPlace, row: Row, percent: float) -> tuple[Cell, ...]:
    celsius, waited = place.cpu_start_c, place.waited_s
    return (
        code(row.label),
        figure(str(place.sequence + 1)),
        figure(
            None if place.block is None else str(place.block + 1),
            "the sequential order has no blocks",
        ),
        figure(number(place.decode_tok_per_s)),
        figure(number(percent)),
        figure(None if celsius is None else f"{celsius:.0f}", "no temperature is told here"),
        figure(None if waited is None else f"{waited:.0f}", "nothing was waited for"),
    )


def _in_order(row: Row) -> list[TrialPlace]:
    return sorted(row.places, key=lambda place: place.sequence)


def _percents(places: Sequence[TrialPlace]) -> list[float]:
    middle = median([place.decode_tok_per_s for place in places]) if places else 1.0
    return [(place.decode_tok_per_s / middle - 1) * 100 for place in places]
