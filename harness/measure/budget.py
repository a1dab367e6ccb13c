"""How long a run may take, and whether what comes next still fits. Decides; stops nothing.

What a trial will take is what the last one of its cell took in this run, or what the plan foresaw.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.plan.order import Turn
from harness.records.store import RecordStore


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A time by which all is done; without one there is always time."""

    ends_at: float | None = None  # of `clock`
    foreseen: Mapping[str, float] = field(default_factory=dict)  # seconds of a trial, by cell id
    clock: Callable[[], float] = time.monotonic

    def fits(self, turns: Sequence[Turn], store: RecordStore) -> bool:
        """Whether these trials will probably end in time; a passed deadline lets none begin."""
        if self.ends_at is None:
            return True
        took = {
            record.cell.id: record.took_s for record in store.records if record.took_s is not None
        }
        needed = sum(took.get(cell.id) or self.foreseen.get(cell.id, 0.0) for cell, _ in turns)
        now = self.clock()
        return now < self.ends_at and now + needed <= self.ends_at
