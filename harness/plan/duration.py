"""How long a run will take: per cell, what is done once besides, and in total. Pure.

Knows what a study asks for and how fast its strategies go (`pace.py`); nothing of files or clocks.
Trials that are made again because the machine was not quiet are not foreseen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from harness.config.study import Study
from harness.plan.cell import Cell, PlannedCell
from harness.plan.pace import Pace

_ANSWER_SHARE = 0.3  # of `max_tokens`, where no record says how long answers are
_PROMPT_TOKENS = 24  # of a question, likewise
_APART_STEPS = 4  # of the pass that reads memory (`measure/phase_memory.py`)
GATE_TOKENS = 32  # that are looked at before a strategy is measured
_CHUNK_TOKENS = 256  # fed at once


@dataclass(frozen=True, kw_only=True, slots=True)
class CellTime:
    """One cell."""

    cell: Cell
    trials: int
    trial_s: float | None  # None: nothing is known of its speed
    source: str = "model"  # or "records"

    @property
    def total_s(self) -> float | None:
        """All of its trials."""
        return None if self.trial_s is None else self.trials * self.trial_s


@dataclass(frozen=True, kw_only=True, slots=True)
class RunTime:
    """A whole run."""

    cells: tuple[CellTime, ...]
    once_s: Mapping[str, float] = field(default_factory=dict)  # what is done once, in words

    @property
    def total_s(self) -> float:
        """Of what is known."""
        return sum(self.once_s.values()) + sum(one.total_s or 0.0 for one in self.cells)

    @property
    def n_unknown(self) -> int:
        """Cells of which nothing is known."""
        return sum(one.trial_s is None for one in self.cells)


def trial_seconds(cell: Cell, study: Study, pace: Pace, n_questions: int) -> float:
    """One trial of a cell."""
    work = _WORK[cell.workload](cell, study, pace, n_questions)
    return pace.start_s + pace.load_s + work


def cell_times(
    running: tuple[PlannedCell, ...],
    study: Study,
    paces: Mapping[Cell, Pace | None],
    n_questions: int,
) -> tuple[CellTime, ...]:
    """Every cell that will run."""
    found = []
    for one in running:
        pace = paces.get(one.cell)
        seconds = None if pace is None else trial_seconds(one.cell, study, pace, n_questions)
        source = "model" if pace is None else pace.source
        found.append(CellTime(cell=one.cell, trials=one.trials, trial_s=seconds, source=source))
    return tuple(found)


def _feed_s(pace: Pace, tokens: int, batch: int = 1) -> float:
    """Feeding a prompt at once, chunk by chunk."""
    return -(-tokens // _CHUNK_TOKENS) * pace.call_s + batch * tokens * pace.prefill_s


def _speed_s(cell: Cell, study: Study, pace: Pace, n_questions: int) -> float:
    del n_questions
    speed = study.workloads.speed
    assert speed is not None
    prompts = sum(_feed_s(pace, tokens, cell.batch) for tokens in speed.prompt_lengths)
    passes = speed.passes + speed.warmup_passes
    apart = _feed_s(pace, max(speed.prompt_lengths), cell.batch) + _APART_STEPS * pace.decode_s
    return passes * (prompts + speed.generate_tokens * pace.decode_s) + apart


def _depth_s(cell: Cell, study: Study, pace: Pace, n_questions: int) -> float:
    del cell, n_questions
    depth = study.workloads.depth
    assert depth is not None
    visits = 1 + depth.passes * len(depth.depths)
    return _feed_s(pace, depth.depths[-1]) + visits * depth.generate_tokens * pace.decode_s


def _answers_s(cell: Cell, study: Study, pace: Pace, n_questions: int) -> float:
    del cell
    answers = study.workloads.answers
    assert answers is not None
    tokens = pace.answer_tokens or _ANSWER_SHARE * answers.max_tokens
    return n_questions * (_feed_s(pace, _PROMPT_TOKENS) + tokens * pace.decode_s)


def _quality_s(cell: Cell, study: Study, pace: Pace, n_questions: int) -> float:
    del cell
    quality, answers = study.workloads.quality, study.workloads.answers
    assert quality is not None
    seconds = _feed_s(pace, quality.max_tokens)
    if quality.answers and answers is not None:
        tokens = pace.answer_tokens or _ANSWER_SHARE * answers.max_tokens
        seconds += n_questions * _feed_s(pace, int(_PROMPT_TOKENS + tokens))
    return seconds


_WORK: dict[str, Callable[[Cell, Study, Pace, int], float]] = {
    "speed": _speed_s,
    "depth": _depth_s,
    "answers": _answers_s,
    "quality": _quality_s,
}
