"""Speed against quality: each strategy a disc as large as its memory, and the numbers of that.

Quality is the mean divergence on a logarithmic axis, not the agreement: strategies that are worth
choosing agree on 97 to 100 % of tokens, where a share crowds them into one corner and an interval
covers several, while their divergences lie powers of ten apart. The axis points down, so that
better is up, as in the other plots; what is below 1e-9 nats is the reference but for rounding, and
stands there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from textwrap import wrap
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from harness.report.format import elided, listing, number, size, unit_of
from harness.report.labels import LETTERS, LINE_IN, Point, label_points, texts_or_numbers
from harness.report.plot_curves import bars_text, error_sides, say_better, top_of
from harness.report.quality_cells import (
    NO_DIFFERENCE,
    agreement,
    divergence,
    divergence_text,
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
LARGEST = 400.0  # area of the largest disc, in points squared
LARGEST_OF_MANY = 130.0  # where there are too many to be named beside them
LEAST = 12.0  # and of the smallest, which still shows
FEW, MOST_TICKS = 3, 9  # powers of ten between which there are more ticks, or that have one
SIZES = 3  # discs in the legend at most
STEP = 4  # times the memory, from one of them to the next


class _Place(NamedTuple):
    """Where a strategy stands: speed, and divergence in nats with the least that it can be."""

    speed: Estimate
    kl: float  # the most where there are bounds
    least: float
    is_bound: bool
    is_open: bool  # nothing says how far off it is: `kl` is the least


def quality(model: ModelSummary) -> Drawing | None:
    """Decode speed against the mean divergence, with memory as size; None where no row has both."""
    shown = [(row, place) for row in model.rows if (place := _place(row)) is not None]
    if not shown:
        return None
    left_out = [(row, why) for row in model.rows if (why := why_not_shown(row)) is not None]
    names = [row_name(row, of_speed=True) for row, _ in shown]
    sizes = [_memory(row) for row, _ in shown]
    texts, key = texts_or_numbers([f"{n}, {of}" for n, of in zip(names, sizes, strict=True)], names)
    below = [*key, *_named_below(left_out)]
    figure_, axes = new_axes(HEIGHT_IN + LINE_IN * len(below))
    places = [place for _, place in shown]
    axes.set_xlim(0, top_of([place.speed for place in places]) * 1.08)
    counting_axis(axes.xaxis)
    _divergence_axis(axes, [kl for place in places for kl in (place.least, place.kl)])
    peaks = [row.memory.total_peak_bytes for row, _ in shown]
    area = _areas(peaks, LARGEST_OF_MANY if key else LARGEST)
    points = [
        _draw(axes, row, place, area(row.memory.total_peak_bytes), text)
        for (row, place), text in zip(shown, texts, strict=True)
    ]
    what = f"decode, tokens per second{_bars(places, axes.get_xlim()[1])}"
    axes.set_xlabel("\n".join([*wrap(what, LETTERS), *below]))
    how = trials_text([row for row, _ in shown])
    title = put_title(figure_, "Speed against quality, memory as size", model.name, how)
    _size_legend(axes, [n for n in peaks if n], area)
    say_better(axes, at_right=True)
    label_points(axes, points)
    said = [
        f"{row.label}: {number(place.speed.value)} tok/s, {divergence_text(row)}, {of}"
        for (row, place), of in zip(shown, sizes, strict=True)
    ]
    not_shown = [row.label for row, _ in left_out]
    return Drawing(
        figure_,
        title,
        "Scatter plot of decode speed against the mean divergence from the exact model "
        f"{scored_on(model)}, each strategy a disc as large as its peak memory: {'; '.join(said)}."
        + (f" Not shown: {'; '.join(not_shown)}." if not_shown else ""),
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
            if not _is_elsewhere(row)
        ),
    )


def _is_elsewhere(row: Row) -> bool:
    return {"speed", "quality"} <= set(row.elsewhere)


def why_not_shown(row: Row) -> str | None:
    """Why a strategy has no place in the plot; None for one that has, maybe by another row."""
    if _place(row) is not None or _is_elsewhere(row):
        return None
    if any(outcome.kind == "wrong_answers" for outcome in row.outcomes):
        return "wrong answers, so it was not measured"
    if row.decode_tok_per_s is None:
        return row.missing.get("decode_tok_per_s", "no decode speed")
    found = None if row.quality is None else row.quality.headline
    if found is None:
        return why_unscored(row)
    return divergence(row).why if found.kl_mean is not None else f"KL {why_no_mean(found)}"


def _place(row: Row) -> _Place | None:
    """Where a strategy stands; None where its speed is not known, or nothing bounds its KL."""
    found = None if row.quality is None else row.quality.headline
    kl = None if found is None else found.kl_mean
    if row.decode_tok_per_s is None or kl is None:
        return None
    least, most = max(kl.value, NO_DIFFERENCE), kl.most
    if most is None:
        if kl.value < NO_DIFFERENCE:
            return None
        return _Place(row.decode_tok_per_s, least, least, is_bound=True, is_open=True)
    most = max(most, NO_DIFFERENCE)
    return _Place(row.decode_tok_per_s, most, least, is_bound=most > least, is_open=False)


def _draw(axes: Axes, row: Row, place: _Place, area: float, text: str) -> Point:
    """A strategy's disc with its bars; returns what a label of it needs to know."""
    look: dict[str, Any] = {"s": area, "facecolor": PALE_BLUE, "linewidth": 1.2}
    if row.memory.total_peak_bytes is None:
        look["facecolor"] = "none"
    look |= {"edgecolor": INK, "hatch": "////"} if row.is_reference else {"edgecolor": BLUE}
    # A small disc lies on a large one.
    axes.scatter([place.speed.value], [place.kl], zorder=4 - area / LARGEST, **look)
    bar: dict[str, Any] = {"fmt": "none", "ecolor": MUTED, "elinewidth": 0.8}
    axes.errorbar([place.speed.value], [place.kl], xerr=error_sides(place.speed), **bar)
    if place.is_bound:
        worst = axes.get_ylim()[0] if place.is_open else place.kl  # the axis points down
        sides = [[place.kl - place.least], [worst - place.kl]]
        axes.errorbar([place.speed.value], [place.kl], yerr=sides, **bar)
    low, high = place.speed.low, place.speed.high
    return Point(
        place.speed.value,
        place.kl,
        place.least if place.is_bound else None,
        None,
        text,
        math.sqrt(area) / 2,
        None if low is None or high is None else (low, high),
    )


