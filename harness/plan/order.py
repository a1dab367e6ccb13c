"""In which order the trials of a plan run. Pure.

Randomised blocks: block k visits every cell that has a trial k once, so that whatever drifts
(heat, other users, a clock that climbs) meets all cells alike, and a run that is stopped early has
measured each of them about as often.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from harness.plan.cell import Cell, PlannedCell


def order(planned: Iterable[PlannedCell], seed: int) -> tuple[tuple[Cell, int], ...]:
    """Every (cell, trial) that will run, block by block; skipped cells have none.

    A cell's place in a block hangs on the seed, the block and the cell alone: leaving a cell out,
    or listing the cells otherwise, does not move the others.
    """
    running = [one for one in planned if one.skip_reason is None]
    blocks = range(max((one.trials for one in running), default=0))
    return tuple(
        (one.cell, trial)
        for trial in blocks
        for one in sorted(running, key=lambda one: _rank(one.cell, trial, seed))
        if trial < one.trials
    )


def _rank(cell: Cell, block: int, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{block}\n{cell.id}".encode()).digest()
