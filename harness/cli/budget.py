"""`run --budget`: the option, and what is said of trials that are left when a run ends."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from harness.cli.durations import Duration, about
from harness.invocation import command_line

if TYPE_CHECKING:
    from harness.cli.run_options import Selection
    from harness.measure.budget import Budget
    from harness.plan.plan import Plan
    from harness.records.store import RecordStore

clock: Callable[[], float] = time.monotonic  # by which a run's time is up

BUDGET = "--budget"

budget_option = click.option(
    BUDGET,
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

    def budget(self, selected: Selection, *, n_before: int) -> Budget:
        """What the schedule is told; without an end, nothing is foreseen for it.

        The run has `n_before` records of other commands.
        """
        from harness.cli.foreseeing import known_of
        from harness.measure.budget import Budget, budget_of
        from harness.plan.foresee_time import foresee_time

        if self.seconds is None:
            return Budget()
        found = (selected.planned, selected.loaded, selected.seen)
        foreseen = foresee_time(*found, known_of(selected))
        return budget_of(self.seconds, self.began_at, foreseen, clock, n_before)

    @property
    def words(self) -> str:
        """To be said after how many trials there are to do."""
        return "" if self.seconds is None else f", as many as fit into {about(self.seconds)}"


def given(seconds: float | None) -> TimeGiven:
    """The time of a command that begins now."""
    return TimeGiven(seconds=seconds, began_at=clock())


def rest_sentence(planned: Plan, store: RecordStore, budget: Budget, *, n_begun: int) -> str:
    """What did not fit, and how much is left, after a command that began `n_begun` trials."""
    from harness.measure.schedule import left, made_again, to_measure

    rest = left(planned, store)
    needed = about(budget.needed_s(to_measure(planned, store, rest), store))
    n_again = len(made_again(store, rest))
    again = f", {n_again} of them to be made again" if n_again else ""
    most = "at most " if planned.until is not None else ""
    trials = "trial" if planned.n_trials == 1 else "trials"
    are = "is" if len(rest) == 1 else "are"
    count = f"{most}{len(rest)} of {planned.n_trials} {trials} {are} left{again}"
    return f"{_refusal(budget, store, n_begun)}: {count}, about {needed}."


def noisy_sentence(planned: Plan, store: RecordStore) -> str | None:
    """That trials were disturbed however often they were made, and what makes them again."""
    from harness.measure.schedule import left

    n = sum(store.latest_outcome(cell.id, trial) == "noisy" for cell, trial in left(planned, store))
    if not n:
        return None
    return (
        f"{n} of {planned.n_trials} trials were disturbed each time they were made; "
        f"'{command_line('doctor')}' says by what. On a quieter machine this makes them again: "
        f"{same_command()}"
    )


def ample(seconds: float) -> int:
    """A budget for what was foreseen to take so long: a little more, in whole steps."""
    return math.ceil(1.2 * seconds / 10) * 10


def budget_words(seconds: float) -> list[str]:
    """The words that give so much time, such as `--budget 1h30m`."""
    if seconds != int(seconds):
        return [BUDGET, f"{seconds:g}s"]
    minutes, rest = divmod(int(seconds), 60)
    units = {"h": minutes // 60, "m": minutes % 60, "s": rest}
    return [BUDGET, "".join(f"{n}{unit}" for unit, n in units.items() if n)]


def same_command(enough_s: float | None = None) -> str:
    """The command that was given, to be pasted, without what would begin anew.

    With `enough_s` so much time is given instead, since what was given would again be too little.
    """
    arguments = [argument for argument in sys.argv[1:] if argument != "--fresh"]
    if enough_s is not None:
        at = [n for n, one in enumerate(arguments) if one.split("=")[0] == BUDGET]
        for n in reversed(at):
            del arguments[n : n + (1 if "=" in arguments[n] else 2)]
        arguments += [BUDGET, f"{ample(enough_s)}s"]
    return command_line(*arguments)


def _refusal(budget: Budget, store: RecordStore, n_begun: int) -> str:
    """Which trials were not begun, and how long they would have taken."""
    refused = budget.refused or ()
    takes = f"about {about(budget.needed_s(refused, store))}"
    if not refused:
        return "The time is up"
    if not n_begun:
        return f"No trial fits into the time (the next one takes {takes})"
    if len(refused) == 1:
        return f"The next trial does not fit into the time (it takes {takes})"
    return f"The next block of {len(refused)} trials does not fit into the time (it takes {takes})"
