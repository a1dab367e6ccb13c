"""What a run shows while it measures: a live line on a terminal, plain lines otherwise.

The live line moves when the worker sends something, and once a second, but never more often than
four times a second: a worker that reports a hundred passes a second would have its own display
measured along with the model.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.cli.console import say
from harness.cli.durations import about, counting
from harness.invocation import as_typed
from harness.measure.job import (
    Answered,
    Converted,
    FirstPassed,
    Imported,
    Message,
    Opened,
    Passed,
    Referred,
    Scored,
    VisitedDepth,
    Written,
)
from harness.measure.trial import Trial
from harness.plan.cell import Cell
from harness.records.quality import Quality
from harness.records.record import Record
from harness.report.format import number

_BAR_WIDTH = 12
_BAR_FROM = 100  # columns of the terminal: then the name has room beside it
_LEAST_NAMES = 24  # columns for what is skipped, however long the reason is
_HEARTBEAT_S = 30.0  # between two signs of life where there is no terminal
_REDRAW_S = 0.25  # at least, between two drawings; each takes about half a millisecond


class RunDisplay:
    """Shows trials as they come. `n_trials` is how many will run, or `at_most` how many.

    `ends_at`, by the clock, all will be over.
    """

    def __init__(
        self,
        out: Console,
        n_trials: int,
        *,
        at_most: bool = False,
        clock: Callable[[], float] = time.monotonic,
        ends_at: float | None = None,
    ) -> None:
        self._out, self._clock, self._ends_at = out, clock, ends_at
        self._n_trials = n_trials
        self._at_most = at_most
        self._block: int | None = None
        self._n_done = 0
        self._begun: set[tuple[str, int]] = set()
        self._skipped: dict[str, list[Trial]] = {}  # by reason, until that is said
        self._spent: list[float] = []  # seconds of finished trials
        self._name = self._phase = ""
        self._is_scored = False
        self._trial_started = self._last_said = clock()
        self._drawn: float | None = None  # when; None: it must be drawn now
        self._live = Live(console=out, auto_refresh=False, transient=True)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the live line on the terminal."""
        with self._live if self._out.is_terminal else nullcontext():
            try:
                yield
            finally:
                self._say_skipped()

    def begin(self, trial: Trial) -> None:
        """A trial starts."""
        if trial.skip_reason is not None:
            return
        self._say_skipped()
        self._trial_started = self._clock()
        key = (trial.cell.id, trial.trial)
        self._n_trials += key in self._begun  # a noisy one, which is made again
        self._begun.add(key)
        self._name, self._phase = _name(trial), "starting"
        self._is_scored = trial.cell.workload == "quality"
        self._block = None if trial.place is None else trial.place.block
        if not self._out.is_terminal:
            self._say(f"{self._count()} {self._name} …{self._left(', ')}")
        self._drawn = None
        self.tick()

    def message(self, message: Message) -> None:
        """The worker sent something: name the phase."""
        if isinstance(message, Imported):
            self._phase = "loading"
        elif isinstance(message, Opened):
            self._phase = "measuring"
        elif isinstance(message, FirstPassed | Passed):
            self._phase = "still measuring"
        elif isinstance(message, VisitedDepth):
            self._phase = f"measured after {message.visit.tokens:,} tokens"
        elif isinstance(message, Answered):
            self._phase = f"answered {message.answer.id}"
        elif isinstance(message, Scored):
            self._phase = f"scored {message.done} of {message.total} texts"
        elif isinstance(message, Referred):
            self._refer(message)
        elif isinstance(message, Written):
            self._convert(message)
        elif isinstance(message, Converted):
            # Only trials tell how long trials take.
            self._phase, self._trial_started = "starting", self._clock()
        self.tick()

    def _convert(self, message: Written) -> None:
        begins = not self._phase.startswith("converting")
        if begins and not self._out.is_terminal:
            self.note(f"converting weights, once: {message.total_bytes / 2**20:.0f} MiB …")
        share = message.done_bytes / max(1, message.total_bytes)
        self._phase = f"converting weights {100 * share:.0f} %"

    def _refer(self, message: Referred) -> None:
        if not message.total and not self._out.is_terminal:
            why = "" if self._is_scored else " for the gate"
            self.note(f"computing the exact reference{why}, once …")
        share = message.done / max(1, message.total)
        self._phase = f"computing the reference {100 * share:.0f} %"
        if message.total and message.done == message.total:
            self._phase, self._trial_started = "starting", self._clock()

    def cool(self, text: str) -> None:
        """The machine is waited for; `text` says from where to where it cools down."""
        begins = not self._phase.startswith("cooling")
        self._phase = text
        if begins and not self._out.is_terminal:
            self.note(f"{text} …")
        self.tick()

    def note(self, text: str) -> None:
        """Something that the user should know of this trial."""
        self._say(f"  {self._name}: {text}")

    def aside(self, text: str) -> None:
        """Something that is done between trials."""
        self._say(text)

    def tick(self) -> None:
        """Redraw, or give a sign of life; called once a second, and as often as a worker speaks."""
        now = self._clock()
        elapsed = now - self._trial_started
        if self._out.is_terminal:
            if self._drawn is not None and now - self._drawn < _REDRAW_S:
                return
            self._drawn = now
            with suppress(OSError):  # a terminal that went away must not stop the measuring
                self._live.update(self._line(f"{self._phase} {counting(elapsed)}"), refresh=True)
        elif now - self._last_said > _HEARTBEAT_S:
            self._say(f"  {self._name}: {self._phase}, {about(elapsed)}")

    def end(self, trial: Trial, record: Record) -> None:
        """A trial is recorded."""
        if trial.skip_reason is not None:
            self._skipped.setdefault(trial.skip_reason, []).append(trial)
            return
        seconds = self._clock() - self._trial_started
        if record.took_s is not None:  # without what is done once, before some trials
            seconds = record.took_s + (record.cooling.waited_s or 0.0 if record.cooling else 0.0)
        self._n_done += 1
        self._spent.append(seconds)
        self._say(f"  {_name(trial)}: {_result(record)} ({about(seconds)})")

    def _line(self, doing: str) -> Table:
        """One line of the terminal: what is done and the time left stay whole, the name is cut.

        A narrow terminal gets no bar, which would come and go with the phase.
        """
        count = f"[{self._number()}/{'≤' if self._at_most else ''}{self._n_trials}]"
        doing += self._left(", ", "≤ ")
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(no_wrap=True)
        line.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        line.add_column(no_wrap=True)
        cells: list[RenderableType] = [Text(count), Text(self._name), Text(doing)]
        if self._out.width >= _BAR_FROM:
            line.add_column(no_wrap=True)
            bar = ProgressBar(total=self._n_trials, completed=self._n_done, width=_BAR_WIDTH)
            cells.append(bar)
        line.add_row(*cells)
        return line

    def _count(self) -> str:
        if self._at_most and self._block is not None:
            return f"[block {self._block + 1}, {self._number()} of at most {self._n_trials}]"
        return f"[{self._number()}/{self._n_trials}]"

    def _number(self) -> int:
        """Of the trial that is made."""
        return min(self._n_done + 1, self._n_trials)

    def _left(self, before: str, at_most: str = "at most ") -> str:
        """Time left by the mean of the trials so far, at most the budget's.

        Nothing at first, nor where the last trial takes longer than the others did.
        """
        if not self._spent:
            return ""
        now, mean = self._clock(), sum(self._spent) / len(self._spent)
        trials = max(0, self._n_trials - self._n_done)
        left = mean * trials - min(mean, int(now - self._trial_started))
        if self._ends_at is not None:
            left = min(left, max(0.0, self._ends_at - now))
        elif left <= 0:
            return ""
        return f"{before}{at_most if self._at_most else ''}{about(left)} left"

    def _say_skipped(self) -> None:
        """One line for each reason; the records have each cell."""
        for reason, trials in self._skipped.items():
            self._say(_skip_line(reason, trials, self._out.width))
        self._skipped.clear()

    def _say(self, line: str) -> None:
        self._last_said = self._clock()
        with suppress(OSError):
            say(self._out, as_typed(line), indent="    ")


