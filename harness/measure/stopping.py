"""When a run with `until:` ends: looks at the records of whole blocks, and at nothing else.

Cells that are known well enough go on as long as another is not. Would they drop out, the later
blocks would compare fewer cells, and what drifts would meet only those that stay; each cell would
also end at the moment that flatters it. Only a cell none of whose first `min_trials` trials gave a
speed leaves: it has nothing to be narrowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from harness.plan.cell import Cell
from harness.plan.plan import Plan
from harness.records.record import RETRIED, Record
from harness.records.stop import Stop, StopCell
from harness.stats.stopping import half_width, is_known

FIGURES = ("decode_tok_per_s", "prefill_tok_per_s")
Latest = Mapping[tuple[str, int], Record]  # the last attempt of each trial, by cell and trial


def has_left(planned: Plan, cell: Cell, latest: Latest, block: int) -> bool:
    """Whether `block` does not visit the cell, because its first trials all failed."""
    until = planned.until
    if until is None or cell.workload != "speed" or block < until.min_trials:
        return False
    first = [latest.get((cell.id, trial)) for trial in range(until.min_trials)]
    return all(
        record is not None and record.outcome.kind not in {"ok", *RETRIED} for record in first
    )


def stop_after(planned: Plan, latest: Latest, n_blocks: int) -> Stop | None:
    """Why no block comes after `n_blocks` whole ones; None where one does, or none is awaited.

    Not before the cells of other workloads, whose trials are counted, have had theirs.
    """
    until = planned.until
    speed = [one.cell for one in planned.running if one.cell.workload == "speed"]
    others = [one.trials for one in planned.running if one.cell.workload != "speed"]
    if until is None or not speed or n_blocks < max([until.min_trials, *others]):
        return None
    if not _are_whole(planned, latest, n_blocks):
        return None
    staying = [cell for cell in speed if not has_left(planned, cell, latest, n_blocks)]
    values = {cell: _speeds(cell, latest, n_blocks) for cell in speed}
    narrow = all(
        len(found) >= until.min_trials and is_known(found, until.relative_ci)
        for cell in staying
        for found in values[cell].values()
    )
    kind: Literal["narrow", "max_trials", "no_speeds"]
    if not staying:
        kind = "no_speeds"
    elif narrow:
        kind = "narrow"
    elif n_blocks >= until.max_trials:
        kind = "max_trials"
    else:
        return None
    return Stop(
        kind=kind,
        blocks=n_blocks,
        relative_ci=until.relative_ci,
        min_trials=until.min_trials,
        max_trials=until.max_trials,
        cells={
            cell.id: StopCell(
                trials=n_blocks if cell in staying else until.min_trials,
                ok=max(map(len, values[cell].values())),
                half_width={name: half_width(found) for name, found in values[cell].items()},
            )
            for cell in speed
        },
    )


def _are_whole(planned: Plan, latest: Latest, n_blocks: int) -> bool:
    """Whether every trial of the first blocks was made; one that was only disturbed was."""
    return all(
        record is not None and record.outcome.kind not in ("interrupted", "skipped")
        for one in planned.running
        for block in range(min(n_blocks, one.trials))
        if not has_left(planned, one.cell, latest, block)
        for record in [latest.get((one.cell.id, block))]
    )


def _speeds(cell: Cell, latest: Latest, n_blocks: int) -> dict[str, list[float]]:
    """The values of each figure, one per trial that ended well."""
    records = [latest.get((cell.id, trial)) for trial in range(n_blocks)]
    ok = [record for record in records if record is not None and record.outcome.kind == "ok"]
    return {name: list(_known(getattr(record, name) for record in ok)) for name in FIGURES}


def _known(values: Iterable[float | None]) -> Iterable[float]:
    return (value for value in values if value is not None)
