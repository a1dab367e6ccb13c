"""Exit codes, the same for every command."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.plan.plan import Plan
    from harness.records.store import RecordStore

EXIT_GATE_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_CELL_FAILED = 3
EXIT_NOTHING_MEASURED = 4
EXIT_INTERRUPTED = 130


def code_of_run(store: RecordStore, planned: Plan) -> int:
    """Of a run so far: 0 if no trial failed, 3 if one did, 4 if all did."""
    from harness.measure.schedule import due

    kinds = [store.latest_outcome(cell.id, trial) for cell, trial in due(planned, store)]
    # A noisy trial has its figures; the report says by what they were disturbed. One that was
    # skipped or interrupted did not fail: it is tried again when the run goes on.
    not_tried = (None, "skipped", "interrupted")
    measured = [kind in ("ok", "noisy") for kind in kinds if kind not in not_tried]
    if measured and all(measured):
        return 0
    return EXIT_CELL_FAILED if any(measured) else EXIT_NOTHING_MEASURED
