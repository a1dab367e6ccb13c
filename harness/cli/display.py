"""What a run shows while it measures: a live line on a terminal, plain lines otherwise.

The live line moves only when the worker sends something, and once a second: a display that draws
ten times a second would be measured along with the model.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from harness.measure.job import Answered, Imported, Message, Opened, Passed
from harness.measure.trial import Trial
from harness.records.record import Record


class RunDisplay:
    """Shows trials as they come. `n_trials` is how many will run."""

    def __init__(self, out: Console, n_trials: int) -> None:
        self._out = out
        self._n_trials = n_trials
        self._n_done = 0
        self._spent: dict[str, list[float]] = {}  # seconds of finished trials, by cell
        self._started = time.monotonic()
        self._trial_started = self._started
        self._live = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn("{task.fields[eta]}"),
            console=out,
            auto_refresh=False,
            transient=True,
            disable=not out.is_terminal,
        )
        self._task = self._live.add_task("starting", total=n_trials, eta="")

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the live line on the terminal."""
        self._live.start()
        try:
            yield
        finally:
            self._live.stop()

    def begin(self, trial: Trial) -> None:
        """A trial starts."""
        if trial.skip_reason is not None:
            return
        self._trial_started = time.monotonic()
        self._name = _name(trial)
        self._phase = "starting"
        if not self._out.is_terminal:
            self._say(f"[{self._n_done + 1}/{self._n_trials}] {self._name} …{self._eta()}")
        self.tick()

    def message(self, message: Message) -> None:
        """The worker sent something: name the phase."""
        if isinstance(message, Imported):
            self._phase = "loading"
        elif isinstance(message, Opened):
            self._phase = "measuring"
        elif isinstance(message, Passed):
            self._phase = "measuring, a pass is done"
        elif isinstance(message, Answered):
            self._phase = f"answered {message.answer.id}"
        self.tick()

    def tick(self) -> None:
        """Redraw; called about once a second."""
        elapsed = time.monotonic() - self._trial_started
        self._live.update(
            self._task,
            description=f"{self._name}: {self._phase} {elapsed:.0f} s",
            completed=self._n_done,
            eta=self._eta().strip(" ,"),
            refresh=True,
        )

    def end(self, trial: Trial, record: Record) -> None:
        """A trial is recorded."""
        seconds = time.monotonic() - self._trial_started
        if trial.skip_reason is None:
            self._n_done += 1
            self._spent.setdefault(trial.cell.id, []).append(seconds)
            self._say(f"  {_name(trial)}: {_result(record)} ({seconds:.0f} s)")
        else:
            self._say(f"  {_name(trial)}: skipped: {trial.skip_reason}")

    def _eta(self) -> str:
        """Time left, from the mean of the trials so far; nothing before the first is done."""
        if not self._n_done:
            return ""
        spent = [seconds for trials in self._spent.values() for seconds in trials]
        left = sum(spent) / len(spent) * (self._n_trials - self._n_done)
        return f", about {_duration(left)} left"

    def _say(self, line: str) -> None:
        self._live.console.print(line, markup=False, soft_wrap=True)


def _name(trial: Trial) -> str:
    cell = trial.cell
    engine = "" if cell.engine == "torch" else f" {cell.engine}"
    number = f" #{trial.trial + 1}" if cell.workload == "speed" and not trial.skip_reason else ""
    return f"{cell.model}{engine} | {cell.strategy} | {cell.threads}t | {cell.workload}{number}"


def _result(record: Record) -> str:
    outcome = record.outcome
    if outcome.kind != "ok":
        return f"{outcome.kind}: {outcome.reason}" if outcome.reason else outcome.kind
    if record.decode_tok_per_s is not None and record.prefill_tok_per_s is not None:
        return (
            f"decode {record.decode_tok_per_s:.1f} tok/s, "
            f"prefill {record.prefill_tok_per_s:.1f} tok/s"
        )
    judged = [answer.right for answer in record.answers if answer.right is not None]
    return f"{len(record.answers)} answers, {sum(judged)} of {len(judged)} judged ones right"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
