"""What a trial needs for its quality: passages of texts and answers, with the reference's rows.

The parent's side: tokenises, has the reference computed where it is nowhere, and says in words why
a part is missing. Nothing here fails a trial.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import structs

from harness.config.engines import FAKE, TORCH
from harness.config.load import LoadedStudy
from harness.errors import TokenizerError
from harness.language.base import Tokenizer
from harness.language.template import fill_template
from harness.language.tokenizer import load_tokenizer
from harness.measure.conversion import Watch, Weights
from harness.measure.job import (
    Gated,
    Job,
    Judged,
    Message,
    PassageJob,
    ScoredPassage,
    Scoring,
)
from harness.measure.passages import answer_passage, gate_passage, text_passages
from harness.measure.references import Found, Model, References, source_sha256
from harness.plan.cell import Cell
from harness.records.quality import Gate, Quality
from harness.records.record import Answer
from harness.runtime.shape import ModelShape
from harness.texts import BUILTIN_TEXTS, PROSE


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A trial's model and how its worker will be told of it."""

    cell: Cell
    job: Job
    weights: Weights
    log: Path
    watch: Watch


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A job with what it is held against."""

    job: Job
    gate: Gate | None = None  # where the first tokens cannot be looked at
    missing: Mapping[str, str] = field(default_factory=dict)  # parts of quality, and why


@dataclass(frozen=True, kw_only=True)
class QualityInputs:
    """Of one run."""

    loaded: LoadedStudy
    shapes: Mapping[str, ModelShape] = field(default_factory=dict)  # by model, where it is known
    references: References = field(default_factory=References)
    _tokenizers: dict[Path, Tokenizer | str] = field(default_factory=dict, init=False)

    def prepare(
        self,
        wanted: Wanted,
        *,
        is_gated: bool,
        answers: Sequence[Answer] | None,
        beside: Sequence[Answer],
    ) -> Prepared:
        """The job with what it is held against; `answers` are given to the quality workload."""
        job, gate = wanted.job, None
        missing: dict[str, str] = {}
        if is_gated:
            found = self.gate(wanted)
            if isinstance(found, str):
                gate = Gate(tokens=0, missing=found)
            else:
                job = structs.replace(job, gate=found)
        if answers is not None:
            scoring, missing = self.scoring(wanted, answers, beside)
            job = structs.replace(job, scoring=scoring, answers=self.loaded.study.workloads.answers)
        return Prepared(job=job, gate=gate, missing=missing)

    def gate(self, wanted: Wanted) -> ScoredPassage | str:
        """The first tokens and where the reference of them lies, or why there is none."""
        known = self._known(wanted)
        if isinstance(known, str):
            return known
        gate = self._gate(known)
        found = self._find(wanted, known, [gate, *self._text(known)])
        place = found.places.get(gate.key)
        return found.missing or "it has no reference" if place is None else place

    def scoring(
        self, wanted: Wanted, answers: Sequence[Answer], beside: Iterable[Answer]
    ) -> tuple[Scoring | None, dict[str, str]]:
        """What the quality workload compares, and why a part of that is missing.

        `answers` are the cell's own, `beside` those of all its model's cells: what of them has no
        reference is computed together, since the weights are read once for all.
        """
        known = self._known(wanted)
        if isinstance(known, str):
            return None, {"text": known, "answers": known}
        missing: dict[str, str] = {}
        text = self._text(known)
        if not text:
            missing["text"] = known.no_tokenizer or "the text has no two tokens"
        own = self._answers(known, answers)
        if not own:
            missing["answers"] = known.no_tokenizer or "there are none of this cell"
        others = [one for one, _ in self._answers(known, beside)]
        passages = [self._gate(known), *text, *(one for one, _ in own), *others]
        found = self._find(wanted, known, passages)
        if found.reference is None:
            why = found.missing or "there is no reference"
            return None, {"text": why, "answers": why, **missing}
        placed = [found.places[one.key] for one in text]
        for one, answer in own:
            placed.append(structs.replace(found.places[one.key], answer=answer.id))
        return Scoring(reference=found.reference, passages=placed), missing

    def _find(self, wanted: Wanted, known: _Known, passages: Sequence[PassageJob]) -> Found:
        model = Model(
            weights=wanted.weights,
            n_vocab=known.n_vocab,
            job=structs.replace(
                wanted.job,
                engine=FAKE if wanted.cell.engine == FAKE else TORCH,
                strategy="cpu fp32",
                threads=max(self.loaded.study.thread_counts),
            ),
            limits=self.loaded.study.limits,
            log=wanted.log,
            watch=wanted.watch,
        )
        return self.references.of(model, list({one.key: one for one in passages}.values()))

    def _known(self, wanted: Wanted) -> _Known | str:
        shape = self.shapes.get(wanted.cell.model)
        if shape is None:
            return "the model's shape is not known"
        sha256 = source_sha256(wanted.weights)
        if sha256 is None:
            return "the content of the weights is not known"
        tokenizer = self._tokenizer(wanted.cell.model)
        return _Known(
            model=wanted.cell.model,
            sha256=sha256,
            n_vocab=shape.n_vocab,
            tokenizer=None if isinstance(tokenizer, str) else tokenizer,
            no_tokenizer=tokenizer if isinstance(tokenizer, str) else None,
        )

    def _tokenizer(self, model: str) -> Tokenizer | str:
        files = self.loaded.files[model]
        if files.tokenizer is None:
            return files.no_tokenizer or "the model has no tokenizer"
        known = self._tokenizers.get(files.tokenizer)
        if known is None:
            try:
                known = load_tokenizer(files.tokenizer)
                known.check_fits(self.shapes[model].n_vocab)
            except TokenizerError as error:
                known = str(error)
            self._tokenizers[files.tokenizer] = known
        return known

    def _gate(self, known: _Known) -> PassageJob:
        text = BUILTIN_TEXTS[PROSE].read_text(encoding="utf-8")
        return gate_passage(known.sha256, known.n_vocab, known.tokenizer, text)

    def _text(self, known: _Known) -> list[PassageJob]:
        quality = self.loaded.study.workloads.quality
        if quality is None or known.tokenizer is None or self.loaded.quality_text is None:
            return []
        ids = known.tokenizer.encode(self.loaded.quality_text)
        return text_passages(known.sha256, ids, quality.max_tokens)

    def _answers(self, known: _Known, answers: Iterable[Answer]) -> list[tuple[PassageJob, Answer]]:
        """The passages of answers whose questions the study still has."""
        quality = self.loaded.study.workloads.quality
        if quality is None or not quality.answers or known.tokenizer is None:
            return []
        template = self.loaded.files[known.model].prompt
        asked = {question.id: question.text for question in self.loaded.questions}
        found = []
        for answer in answers:
            if answer.id in asked:
                prompt = known.tokenizer.encode(fill_template(template, asked[answer.id]))
                one = answer_passage(known.sha256, prompt, answer)
                if one is not None:
                    found.append((one, answer))
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """What passages are made with."""

    model: str
    sha256: str
    n_vocab: int
    tokenizer: Tokenizer | None
    no_tokenizer: str | None


def gate_of(messages: Sequence[Message], prepared: Prepared | None) -> Gate | None:
    """What the first tokens showed; None for a trial that does not look at them."""
    seen = next((one.gate for one in messages if isinstance(one, Gated)), None)
    return seen or (None if prepared is None else prepared.gate)


def quality_of(messages: Sequence[Message], prepared: Prepared | None) -> Quality:
    """What was scored, with why a part is not there."""
    judged = next((one.quality for one in messages if isinstance(one, Judged)), Quality())
    missing = {} if prepared is None else prepared.missing
    return structs.replace(judged, missing={**judged.missing, **missing})