def _areas(peaks: Sequence[int | None], largest: float) -> Callable[[float | None], float]:
    """Peak memory, host and devices together -> the area of a disc, in points squared."""
    most = max((n for n in peaks if n), default=0)
    return lambda n: max(LEAST, largest * n / most) if n and most else LEAST


def _size_legend(axes: Axes, peaks: Sequence[int], area: Callable[[float], float]) -> None:
    """Above the axes, what memory some discs stand for; nothing where no peak is known."""
    if not peaks:
        return
    sizes = [2.0 ** math.floor(math.log2(max(peaks)))]
    while len(sizes) < SIZES and sizes[0] / STEP >= min(peaks) / 2:
        sizes.insert(0, sizes[0] / STEP)
    look: dict[str, Any] = {"marker": "o", "linestyle": "", "color": PALE_BLUE}
    handles: list[Line2D] = []
    for n_bytes in sizes:
        unit, of = unit_of(n_bytes)
        text = f"{'' if handles else 'peak memory '}{n_bytes / of:g} {unit}"
        look |= {"markersize": math.sqrt(area(n_bytes)), "label": text}
        handles.append(Line2D([], [], markeredgecolor=BLUE, **look))
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0}
    axes.legend(handles=handles, ncols=len(handles), **place)


def _bars(places: Sequence[_Place], end: float) -> str:
    """What the bars are, those that there are, on an axis of speed up to `end`."""
    said = [text] if (text := bars_text([place.speed for place in places], end)) else []
    if any(place.is_bound for place in places):
        said.append("upright, bounds of KL of the small form")
    return f"; bars: {'; '.join(said)}" if said else ""


def _memory(row: Row) -> str:
    total = row.memory.total_peak_bytes
    return "memory not known" if total is None else size(total)


def _divergence_axis(axes: Axes, values: Sequence[float]) -> None:
    """Logarithmic and upside down, with room for the discs; the least is no difference at all."""
    axes.set_yscale("log")
    least, most = min(values), max(values)
    beyond = max(10 ** (0.12 * math.log10(most / least)), 3.0)
    axes.set_ylim(most * beyond, least / beyond)
    axes.yaxis.set_major_locator(FixedLocator(_ticks(least, most)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("mean KL from the exact model, nats per token")


def _ticks(least: float, most: float) -> list[float]:
    """Powers of ten, the one at or below the least among them; more where these would be few."""
    first, last = math.floor(math.log10(least)), math.floor(math.log10(most))
    steps = (1.0, 2.0, 5.0) if last - first < FEW else (1.0,)
    stride = 1 + (last - first) // MOST_TICKS
    return [10.0**power * step for power in range(first, last + 1, stride) for step in steps]


def _tick(value: float) -> str:
    if value < NO_DIFFERENCE * 0.99:
        return ""
    text = f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e").replace("-", "−")
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
