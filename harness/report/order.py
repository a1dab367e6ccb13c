"""In which order a run's trials came, what ended them, and whether the machine changed meanwhile.

Sentences and numbers; drawn in `plot_order.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from msgspec import structs

from harness.records.order import Cooling
from harness.records.record import Record
from harness.records.stop import read_stop, stop_sentence
from harness.report.order_values import RunOrder, TrialPlace
from harness.report.trials import CellTrials
from harness.stats import Drift, drift

MATTERS = 0.02  # a drift of less than this share is told, and not warned of
TELLS = 0.1  # "none found" is said only where no larger share lies within the interval
FAR = 2.0  # times, up or down: an end of an interval beyond says only how noisy the trials are
WARMER_K = 10.0  # between the coolest and the warmest start of a trial, from which it is warned of


def places_of(records: Iterable[Record]) -> tuple[TrialPlace, ...]:
    """The places of the trials behind a row's decode speed; none in older records."""
    return tuple(
        TrialPlace(
            sequence=record.place.sequence,
            block=record.place.block,
            decode_tok_per_s=record.decode_tok_per_s,
            cpu_start_c=_cpu(record.cooling),
            waited_s=None if record.cooling is None else record.cooling.waited_s,
        )
        for record in records
        if record.place is not None and record.decode_tok_per_s
    )


def order_of(folder: Path, cells: Sequence[CellTrials]) -> RunOrder | None:
    """The order of a run; None where its records are older than the question."""
    placed = [r for cell in cells for r in cell.records if r.place is not None]
    places = [record.place for record in placed if record.place is not None]
    if not places:
        return None
    groups = [
        [(one.sequence, one.decode_tok_per_s) for one in places_of(cell.counted)] for cell in cells
    ]
    coolings = [record.cooling for record in placed if record.cooling is not None]
    starts = [celsius for one in coolings if (celsius := _cpu(one)) is not None]
    return RunOrder(
        kinds=tuple(dict.fromkeys(one.order for one in places)),
        seeds=tuple(dict.fromkeys(one.seed for one in places)),
        blocks=len({one.block for one in places if one.block is not None}),
        drift=drift(groups),
        stop=read_stop(folder),
        starts_c=(min(starts), max(starts)) if starts else None,
        waited_s=sum(one.waited_s or 0.0 for one in coolings),
        n_not_cooled=sum(one.reached is False for one in coolings),
    )


def until_stop(cells: Sequence[CellTrials], folder: Path) -> tuple[CellTrials, ...]:
    """The cells with as many planned trials as were awaited when `until:` ended the run."""
    stop = read_stop(folder)
    if stop is None:
        return tuple(cells)
    return tuple(
        cell
        if cell.cell.id not in stop.cells
        else structs.replace(cell, planned=min(cell.planned, stop.cells[cell.cell.id].trials))
        for cell in cells
    )


def order_lines(order: RunOrder | None) -> Iterator[tuple[str, str]]:
    """Terms and texts for the head of the report."""
    if order is None:
        return
    yield "Order", _order_text(order)
    if order.stop is not None:
        yield "Stop", stop_sentence(order.stop)
    yield "Drift", _drift_text(order.drift)
    if order.starts_c is not None:
        low, high = order.starts_c
        yield "Heat", f"trials began with the processor at {low:.0f} to {high:.0f} °C"
    if order.waited_s:
        yield "Cool-down", f"{order.waited_s:.0f} s in all were waited for the machine to cool down"


def order_cautions(order: RunOrder | None) -> Iterator[str]:
    """What the order lets a reader doubt."""
    if order is None:
        return
    sequential = "sequential" in order.kinds
    if sequential:
        yield (
            "Trials ran in sequential order, one strategy after the other: whatever changed on the "
            "machine meanwhile looks like a difference between them. Leave out order: sequential."
        )
    found = order.drift
    if found is not None and found.is_real and abs(found.value - 1) >= MATTERS:
        effect = (
            "it favours those that came early or late"
            if sequential
            else "trials ran in shuffled blocks, so it widens the intervals and favours none"
        )
        yield (
            f"Decode speed {_change(found)} from the first trial of the run to the last: {effect}. "
            "A cooldown: in the study, or a quieter machine, would mend it."
        )
    if order.n_not_cooled:
        yield (
            f"{order.n_not_cooled} trials began though the machine had not cooled down within "
            "cooldown.max_wait_s."
        )
    elif order.starts_c is not None and order.starts_c[1] - order.starts_c[0] >= WARMER_K:
        low, high = order.starts_c
        yield (
            f"Trials began with the processor at {low:.0f} to {high:.0f} °C. To have them begin "
            "alike, put cooldown: {back_to_start_k: 3} into the study."
        )


def _order_text(order: RunOrder) -> str:
    if order.kinds == ("sequential",):
        return "sequential, one strategy after the other"
    seeds = ", ".join(str(seed) for seed in order.seeds)
    blocks = "1 block" if order.blocks == 1 else f"{order.blocks} blocks"
    mixed = " and sequential" if "sequential" in order.kinds else ""
    return f"randomised{mixed}: {blocks}, each strategy once in each (seed {seeds})"


def _drift_text(found: Drift | None) -> str:
    if found is None:
        return "not known: a change cannot be told from these trials, they are too few"
    if found.is_real:
        return f"decode speed {_change(found)} from the first trial to the last"
    if _is_far(found.low) or _is_far(found.high):
        return "too noisy to tell: not even half the speed at the end, or twice, can be ruled out"
    ends = f"{_percent(found.low)} to {_percent(found.high)} % (95 %)"
    if max(found.high - 1, 1 - found.low) > TELLS:
        return f"too noisy to tell: decode speed changed by {ends} over the run"
    return f"none found: decode speed changed by {ends} over the run"


def _change(found: Drift) -> str:
    verb = "fell" if found.value < 1 else "rose"
    near, far = sorted((found.low, found.high), key=lambda end: abs(end - 1))
    least = abs(near - 1) * 100
    if _is_far(far):
        return f"{verb} by at least {least:.1f} % (95 %), by how much is too noisy to tell"
    change = abs(found.value - 1) * 100
    return f"{verb} by {change:.1f} % (95 %: {least:.1f} to {abs(far - 1) * 100:.1f} %)"


def _is_far(times: float) -> bool:
    return not 1 / FAR <= times <= FAR


def _percent(times: float) -> str:
    return f"{(times - 1) * 100:+.1f}".replace("-", "−")


def _cpu(cooling: Cooling | None) -> float | None:
    return None if cooling is None or cooling.start is None else cooling.start.celsius.get("cpu")
