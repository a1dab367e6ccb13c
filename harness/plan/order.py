"""In which order the trials of a plan run. Pure.

Randomised blocks, unless the study asks otherwise: block k visits every cell that has a trial k
once, so that whatever drifts (heat, other users, a clock that climbs) meets all cells alike, and a
run that is stopped early has measured each of them about as often. The sequential order runs one
cell after the other, as listed: what drifts then looks like a difference between cells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from harness.config.order_settings import OrderKind
from harness.plan.cell import Cell, PlannedCell

QUALITY = "quality"
Turn = tuple[Cell, int]  # a cell and the number of its trial


def order(
    planned: Iterable[PlannedCell], seed: int, kind: OrderKind = "randomised"
) -> tuple[Turn, ...]:
    """Every (cell, trial) that will run, in turn; skipped cells have none."""
    return tuple(turn for block in blocks(planned, seed, kind) for turn in block)


def blocks(
    planned: Iterable[PlannedCell], seed: int, kind: OrderKind = "randomised"
) -> tuple[tuple[Turn, ...], ...]:
    """The same in groups, each of which is done, retries included, before the next begins.

    Randomised: block k has trial k of each cell, at a place that hangs on the seed, the block and
    the cell alone: leaving a cell out, or listing the cells otherwise, does not move the others.
    Quality comes last in a block, since it scores the answers of that block and is not timed.
    Sequential: each turn is a group of its own.
    """
    running = [one for one in planned if one.skip_reason is None]
    if kind == "sequential":
        return tuple(((one.cell, trial),) for one in running for trial in range(one.trials))
    return tuple(
        tuple(
            (one.cell, trial)
            for one in sorted(running, key=lambda one: _rank(one.cell, trial, seed))
            if trial < one.trials
        )
        for trial in range(max((one.trials for one in running), default=0))
    )


def _rank(cell: Cell, block: int, seed: int) -> tuple[bool, bytes]:
    place = hashlib.sha256(f"{seed}\n{block}\n{cell.id}".encode()).digest()
    return cell.workload == QUALITY, place
