"""Which trial comes next: the plan's order, less what the store already has."""

from __future__ import annotations

from collections.abc import Iterator

from harness.measure.trial import Trial
from harness.plan.order import order
from harness.plan.plan import Plan
from harness.records.store import RecordStore


def schedule(planned: Plan, store: RecordStore) -> Iterator[Trial]:
    """Trials to run, each decided when its turn comes; a skipped cell is recorded once, first.

    A trial with a final outcome is done; one that was interrupted, noisy, or skipped for a reason
    that is gone, is tried again as another attempt.
    """
    for one in planned.cells:
        if one.skip_reason is not None and store.latest_outcome(one.cell.id, 0) is None:
            yield Trial(cell=one.cell, trial=0, attempt=0, skip_reason=one.skip_reason)
    for cell, trial in order(planned.cells, planned.seed):
        if not store.is_finished(cell.id, trial):
            yield Trial(cell=cell, trial=trial, attempt=store.next_attempt(cell.id, trial))


def n_left(planned: Plan, store: RecordStore) -> int:
    """How many trials would run now."""
    return sum(
        not store.is_finished(cell.id, trial) for cell, trial in order(planned.cells, planned.seed)
    )
