"""How long a run may take, and whether what comes next still fits. Decides; stops nothing.

What a trial will take is what the last one of its cell took in this run, or what the plan foresaw.
One that broke off says only that the next may take as long. What is done once before the first
trial of some cells comes on top where none of them ran yet.
Where trials took longer than foreseen, because the machine has other work, so will all the rest.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.plan.duration import Once, RunTime
from harness.plan.order import Turn
from harness.records.record import Record
from harness.records.store import RecordStore

_MOST_SLOWNESS = 4.0  # beyond it, it is rather what was foreseen that is wrong
_WHOLE = ("ok", "noisy", "timeout")  # went on to their end, or for as long as any may
_ALIKE = (*_WHOLE, "unsupported")  # and so will the next one of the cell


@dataclass(kw_only=True)
class Budget:
    """A time by which all is done; without one there is always time."""

    seconds: float = 0.0  # what was given
    ends_at: float | None = None  # of `clock`
    behind_s: float = 0.0  # what comes after the last trial
    foreseen: Mapping[str, float] = field(default_factory=dict)  # seconds of a trial, by cell id
    once: Sequence[Once] = ()
    wait_s: float = 0.0  # foreseen of each trial, for the machine to cool down
    clock: Callable[[], float] = time.monotonic
    n_before: int = 0  # records of earlier commands
    # What did not fit; empty: nothing was to be measured, but the time had passed; None: all did.
    refused: tuple[Turn, ...] | None = field(default=None, init=False)

    @property
    def is_set(self) -> bool:
        """Whether there is an end."""
        return self.ends_at is not None

    def is_late(self, store: RecordStore) -> bool:
        """Whether what comes after the last trial will not end in time either."""
        return self.ends_at is not None and self.clock() > self._last_end(store, self.ends_at)

    def fits(self, turns: Sequence[Turn], store: RecordStore) -> bool:
        """Whether these trials will probably end in time; those that will not are `refused`.

        Not even what takes no time is begun behind the end.
        """
        if self.ends_at is None:
            return True
        if self.clock() + self.needed_s(turns, store) <= self._last_end(store, self.ends_at):
            return True
        self.refused = tuple(turns)
        return False

    def enough_s(self, store: RecordStore) -> float:
        """What would have had to be given for the trials that did not fit."""
        if self.ends_at is None or not self.refused:
            return self.seconds
        end = self.clock() + self.needed_s(self.refused, store)
        return self.seconds + max(0.0, end - self._last_end(store, self.ends_at))

    def needed_s(self, turns: Sequence[Turn], store: RecordStore) -> float:
        """What these trials will probably take, with what they need done before."""
        took: dict[str, float] = {}
        broke_off: dict[str, float] = {}  # no trial of the cell went on to its end since
        for record in store.records:
            if record.took_s is not None:
                spent = record.took_s + (_waited_s(record) or 0.0)
                if record.outcome.kind in _ALIKE:
                    took[record.cell.id] = spent
                    broke_off.pop(record.cell.id, None)
                else:
                    broke_off[record.cell.id] = spent
        ran, ran_now = _ran(store.records), _ran(store.records[self.n_before :])
        ids = [cell.id for cell, _ in turns]
        before = [one.s for one in self.once if one.is_due(set(ids), ran, ran_now)]
        waits = [waited for one in store.records if (waited := _waited_s(one)) is not None]
        wait_s = statistics.fmean(waits) if waits else self.wait_s
        slowness = self.slowness(store)

        def trial_s(id_: str) -> float:
            new = self.foreseen.get(id_, 0.0) * slowness + wait_s
            return max(took.get(id_, new), broke_off.get(id_, 0.0))

        return sum(before) * slowness + sum(trial_s(id_) for id_ in ids)

    def _last_end(self, store: RecordStore, ends_at: float) -> float:
        """When the last trial must have ended, so that what comes after it does in time."""
        return ends_at - self.behind_s * self.slowness(store)

    def slowness(self, store: RecordStore) -> float:
        """How many times as long as foreseen the trials so far took; at least 1."""
        ratios = [
            record.took_s / foreseen
            for record in store.records
            if record.took_s is not None
            and record.outcome.kind in _WHOLE
            and (foreseen := self.foreseen.get(record.cell.id))
        ]
        return min(max(1.0, statistics.median(ratios)), _MOST_SLOWNESS) if ratios else 1.0


def budget_of(
    seconds: float,
    began_at: float,
    foreseen: RunTime,
    clock: Callable[[], float],
    n_before: int = 0,
) -> Budget:
    """A budget for a whole command that began at `began_at`, its report included.

    `n_before` records of the run are of commands before it.
    """
    return Budget(
        seconds=seconds,
        ends_at=began_at + seconds,
        behind_s=sum(one.s for one in foreseen.once if one.at_end),
        foreseen={one.cell.id: one.trial_s for one in foreseen.cells if one.trial_s is not None},
        once=tuple(one for one in foreseen.once if one.before),
        wait_s=foreseen.wait_s,
        clock=clock,
        n_before=n_before,
    )


def _ran(records: Sequence[Record]) -> set[str]:
    """Ids of the cells that were tried."""
    return {record.cell.id for record in records if record.outcome.kind != "skipped"}


def _waited_s(record: Record) -> float | None:
    """For the machine to cool down, before the trial; None where nothing is waited for."""
    return None if record.cooling is None else record.cooling.waited_s
