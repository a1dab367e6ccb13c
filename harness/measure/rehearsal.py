"""How far a budget comes: goes through a command's schedule with the times that were foreseen.

Which trial comes next, and whether it still fits, the schedule and its budget decide, as in the run
itself; here a clock goes on by what each would take. Nothing is measured, nothing written, and no
trial is disturbed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.measure.budget import Budget, budget_of
from harness.measure.schedule import left, schedule, to_measure
from harness.measure.trial import Trial
from harness.measure.trial_record import cell_ref
from harness.plan.duration import RunTime
from harness.plan.plan import Plan
from harness.records.imagined import ImaginedStore
from harness.records.record import Key, Outcome, OutcomeKind, Record


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """What one command would do within its time, and what it would leave; with `until` at most."""

    seconds: float  # that were given
    n_begun: int  # trials
    n_visited: int  # cells that have been tried then, by earlier commands too
    n_left: int  # trials
    left_s: float  # that those will take
    once_s: float | None  # what must be given for every cell to be tried; None: all were before
    enough_s: float | None  # what must be given for any trial, where too little was for one


def rehearse(planned: Plan, foreseen: RunTime, seconds: float, folder: Path) -> Reach:
    """Go through what a command of so many seconds would do in the run of `folder`.

    A folder that is not there yet is of a new run. Raises `RecordsError` for a damaged one.
    """
    stage = _Stage(planned, foreseen, seconds, folder)
    n_begun = sum(1 for _ in stage.play())
    rest = left(planned, stage.store)
    return Reach(
        seconds=seconds,
        n_begun=n_begun,
        n_visited=len(stage.tried),
        n_left=len(rest),
        left_s=stage.budget.needed_s(to_measure(planned, stage.store, rest), stage.store),
        once_s=_once_s(planned, foreseen, folder),
        enough_s=None if n_begun or not rest else stage.budget.enough_s(stage.store),
    )


def _once_s(planned: Plan, foreseen: RunTime, folder: Path) -> float | None:
    """What must be given for every cell to be tried once."""
    stage = _Stage(planned, foreseen, math.inf, folder)
    wanted = {cell.id for cell, _ in to_measure(planned, stage.store, left(planned, stage.store))}
    wanted -= stage.tried
    if not wanted:
        return None
    for _ in stage.play():
        if wanted <= stage.tried:
            break
    return stage.now + stage.budget.behind_s * stage.budget.slowness(stage.store)


class _Stage:
    """A clock, a store and a budget that are this rehearsal's own."""

    def __init__(self, planned: Plan, foreseen: RunTime, seconds: float, folder: Path) -> None:
        self.planned = planned
        self.store = ImaginedStore(folder)
        # A command begins its first trial when it has found out what there is.
        self.now = sum(one.s for one in foreseen.once if not one.before and not one.at_end)
        n_before = len(self.store.records)
        self.budget: Budget = budget_of(seconds, 0.0, foreseen, lambda: self.now, n_before)

    @property
    def tried(self) -> frozenset[str]:
        """Ids of the cells of the plan that any trial was made of."""
        return self.store.tried & {one.cell.id for one in self.planned.running}

    def play(self) -> Iterator[Trial]:
        """The trials that would be begun, each when the clock has gone on to its end."""
        for trial in schedule(self.planned, self.store, budget=self.budget):
            is_run = trial.skip_reason is None and trial.wrong_reason is None
            if is_run:
                self.now += self.budget.needed_s([(trial.cell, trial.trial)], self.store)
            self.store.append(_imagined(trial))
            if is_run:
                yield trial


def _imagined(trial: Trial) -> Record:
    """A record of how it ends, without any figure: the next one is foreseen as this one was."""
    kind: OutcomeKind = "ok"
    if trial.skip_reason is not None:
        kind = "skipped"
    elif trial.wrong_reason is not None:
        kind = "wrong_answers"
    return Record(
        key=Key(computation=""),
        cell=cell_ref(trial.cell),
        trial=trial.trial,
        attempt=trial.attempt,
        outcome=Outcome(kind=kind),
        started_at="",
    )
