"""Plans and stores for tests of what comes next, and a stand-in for measuring."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

from harness.measure.schedule import schedule
from harness.measure.trial_record import cell_ref
from harness.plan.cell import Cell, PlannedCell
from harness.plan.plan import Plan
from harness.records.record import Key, Outcome, Record
from harness.records.store import RECORDS_NAME, RecordStore


def make_plan(names, trials=3, *, answers=(), **settings):
    """A plan with a speed cell per name, and an answers cell for each of `answers`."""
    cells = [(name, "speed", trials) for name in names] + [(name, "answers", 1) for name in answers]
    return Plan(
        study="made",
        seed=settings.pop("seed", 0),
        cells=tuple(
            PlannedCell(
                cell=Cell(
                    model=name, engine="fake", strategy="cpu fp32", workload=workload, threads=1
                ),
                trials=n,
            )
            for name, workload, n in cells
        ),
        **settings,
    )


def make_store(folder: Path) -> RecordStore:
    """A store on an empty file, or on what the file has."""
    folder.mkdir(exist_ok=True)
    (folder / RECORDS_NAME).touch()
    return RecordStore(folder)


def record_of(trial, kind="ok", decode=None, prefill=None, **fields):
    """What a trial left behind."""
    if trial.wrong_reason is not None:  # as `measure` does
        kind = "wrong_answers"
    return Record(
        key=Key(computation="c"),
        cell=cell_ref(trial.cell),
        trial=trial.trial,
        attempt=trial.attempt,
        place=trial.place,
        outcome=Outcome(kind="skipped" if trial.skip_reason else kind),
        started_at="2024-05-01T10:00:00+00:00",
        decode_tok_per_s=decode,
        prefill_tok_per_s=prefill,
        **fields,
    )


def carry_out(planned, store, measure, *, at_most=None, **how):
    """Run the schedule with `measure(trial) -> Record`; stop after `at_most` trials, as a kill."""
    done = []
    # Hundreds of trials that take no time would wait for the disk instead.
    with mock.patch("os.fsync"), store.appending():
        for trial in schedule(planned, store, **how):
            if at_most is not None and len(done) == at_most:
                break
            store.append(measure(trial))
            done.append((trial.cell.model, trial.trial, trial.attempt))
    return done
