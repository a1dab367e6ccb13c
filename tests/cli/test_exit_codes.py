"""The exit code of a run so far, from what became of its trials."""

import pytest

from harness.cli.exits import EXIT_CELL_FAILED, EXIT_NOTHING_MEASURED, code_of_run
from harness.measure.trial import Trial
from tests.measure.scheduling import make_plan, make_store, record_of


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        (["ok", "noisy"], 0),
        (["ok", "crashed"], EXIT_CELL_FAILED),
        (["ok", "skipped"], 0),
        (["ok", "interrupted"], 0),  # it is made again when the run goes on
        (["crashed", "interrupted"], EXIT_NOTHING_MEASURED),
        (["interrupted"], EXIT_NOTHING_MEASURED),
        ([], EXIT_NOTHING_MEASURED),
    ],
)
def test_what_is_only_tried_again_is_no_failure(kinds, code, tmp_path):
    planned = make_plan("abc", trials=1)
    store = make_store(tmp_path)
    with store.appending():
        for one, kind in zip(planned.cells, kinds, strict=False):
            store.append(record_of(Trial(cell=one.cell, trial=0, attempt=0), kind))
    assert code_of_run(store, planned) == code


def test_what_was_interrupted_counts_by_what_became_of_it_later(tmp_path):
    planned = make_plan("a", trials=1)
    store = make_store(tmp_path)
    with store.appending():
        for attempt, kind in enumerate(["interrupted", "crashed"]):
            trial = Trial(cell=planned.cells[0].cell, trial=0, attempt=attempt)
            store.append(record_of(trial, kind))
    assert code_of_run(store, planned) == EXIT_NOTHING_MEASURED