def _name(trial: Trial) -> str:
    """A trial as no other of the run is called, but for an attempt before the last."""
    cell = trial.cell
    engine = "" if cell.engine == "torch" else f" {cell.engine}"
    is_timed = cell.workload in ("speed", "depth")
    number = f" #{trial.trial + 1}" if (is_timed or trial.trial) and not trial.skip_reason else ""
    rows = f" | batch {cell.batch}" if cell.batch > 1 else ""
    threads = "1 thread" if cell.threads == 1 else f"{cell.threads} threads"
    variant = f" {cell.variant}" if cell.variant else ""
    again = ", again" if trial.attempt and not trial.skip_reason else ""
    place = f"{cell.model}{engine} | {cell.strategy} | {threads}{rows}"
    return f"{place} | {cell.workload}{variant}{number}{again}"


def _skip_line(reason: str, trials: Sequence[Trial], width: int) -> str:
    """Why they are skipped, whole, how many they are, and which, as far as the line goes."""
    if len(trials) == 1:
        return f"  {_name(trials[0])}: skipped: {reason}"
    said = f"  {len(trials)} cells skipped: {reason}"
    room = max(_LEAST_NAMES, width - len(f"{said} ()"))
    names = textwrap.shorten(_which([one.cell for one in trials]), room, placeholder=" …")
    return f"{said} ({names.replace(' of …', ' …')})"


