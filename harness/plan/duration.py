"""How long a run will take: per cell, what is done once besides, and in total. Pure.

Knows what a study asks for and how fast its strategies go (`pace.py`); nothing of files or clocks.
Trials that are made again because the machine was not quiet are not foreseen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from harness.config.study import Study
from harness.plan.cell import Cell
from harness.plan.pace import Pace, Source

_ANSWER_SHARE = 0.3  # of `max_tokens`, where no record says how long answers are
PROMPT_TOKENS = 24  # of a question, likewise
GATE_TOKENS = 32  # that are looked at before a strategy is measured
_APART_STEPS = 4  # of the pass that reads memory (`measure/phase_memory.py`)
_CHUNK_TOKENS = 256  # fed at once
_DOCUMENTS, _DOCUMENT_TOKENS, _WORD_TOKENS = 5153, 90, 1  # of LAMBADA, as it is published
_SCORED_TOKENS = 64  # the same where each token's probabilities are wanted
REFERENCES = "references"  # what is done once, in words


@dataclass(frozen=True, kw_only=True, slots=True)
class CellTime:
    """One cell."""

    cell: Cell
    trials: int
    trials_at_least: int
    trial_s: float | None  # None: nothing is known of its speed
    source: Source = "model"
    is_late: bool = False  # its deadline will probably end it, which is its time then

    @property
    def total_s(self) -> float | None:
        """All of its trials; with `until` at most."""
        return None if self.trial_s is None else self.trials * self.trial_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Once:
    """What is done once in a run, before the first trial of some cells, or when all are done."""

    what: str
    s: float
    before: frozenset[str] = frozenset()  # ids of cells; empty: at the beginning, or the end
    at_end: bool = False
    is_kept: bool = True  # False: a command that goes on with the run must do it again

    def is_due(
        self, ids: AbstractSet[str], tried: AbstractSet[str], tried_now: AbstractSet[str]
    ) -> bool:
        """Whether it comes before the first trial of these cells.

        It does not where a cell that it is for was `tried` in this run, or, where it is not kept,
        `tried_now` by this command.
        """
        done = tried if self.is_kept else tried_now
        return bool(self.before & ids) and not self.before & done


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceSize:
    """Log-probabilities of the exact reference of one model: rows of its vocabulary, float32."""

    model: str
    rows: int  # of the gate, the text and the answers, all of them different
    n_vocab: int
    is_kept: bool  # it lies in the cache, as far as that can be told
    s: float = 0.0  # of computing what does not
    is_made: bool = True  # False: there is nothing to compute, or nothing to compute it from
    will_stay: bool = True  # the cache can hold it; else it is computed for one command
    is_for_gate: bool = False  # and for nothing else: no quality is asked of this model

    @property
    def nbytes(self) -> int:
        """What the cache takes for it."""
        return 4 * self.rows * self.n_vocab


@dataclass(frozen=True, kw_only=True, slots=True)
class CoolingDown:
    """What each trial waits before it begins."""

    most_s: float
    each_s: float | None  # None: nobody waited for it here yet


@dataclass(frozen=True, kw_only=True, slots=True)
class RunTime:
    """A whole run."""

    cells: tuple[CellTime, ...]
    once: tuple[Once, ...] = ()
    references: tuple[ReferenceSize, ...] = ()
    cooling: CoolingDown | None = None
    n_idle: int = 0  # cells that are not run, or measured under another name: they take no time
    n_done: int = 0  # cells of which a run that goes on has all trials: likewise

    @property
    def trials_s(self) -> float:
        """All trials, of what is known."""
        return sum(one.total_s or 0.0 for one in self.cells)

    @property
    def once_s(self) -> float:
        """All that is done once."""
        return sum(one.s for one in self.once)

    @property
    def wait_s(self) -> float:
        """Of each trial, before it; 0 where that is not known."""
        return 0.0 if self.cooling is None else self.cooling.each_s or 0.0

    @property
    def cooling_s(self) -> float:
        """All waits for the machine to cool down, of what is known."""
        return self.wait_s * sum(one.trials for one in self.cells)

    @property
    def total_s(self) -> float:
        """The run from its start to the end of its report."""
        return self.trials_s + self.cooling_s + self.once_s

    @property
    def total_at_least_s(self) -> float:
        """The same where `until` is reached as soon as may be."""
        trials = (one.trials_at_least * ((one.trial_s or 0.0) + self.wait_s) for one in self.cells)
        return self.once_s + sum(trials)

    def n_from(self, source: Source) -> int:
        """Cells whose time rests on that."""
        return sum(one.trial_s is not None and one.source == source for one in self.cells)

    @property
    def n_unknown(self) -> int:
        """Cells of which nothing is known."""
        return sum(one.trial_s is None for one in self.cells)


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """How many there are."""

    questions: int
    documents: int | None = None  # of LAMBADA, in its file; None: as many as were published


def trial_seconds(cell: Cell, study: Study, pace: Pace, texts: Texts) -> float:
    """One trial of a cell, without what its first may do besides (`gate_seconds`)."""
    return pace.start_s + pace.load_s + _WORK[cell.workload](cell, study, pace, texts)


def gate_seconds(pace: Pace) -> float:
    """Holding the first tokens of a strategy against the reference."""
    return _score_s(pace, GATE_TOKENS, GATE_TOKENS)


def answer_tokens(study: Study, pace: Pace | None) -> float:
    """Of one answer; 0 where no question is asked."""
    if study.workloads.answers is None:
        return 0.0
    known = None if pace is None else pace.answer_tokens
    return _ANSWER_SHARE * study.workloads.answers.max_tokens if known is None else known


def _feed_s(pace: Pace, tokens: int, batch: int = 1, chunk: int = _CHUNK_TOKENS) -> float:
    """Feeding a prompt, chunk by chunk."""
    return -(-tokens // chunk) * pace.call_s + batch * tokens * pace.prefill_s


def _step_s(pace: Pace, batch: int) -> float:
    """One step; the weights are read once for all rows."""
    return pace.decode_s + (batch - 1) * pace.prefill_s


def _speed_s(cell: Cell, study: Study, pace: Pace, texts: Texts) -> float:
    del texts
    speed = study.workloads.speed
    assert speed is not None
    prompts = sum(_feed_s(pace, tokens, cell.batch) for tokens in speed.prompt_lengths)
    step = _step_s(pace, cell.batch)
    passes = speed.passes + speed.warmup_passes
    apart = _feed_s(pace, max(speed.prompt_lengths), cell.batch) + _APART_STEPS * step
    return passes * (pace.collect_s + prompts + speed.generate_tokens * step) + apart


def _depth_s(cell: Cell, study: Study, pace: Pace, texts: Texts) -> float:
    del cell, texts
    depth = study.workloads.depth
    assert depth is not None
    visits = 1 + depth.passes * len(depth.depths)
    visit = pace.collect_s + (1 + depth.generate_tokens) * pace.decode_s
    return _feed_s(pace, depth.depths[-1]) + visits * visit


def _answers_s(cell: Cell, study: Study, pace: Pace, texts: Texts) -> float:
    del cell
    token = pace.decode_s + pace.draw_s
    return texts.questions * (_feed_s(pace, PROMPT_TOKENS) + answer_tokens(study, pace) * token)


def _quality_s(cell: Cell, study: Study, pace: Pace, texts: Texts) -> float:
    del cell
    quality = study.workloads.quality
    assert quality is not None
    seconds = _score_s(pace, quality.max_tokens, quality.max_tokens)
    if quality.answers:
        tokens = round(answer_tokens(study, pace))
        seconds += texts.questions * _score_s(pace, PROMPT_TOKENS + tokens, tokens)
    if quality.lambada is not None:
        there = _DOCUMENTS if texts.documents is None else texts.documents
        n_documents = min(quality.lambada_documents or there, there)
        seconds += n_documents * _score_s(pace, _DOCUMENT_TOKENS, _WORD_TOKENS)
    return seconds


def _score_s(pace: Pace, tokens: int, scored: int) -> float:
    """Feeding tokens, of which the last `scored` are held against the reference."""
    fed = _feed_s(pace, tokens, chunk=_SCORED_TOKENS)
    return fed + tokens * pace.head_s + scored * pace.score_s


_WORK: Mapping[str, Callable[[Cell, Study, Pace, Texts], float]] = {
    "speed": _speed_s,
    "depth": _depth_s,
    "answers": _answers_s,
    "quality": _quality_s,
}
