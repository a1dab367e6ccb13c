"""What a run does once besides its trials, and how long that takes. Pure.

Knows what a study asks for, and what lies in caches; how long trials take is `foresee_time.py`'s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.config.engines import FAKE
from harness.config.load import LoadedStudy
from harness.plan.cell import Cell
from harness.plan.duration import (
    GATE_TOKENS,
    PROMPT_TOKENS,
    REFERENCES,
    Once,
    ReferenceSize,
    answer_tokens,
    gate_seconds,
)
from harness.plan.known import ConvertedFile, Known
from harness.plan.left import Left
from harness.plan.look import Surroundings
from harness.plan.order import QUALITY
from harness.plan.pace import START_S, Kind, Pace, reference_seconds, slowness
from harness.plan.plan import Plan
from harness.runtime.shape import ModelShape
from harness.runtime.strategy import UINT8, resolve

_BEGIN_S = 1.0  # of `run` itself
_HASHED_PER_S = 0.8e9  # bytes, from a disk
_REPORT_S = 4.0  # summaries, plots and one page
_LIMITS_S = 3.5  # of finding out what the machine can do at best, its process included
_CAST_PER_S, _QUANTISED_PER_S = 110e6, 600e6  # parameters of a conversion


@dataclass(frozen=True, kw_only=True)
class OnceInRun:
    """All that is done once for what is `left` of `planned`; `paces` are those of its cells."""

    planned: Plan
    left: Left
    loaded: LoadedStudy
    seen: Surroundings
    known: Known
    paces: Mapping[Cell, Pace | None]

    def all(self) -> tuple[tuple[ReferenceSize, ...], tuple[Once, ...]]:
        """How large the references are, and everything in the order in which it comes."""
        references, made = self._references()
        once = [Once(what="starting", s=_BEGIN_S * self._slow)]
        if self.known.unhashed_bytes:
            seconds = self._slow * self.known.unhashed_bytes / _HASHED_PER_S
            once.append(Once(what="hashing weights", s=seconds))
        first = [*self._idle(), *self._limits(), *self._conversions(), *made, *self._gates()]
        once += [one for one in first if one.at_end or self._is_due(one)]
        once.append(Once(what="report", s=_REPORT_S * self._slow, at_end=True))
        return references, tuple(once)

    def _is_left(self, cells: Iterable[Cell]) -> bool:
        return any(self.left.by_cell[cell] for cell in cells)

    def _is_due(self, one: Once) -> bool:
        return one.is_due(self.left.ids, self.left.tried, frozenset())

    @property
    def _slow(self) -> float:
        return slowness(self.known.speed)

    @property
    def _cells(self) -> list[Cell]:
        return [one.cell for one in self.planned.running]

    def _timed(self) -> Iterator[Cell]:
        """Cells whose speed is held against what the machine takes and can do."""
        for cell in self._cells:
            if cell.workload == "speed" and cell.engine != FAKE and cell.model in self.seen.shapes:
                yield cell

    def _idle(self) -> Iterator[Once]:
        """What the idle machine takes, before the first speed of each command."""
        ids = frozenset(cell.id for cell in self._timed())
        if ids and self.known.idle_s:
            yield Once(what="idle machine", s=self.known.idle_s, before=ids, is_kept=False)

    def _limits(self) -> Iterator[Once]:
        """What the machine can do at best, before the first speeds, and at the end of some."""
        by_threads: dict[int, set[str]] = defaultdict(set)
        if self.loaded.study.roofline and self.known.tells_limits:
            for cell in self._timed():
                by_threads[cell.threads].add(cell.id)
        seconds = _LIMITS_S * self._slow
        for ids in by_threads.values():
            yield Once(what="limits of the machine", s=seconds, before=frozenset(ids))
            if ids & self.left.ids:
                yield Once(what="limits of the machine", s=seconds, at_end=True)

    def _conversions(self) -> Iterator[Once]:
        """Converting a model for the strategies that read the same file, where none is there."""
        readers: dict[tuple[str, ConvertedFile], list[Cell]] = defaultdict(list)
        for cell in self._cells:
            file = self.known.converted.get((cell.model, cell.strategy))
            if file is not None and not file.is_there:
                readers[cell.model, file].append(cell)
        for (model, _), cells in readers.items():
            shape = self.seen.shapes.get(model)
            if shape is None:
                continue
            slots = resolve(cells[0].strategy, shape.n_layer)
            share = sum(slot.weight_dtype == UINT8 for slot in slots) / len(slots)
            work = shape.n_params * (1 / _CAST_PER_S + share / _QUANTISED_PER_S)
            seconds = self._slow * (START_S + work)
            ids = frozenset(cell.id for cell in cells)
            yield Once(what="converting weights", s=seconds, before=ids)

    def _gates(self) -> Iterator[Once]:
        """The first tokens of each strategy, held against the reference in its first trial."""
        first: dict[tuple[str, str, str, int], list[Cell]] = defaultdict(list)
        for cell in self._cells if self.loaded.study.gate else ():
            first[cell.model, cell.engine, cell.strategy, cell.threads].append(cell)
        for cells in first.values():
            pace = self.paces[cells[0]]
            if pace is not None:
                ids = frozenset(cell.id for cell in cells)
                yield Once(what="gates", s=gate_seconds(pace), before=ids)

    def _references(self) -> tuple[tuple[ReferenceSize, ...], list[Once]]:
        """The exact reference of each model, where none is kept: texts once, the answers once."""
        sizes: list[ReferenceSize] = []
        once: list[Once] = []
        for model in dict.fromkeys(cell.model for cell in self._cells):
            cells = [cell for cell in self._cells if cell.model == model]
            scoring = [cell for cell in cells if cell.workload == QUALITY]
            is_held = self.loaded.study.gate or scoring
            if model not in self.seen.shapes or not is_held or not self._is_left(cells):
                continue
            size, made = self._reference(model, cells, scoring)
            sizes.append(size)
            once += made
        return tuple(sizes), once

    def _reference(
        self, model: str, cells: Sequence[Cell], scoring: Sequence[Cell]
    ) -> tuple[ReferenceSize, list[Once]]:
        """Of one model; converted weights have none but what is kept of their original."""
        shape = self.seen.shapes[model]
        text = self._text_rows(model)
        answers, fed = self._answer_rows(scoring)
        kept = self.known.reference_rows.get(model, 0)
        # How long answers are can only be guessed, but not whether there are any.
        text_kept, answers_kept = kept >= text, kept >= text + answers / (2 * len(cells))
        nbytes, room = 4 * (text + answers) * shape.n_vocab, self.known.reference_room
        will_stay = room is None or nbytes <= room
        once: list[Once] = []
        if model not in self.seen.converted:
            if not text_kept:
                took = self._reference_s(shape, model, tokens=text, rows=text)
                once.append(_reference_once(took, cells, is_kept=will_stay))
            if answers and not answers_kept:
                took = self._reference_s(shape, model, tokens=fed, rows=answers)
                once.append(_reference_once(took, scoring, is_kept=will_stay))
        once = [one for one in once if self._is_due(one)]
        size = ReferenceSize(
            model=model,
            rows=text + answers,
            n_vocab=shape.n_vocab,
            is_kept=text_kept and answers_kept,
            s=sum(one.s for one in once),
            will_stay=will_stay,
            is_made=bool(once),
            is_for_gate=not scoring,
        )
        return size, once

    def _text_rows(self, model: str) -> int:
        """Rows of the gate and the text; a text has at most as many tokens as bytes."""
        quality, text = self.loaded.study.workloads.quality, self.loaded.quality_text
        if quality is None or text is None or self.loaded.files[model].tokenizer is None:
            return GATE_TOKENS
        return GATE_TOKENS + min(quality.max_tokens, len(text.encode("utf-8")))

    def _answer_rows(self, scoring: Sequence[Cell]) -> tuple[int, int]:
        """Rows of all answers, each strategy's its own, and the tokens that are fed for them."""
        workloads = self.loaded.study.workloads
        quality = workloads.quality
        if quality is None or not quality.answers or workloads.answers is None:
            return 0, 0
        # One more than the answer has tokens: that which ended it.
        study = self.loaded.study
        each = [1 + round(answer_tokens(study, self.paces[cell])) for cell in scoring]
        rows = len(self.loaded.questions) * sum(each)
        return rows, rows + len(self.loaded.questions) * len(each) * PROMPT_TOKENS

    def _reference_s(self, shape: ModelShape, model: str, *, tokens: int, rows: int) -> float:
        return reference_seconds(
            shape,
            self.known.speed,
            tokens=tokens,
            rows=rows,
            threads=self.known.cores or max(self.loaded.study.thread_counts),
            loaded=kind_of(self.loaded, model),
        )


def _reference_once(seconds: float, cells: Sequence[Cell], *, is_kept: bool) -> Once:
    ids = frozenset(cell.id for cell in cells)
    return Once(what=REFERENCES, s=seconds, before=ids, is_kept=is_kept)


def kind_of(loaded: LoadedStudy, model: str) -> Kind:
    """What a model's weights are read from."""
    return "random" if isinstance(loaded.files[model].weights, str) else "file"
