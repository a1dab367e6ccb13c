"""The words that say what a run measures: the same options for `run` and for `plan`.

And what they select: the study, and the plan of it on this machine. Which run that goes on with is
`run_folder.py`'s.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.budget import budget_option, budget_words
from harness.cli.machine_folder import machine_option, place_words, results_option
from harness.cli.setting import set_option, set_words

if TYPE_CHECKING:
    from harness.config.load import LoadedStudy
    from harness.machine import Machine
    from harness.plan.look import Surroundings
    from harness.plan.plan import Plan


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """What was typed; each field is the name of a parameter of the command."""

    study: str
    results: Path
    label: str | None
    settings: tuple[str, ...]
    only: str | None
    trials: int | None
    budget_s: float | None
    fresh: bool
    resume: bool
    no_cache: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """What the words select on this machine."""

    options: RunOptions
    loaded: LoadedStudy
    machine: Machine
    seen: Surroundings
    planned: Plan
    whole: Plan  # of all workloads, also where one of them is run now

    @property
    def runs(self) -> Path:
        """The folder of this machine's runs."""
        return self.options.results / (self.options.label or self.machine.label)

    def words(self, *, budget_s: float | None = None) -> list[str | Path]:
        """The words behind a command that select the same, with another budget if given."""
        given = self.options
        seconds = given.budget_s if budget_s is None else budget_s
        words: list[str | Path] = [given.study, *set_words(self.planned.settings)]
        words += [] if given.only is None else ["--only", given.only]
        words += [] if given.trials is None else ["--trials", str(given.trials)]
        words += [] if seconds is None else budget_words(seconds)
        flags = {"--fresh": given.fresh, "--resume": given.resume, "--no-cache": given.no_cache}
        words += [flag for flag, is_given in flags.items() if is_given]
        return [*words, *place_words(given.results, given.label)]


_OPTIONS = (
    click.argument("study"),
    results_option,
    machine_option,
    set_option,
    click.option(
        "--only",
        type=click.Choice(["speed", "depth", "answers", "quality"]),
        help="One workload only.",
    ),
    click.option("--trials", type=click.IntRange(1, 10_000), help="Speed trials per cell."),
    budget_option,
    click.option("--fresh", is_flag=True, help="Start a new run, also if one is unfinished."),
    click.option("--resume", is_flag=True, help="Go on with the newest run, even a finished one."),
    click.option(
        "--no-cache",
        is_flag=True,
        help="Read original weights only, and compute exact references for this command alone. "
        "Otherwise both are kept, in $HARNESS_CACHE or in ~/.cache/rwkv-harness.",
    ),
)


def run_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command these options; it is called with them as `RunOptions`, before its own."""

    @functools.wraps(command)
    def with_options(**given: Any) -> int:
        options = RunOptions(**{one.name: given.pop(one.name) for one in fields(RunOptions)})
        if options.fresh and options.resume:
            raise click.UsageError("--fresh and --resume exclude each other")
        return command(options, **given)

    for option in reversed(_OPTIONS):
        with_options = option(with_options)
    return with_options


def select(options: RunOptions) -> Selection:
    """Load the study and plan what is asked of it here.

    Raises `BadInput` for a study that is none, or that lacks the workload `only`.
    """
    from harness.config.load import load_study
    from harness.machine import probe_machine
    from harness.plan.look import look
    from harness.plan.plan import plan

    loaded, machine = load_study(options.study, options.settings), probe_machine()
    seen = look(loaded)

    def asked(only: str | None) -> Plan:
        converts = not options.no_cache
        return plan(loaded, machine, seen, only=only, trials=options.trials, converts=converts)

    planned = asked(options.only)
    return Selection(
        options=options,
        loaded=loaded,
        machine=machine,
        seen=seen,
        planned=planned,
        whole=planned if options.only is None else asked(None),
    )
