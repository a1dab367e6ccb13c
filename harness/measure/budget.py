"""How long a run may take, and whether what comes next still fits. Decides; stops nothing.

What a trial will take is what the last one of its cell took in this run, or what the plan foresaw;
what is done once before the first trial of some cells comes on top where none of them ran yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.plan.duration import Once, RunTime
from harness.plan.order import Turn
from harness.records.record import Record
from harness.records.store import RecordStore


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A time by which all is done; without one there is always time."""

    ends_at: float | None = None  # of `clock`: when the last trial must be over
    foreseen: Mapping[str, float] = field(default_factory=dict)  # seconds of a trial, by cell id
    once: Sequence[Once] = ()
    clock: Callable[[], float] = time.monotonic

    @property
    def is_set(self) -> bool:
        """Whether there is an end."""
        return self.ends_at is not None

    def fits(self, turns: Sequence[Turn], store: RecordStore) -> bool:
        """Whether these trials will probably end in time; a passed deadline lets none begin."""
        if self.ends_at is None:
            return True
        now = self.clock()
        return now < self.ends_at and now + self.needed_s(turns, store) <= self.ends_at

    def needed_s(self, turns: Sequence[Turn], store: RecordStore) -> float:
        """What these trials will probably take, with what they need done before."""
        took: dict[str, float] = {}
        for record in store.records:
            if record.took_s is not None:
                took[record.cell.id] = record.took_s + _waited_s(record)
        ran = {record.cell.id for record in store.records if record.outcome.kind != "skipped"}
        ids = [cell.id for cell, _ in turns]
        before = (one.s for one in self.once if one.before & set(ids) and not one.before & ran)
        return sum(before) + sum(took.get(id_, self.foreseen.get(id_, 0.0)) for id_ in ids)


def budget_of(
    seconds: float, began_at: float, foreseen: RunTime, clock: Callable[[], float]
) -> Budget:
    """A budget for a whole command that began at `began_at`, its report included."""
    behind = sum(one.s for one in foreseen.once if one.at_end)
    return Budget(
        ends_at=began_at + seconds - behind,
        foreseen={one.cell.id: one.trial_s for one in foreseen.cells if one.trial_s is not None},
        once=tuple(one for one in foreseen.once if one.before),
        clock=clock,
    )


def _waited_s(record: Record) -> float:
    """For the machine to cool down, before the trial."""
    return 0.0 if record.cooling is None else record.cooling.waited_s or 0.0
