"""The worker's side of the quality workload, and of the gate before a strategy is measured.

Feeds passages to a session and compares what it says with the reference's rows, chunk by chunk: no
more is held than a chunk of either. Knows nothing of studies, and not where a reference comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from msgspec import structs

from harness.engines.base import Logits, Session
from harness.errors import (
    NotANumber,
    RecordsError,
    ReferenceUnusable,
    TokenizerError,
    WrongAnswers,
)
from harness.language.base import Tokenizer
from harness.language.sampling import SamplingSettings
from harness.measure.job import Gated, Judged, Scored, ScoredPassage, Scoring
from harness.measure.last_words import measure_last_words
from harness.measure.wanted_rows import wanted_rows
from harness.quality.difference import completed, first_difference
from harness.quality.gate import judge_gate
from harness.quality.rows_file import RowsFile, StoredRows
from harness.quality.small_form import SmallForm, compare_small
from harness.quality.small_form_file import read_small_forms
from harness.quality.tokens import compare_rows, joined
from harness.records.quality import AnswerQuality, Difference, Gate, Quality, ScoredTokens

BROKEN = "\ufffd"  # the end of what is decoded where a character goes on in the next token
NO_ROWS = "only the small form of the reference is here, and one cannot draw from that"
NOT_DONE = "the trial ended before all documents were read"
Reference = StoredRows | SmallForm  # of one passage


def look_at_first_tokens(
    session: Session,
    gate: ScoredPassage,
    send: Callable[[Gated], None],
    *,
    from_cache: bool = False,
) -> None:
    """Send what the first tokens show; raises `WrongAnswers` where that is another function.

    And `NotANumber`. A reference that cannot be read is no fault of the strategy's. `from_cache` is
    whether the weights are converted ones that the cache keeps.
    """
    try:
        reference = _reference(gate)
        rows = reference if isinstance(reference, SmallForm) else reference[:]
    except (ReferenceUnusable, RecordsError) as error:
        send(Gated(gate=Gate(tokens=0, missing=str(error))))
        return
    candidate = np.concatenate([rows for _, rows in _candidate(session, gate)])
    formats = [(slot.dtype, slot.weight_dtype) for slot in session.effective_plan()]
    judged = judge_gate(rows, candidate, formats, from_cache=from_cache)
    send(Gated(gate=judged))
    if judged.why is not None:
        raise WrongAnswers(judged.why)


def measure_quality(
    session: Session,
    scoring: Scoring,
    settings: SamplingSettings | None,
    send: Callable[[Scored | Judged], None],
    tokenizer: Tokenizer | None = None,
) -> None:
    """Score every passage, and send the figures of all; `settings` are those that answers had.

    Without a `tokenizer` the tokens at which answers differ have no text. Raises `NotANumber` where
    a row of the session's says nothing, once all figures are sent.
    """
    text: list[ScoredTokens] = []
    answers: list[AnswerQuality] = []
    missing: dict[str, str] = {}
    for done, one in enumerate(scoring.passages, start=1):
        part = "text" if one.answer is None else "answers"
        if part not in missing:
            try:
                if one.answer is None:
                    text.append(_score(session, one, _reference(one)))
                else:
                    assert settings is not None
                    scored = _score_answer(session, one, one.answer, _reference(one), settings)
                    answers.append(_in_words(scored, one, tokenizer))
            except (ReferenceUnusable, RecordsError) as error:  # no fault of the strategy's
                missing[part] = str(error)
        send(Scored(done=done, total=len(scoring.passages)))
    quality = Quality(
        reference=scoring.reference,
        text=joined(text) if text and "text" not in missing else None,
        answers=[] if "answers" in missing else answers,
        missing=missing if scoring.lambada is None else {**missing, "lambada": NOT_DONE},
    )
    send(Judged(quality=quality))
    if scoring.lambada is not None:  # it may take hours: what is known by now is kept
        lambada = measure_last_words(session, scoring.lambada, send)
        quality = structs.replace(quality, lambada=lambada, missing=missing)
        send(Judged(quality=quality))
    _check_numbers(quality)


def _check_numbers(quality: Quality) -> None:
    """Raise `NotANumber` where the model said nothing of a token; -inf for some is an answer."""
    scored = [part for part in (quality.text, *(one.scored for one in quality.answers)) if part]
    bad = sum(part.not_a_number for part in scored)
    if bad:
        n = sum(len(part.agree) for part in scored)
        raise NotANumber(
            f"The model gave NaN or infinity for {bad:,} of {n:,} scored tokens, for which the "
            "exact reference of the same weights has numbers. Try a wider dtype, such as fp32."
        )
    bad = 0 if quality.lambada is None else quality.lambada.not_a_number
    if bad:
        raise NotANumber(
            f"The model gave NaN or infinity for {bad:,} {'token' if bad == 1 else 'tokens'} of "
            "last words. Try a wider dtype; where fp32 gives the same, the weights are damaged."
        )


def _score(session: Session, one: ScoredPassage, reference: Reference) -> ScoredTokens:
    return joined(_compare(one, reference, start, rows) for start, rows in _candidate(session, one))


def _score_answer(
    session: Session,
    one: ScoredPassage,
    question: str,
    reference: Reference,
    settings: SamplingSettings,
) -> AnswerQuality:
    """An answer, with where the reference would have left it."""
    difference: Difference | None = None
    if not isinstance(reference, SmallForm):
        difference = first_difference(reference, one.passage.targets, settings)
    parts = []
    for start, rows in _candidate(session, one):
        parts.append(_compare(one, reference, start, rows))
        if difference is not None and start <= difference.index < start + len(rows):
            difference = completed(difference, rows[difference.index - start])
    return AnswerQuality(
        id=question,
        scored=joined(parts),
        difference=difference,
        difference_missing=NO_ROWS if isinstance(reference, SmallForm) else None,
    )


def _in_words(
    answer: AnswerQuality, one: ScoredPassage, tokenizer: Tokenizer | None
) -> AnswerQuality:
    """The same with the text of the tokens at which it differs, and where in its text that is."""
    difference = answer.difference
    if difference is None or tokenizer is None:
        return answer
    before = _decoded(tokenizer, one.passage.targets[: difference.index])
    told = structs.replace(
        difference,
        text=_decoded(tokenizer, [difference.token]),
        reference_text=_decoded(tokenizer, [difference.reference_token]),
        # An answer's text begins without the blanks of its first token.
        same_characters=None if before is None else len(before.rstrip(BROKEN).lstrip()),
    )
    return structs.replace(answer, difference=told)


def _decoded(tokenizer: Tokenizer, ids: Sequence[int]) -> str | None:
    """The text of some tokens; None for a token that stands for no text."""
    try:
        return tokenizer.decode(ids)
    except TokenizerError:
        return None


def _compare(
    one: ScoredPassage, reference: Reference, start: int, candidate: Logits
) -> ScoredTokens:
    """Some of a passage's wanted rows, the first of which is row `start` of them."""
    end = start + len(candidate)
    if isinstance(reference, SmallForm):
        return compare_small(reference.rows(start, end), candidate)
    return compare_rows(reference[start:end], candidate, one.passage.targets[start:end])


def _candidate(session: Session, one: ScoredPassage) -> Iterator[tuple[int, Logits]]:
    return wanted_rows(session, one.passage.ids, one.passage.first)


def _reference(one: ScoredPassage) -> Reference:
    """The reference of a passage.

    Raises `RecordsError` or `ReferenceUnusable` where its file cannot be read, or has it not.
    """
    if one.small:
        forms = _small_forms(one.file)
        if one.passage.key not in forms:
            raise RecordsError(f"{one.file}: has not the small form that was looked for in it")
        return forms[one.passage.key]
    return _rows_file(one.file).rows(one.passage.key)


@cache
def _rows_file(path: str) -> RowsFile:
    return RowsFile(Path(path))


@cache
def _small_forms(path: str) -> dict[str, SmallForm]:
    return read_small_forms(Path(path))