def _which(cells: Sequence[Cell]) -> str:
    """Strategies before their models, which are skipped more seldom."""
    by_strategy: dict[str, dict[str, None]] = {}
    for cell in cells:
        engine = "" if cell.engine == "torch" else f"{cell.engine} "
        by_strategy.setdefault(f"{engine}{cell.strategy}", {})[cell.model] = None
    by_models: dict[tuple[str, ...], list[str]] = {}
    for strategy, models in by_strategy.items():
        by_models.setdefault(tuple(models), []).append(strategy)
    return "; ".join(f"{', '.join(each)} of {', '.join(of)}" for of, each in by_models.items())


def _result(record: Record) -> str:
    outcome = record.outcome
    if outcome.kind == "ok":
        return _figures(record) or "no answers"
    said = f"{outcome.kind}: {outcome.reason}" if outcome.reason else outcome.kind
    figures = _figures(record) if outcome.kind == "noisy" else None
    return f"{said}; {figures}" if figures else said


def _figures(record: Record) -> str | None:
    """What a trial gave; None where that is nothing."""
    if record.quality is not None:
        return _scored(record.quality)
    if record.decode_tok_per_s is not None and record.prefill_tok_per_s is not None:
        return (
            f"decode {number(record.decode_tok_per_s)} tok/s, "
            f"prefill {number(record.prefill_tok_per_s)} tok/s"
        )
    if record.latency is not None and record.latency.depth:
        depths = {visit.tokens for visit in record.latency.depth}
        return f"decoded after {min(depths):,} to {max(depths):,} tokens of context"
    if not record.answers:
        return None
    judged = [answer.right for answer in record.answers if answer.right is not None]
    right = f", {sum(judged)} of {len(judged)} right" if judged else ""
    return f"{len(record.answers)} {'answer' if len(record.answers) == 1 else 'answers'}{right}"


def _scored(quality: Quality) -> str:
    """What a user wants of it at once; the report has the rest."""
    tokens = [part for part in (quality.text, *(one.scored for one in quality.answers)) if part]
    agree = [one for part in tokens for one in part.agree]
    if not agree:
        return "nothing was scored"
    return f"{100 * sum(agree) / len(agree):.1f} % of {len(agree):,} tokens as under the reference"
