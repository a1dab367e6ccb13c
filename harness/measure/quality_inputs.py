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
from harness.errors import HarnessError, TokenizerError
from harness.language.base import Tokenizer
from harness.language.template import fill_template
from harness.language.tokenizer import load_tokenizer
from harness.measure.conversion import Watch, Weights
from harness.measure.job import (
    Gated,
    Job,
    Judged,
    LambadaJob,
    Message,
    PassageJob,
    ScoredPassage,
    Scoring,
)
from harness.measure.lambada_file import lambada_job
from harness.measure.passages import answer_passage, gate_passage, text_passages
from harness.measure.references import FULL, Found, Model, References, source_sha256, why_unknown
from harness.measure.without_folders import without_folders
from harness.plan.cell import Cell
from harness.records.quality import NO_ANSWERS, Gate, Quality
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

    @property
    def files(self) -> frozenset[str]:
        """Those that it is held against."""
        gate = () if self.job.gate is None else (self.job.gate,)
        scored = () if self.job.scoring is None else self.job.scoring.passages
        return frozenset(one.file for one in (*gate, *scored))


@dataclass(frozen=True, kw_only=True)
class QualityInputs:
    """Of one run."""

    loaded: LoadedStudy
    shapes: Mapping[str, ModelShape] = field(default_factory=dict)  # by model, where it is known
    references: References = field(default_factory=References)
    cores: int | None = None  # that computing a reference may keep busy; None: as the study says
    # By file and vocabulary: one may fit one model and not another.
    _tokenizers: dict[tuple[Path, int], Tokenizer | str] = field(default_factory=dict, init=False)
    _documents: dict[str, LambadaJob | str] = field(default_factory=dict, init=False)  # by model

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
        if answers is not None:  # first, so that the weights are read once for all
            scoring, missing = self.scoring(wanted, answers, beside)
            drawn = self.loaded.study.workloads.answers
            drawn = None if drawn is None else drawn.under(wanted.cell.sampling)
            job = structs.replace(job, scoring=scoring, answers=drawn)
        if is_gated:
            found = self.gate(wanted)
            if isinstance(found, str):
                gate = Gate(tokens=0, missing=found)
            else:
                job = structs.replace(job, gate=found)
        return Prepared(job=job, gate=gate, missing=missing)

    def gate(self, wanted: Wanted) -> ScoredPassage | str:
        """The first tokens and where the reference of them lies, or why there is none."""
        known = self._known(wanted)
        if isinstance(known, str):
            return known
        gate = self._gate(known)
        found = self._find(wanted, known, [gate], self._text(known))
        place = found.places.get(gate.key)
        return found.missing or "it has no reference" if place is None else place

    def scoring(
        self, wanted: Wanted, answers: Sequence[Answer], beside: Iterable[Answer]
    ) -> tuple[Scoring | None, dict[str, str]]:
        """What the quality workload compares, and why a part of that is missing.

        `answers` are the cell's own, `beside` those of all its model's cells, of which the
        reference is computed with that of its own. A part is scored whole or not at all: half of it
        would be another text.
        """
        asked = self._asked()
        known = self._known(wanted)
        if isinstance(known, str):
            return None, dict.fromkeys(asked, known)
        text = [(one, None) for one in self._text(known)]
        own = [(one, answer.id) for one, answer in self._answers(wanted, known, answers)]
        others = [one for one, _ in self._answers(wanted, known, beside)]
        parts: dict[str, Sequence[tuple[PassageJob, str | None]]] = {"text": text, "answers": own}
        empty = {"text": "the text has no two tokens", "answers": NO_ANSWERS}
        needed = [one for one, _ in (*text, *own)]
        found = self._find(wanted, known, needed, [self._gate(known), *others])
        placed: list[ScoredPassage] = []
        missing: dict[str, str] = {}
        for name, part in parts.items():
            if any(one.key not in found.places for one, _ in part):
                missing[name] = found.missing or "there is no reference"
            elif part:
                placed += [structs.replace(found.places[one.key], answer=of) for one, of in part]
            elif name in asked:
                missing[name] = known.no_tokenizer or empty[name]
        lambada = self._lambada(known) if "lambada" in asked else None
        if isinstance(lambada, str):
            missing["lambada"], lambada = lambada, None
        if not placed and lambada is None:
            return None, missing
        reference = found.reference if placed else None
        if reference is not None and not any(one.small for one in placed):
            # What other cells lack is theirs.
            reference = structs.replace(reference, form="full", method=FULL)
        return Scoring(reference=reference, passages=placed, lambada=lambada), missing

    def _asked(self) -> tuple[str, ...]:
        """The parts of quality that the study wants."""
        workloads = self.loaded.study.workloads
        quality = workloads.quality
        answers = quality is not None and quality.answers and workloads.answers is not None
        lambada = quality is not None and quality.lambada is not None
        return ("text", *(["answers"] if answers else []), *(["lambada"] if lambada else []))

    def _find(
        self,
        wanted: Wanted,
        known: _Known,
        needed: Sequence[PassageJob],
        beside: Sequence[PassageJob],
    ) -> Found:
        model = Model(
            weights=wanted.weights,
            n_vocab=known.n_vocab,
            job=structs.replace(
                wanted.job,
                engine=FAKE if wanted.cell.engine == FAKE else TORCH,
                strategy="cpu fp32",
                threads=self.cores or max(self.loaded.study.thread_counts),
            ),
            limits=self.loaded.study.limits,
            log=wanted.log,
            watch=wanted.watch,
        )
        return self.references.of(model, needed, beside)

    def _known(self, wanted: Wanted) -> _Known | str:
        shape = self.shapes.get(wanted.cell.model)
        if shape is None:
            return "the model's shape is not known"
        sha256 = source_sha256(wanted.weights)
        if sha256 is None:
            return why_unknown(wanted.weights)
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
        n_vocab = self.shapes[model].n_vocab
        known = self._tokenizers.get((files.tokenizer, n_vocab))
        if known is None:
            try:
                known = load_tokenizer(files.tokenizer)
                known.check_fits(n_vocab)
            except TokenizerError as error:
                known = str(error)
            self._tokenizers[files.tokenizer, n_vocab] = known
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

    def _answers(
        self, wanted: Wanted, known: _Known, answers: Iterable[Answer]
    ) -> list[tuple[PassageJob, Answer]]:
        """The passages of answers whose questions the study still has."""
        if "answers" not in self._asked() or known.tokenizer is None:
            return []
        template = wanted.job.prompt
        asked = {question.id: question.text for question in self.loaded.questions}
        found = []
        for answer in answers:
            if answer.id in asked:
                prompt = known.tokenizer.encode(fill_template(template, asked[answer.id]))
                one = answer_passage(known.sha256, prompt, answer)
                if one is not None:
                    found.append((one, answer))
        return found

    def _lambada(self, known: _Known) -> LambadaJob | str:
        """The documents of LAMBADA as this model's tokens, or why there are none."""
        file, quality = self.loaded.lambada, self.loaded.study.workloads.quality
        assert file is not None
        assert quality is not None
        if known.tokenizer is None:
            return known.no_tokenizer or "the model has no tokenizer"
        if known.model not in self._documents:
            try:
                self._documents[known.model] = lambada_job(
                    file, quality.lambada_documents, known.tokenizer
                )
            except HarnessError as error:
                self._documents[known.model] = str(error)
        return self._documents[known.model]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """What passages are made with."""

    model: str
    sha256: str
    n_vocab: int
    tokenizer: Tokenizer | None
    no_tokenizer: str | None


def gate_of(
    messages: Sequence[Message], prepared: Prepared | None, here: Mapping[str, str]
) -> Gate | None:
    """What the first tokens showed; None for a trial that does not look at them.

    `here` are this machine's folders, which are left out of it.
    """
    seen = next((one.gate for one in messages if isinstance(one, Gated)), None)
    gate = seen or (None if prepared is None else prepared.gate)
    if gate is None or gate.missing is None:
        return gate
    return structs.replace(gate, missing=without_folders(gate.missing, here))


def quality_of(
    messages: Sequence[Message], prepared: Prepared | None, here: Mapping[str, str]
) -> Quality:
    """What was scored, with why a part is not there."""
    told = [one.quality for one in messages if isinstance(one, Judged)]  # the last knows most
    judged = told[-1] if told else Quality()
    missing = {**judged.missing, **({} if prepared is None else prepared.missing)}
    return structs.replace(
        judged, missing={name: without_folders(why, here) for name, why in missing.items()}
    )
