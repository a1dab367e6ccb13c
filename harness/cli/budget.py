"""`run --budget`: the option, and what is said of a run whose time is up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.durations import Duration, about

if TYPE_CHECKING:
    from harness.config.load import LoadedStudy
    from harness.measure.budget import Budget
    from harness.plan.look import Surroundings
    from harness.plan.order import Turn
    from harness.plan.plan import Plan
    from harness.records.store import RecordStore

clock: Callable[[], float] = time.monotonic  # by which a run's time is up

budget_option = click.option(
    "--budget",
    "budget_s",
    type=Duration(),
    metavar="TIME",
    help="End within 60s, 20m or 1h30m, the report included: every cell is visited once before any "
    "is twice. The same command goes on with the rest.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeGiven:
    """How long a command may take, and when it began."""

    seconds: float | None  # None: as long as it takes
    began_at: float

    def budget(
        self,
        planned: Plan,
        loaded: LoadedStudy,
        seen: Surroundings,
        machine_folder: Path,
        *,
        no_cache: bool,
    ) -> Budget:
        """What the schedule is told; without an end, nothing is foreseen for it."""
        from harness.cli.foreseeing import foreseen_time
        from harness.measure.budget import Budget, budget_of

        if self.seconds is None:
            return Budget()
        foreseen = foreseen_time(planned, loaded, seen, machine_folder, no_cache=no_cache)
        return budget_of(self.seconds, self.began_at, foreseen, clock)

    @property
    def words(self) -> str:
        """To be said after how many trials there are to do."""
        return "" if self.seconds is None else f", as many as fit into {about(self.seconds)}"


def given(seconds: float | None) -> TimeGiven:
    """The time of a command that begins now."""
    return TimeGiven(seconds=seconds, began_at=clock())


def left_out(planned: Plan, store: RecordStore) -> list[Turn]:
    """The trials that were never begun."""
    from harness.measure.schedule import due

    return [
        (cell, trial)
        for cell, trial in due(planned, store)
        if store.latest_outcome(cell.id, trial) is None
    ]


def rest_sentence(
    planned: Plan, store: RecordStore, budget: Budget, left: list[Turn], *, n_before: int
) -> str:
    """How much is left, when the time is up; the run began with `n_before` records."""
    needed = about(budget.needed_s(left, store))
    trials = "trial is" if len(left) == 1 else "trials are"
    most = "at most " if planned.until is not None else ""
    rest = f"{most}{len(left)} of {planned.n_trials} {trials} left, about {needed}"
    none = len(store.records) == n_before
    return f"No trial fits into the time: {rest}." if none else f"The time is up: {rest}."
