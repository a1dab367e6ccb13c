"""Answers: which are right, and where they leave the reference's.

The exact reference decides where any answer of a model was held against it, for all rows: an answer
that was not is not compared then. Else the reference is a strategy, and its answers count.
Compares token ids, not text: two texts may look alike and still come from other tokens. What the
deadline of a question cut off is not known, so a cut answer is compared as far as it goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, zip_longest

from msgspec import structs

from harness.records.record import Answer
from harness.report.trials import CellTrials
from harness.report.values import Agreement, Given, Question, Row, Score
from harness.stats import proportion


def shown_answers(cell: CellTrials | None) -> list[Answer]:
    """The answers of the first trial that gave some.

    A trial whose answers were judged wrong has answered, and its score is what there is to see.
    """
    if cell is None:
        return []
    kinds = ("ok", "wrong_answers")
    return next(
        (r.answers for kind in kinds for r in cell.records if r.outcome.kind == kind and r.answers),
        [],
    )


def score_of(answers: Iterable[Answer]) -> Score | None:
    """Right answers among those that have a pattern; None where none has."""
    judged = [answer for answer in answers if answer.right is not None]
    if not judged:
        return None
    right = sum(bool(answer.right) for answer in judged)
    low, high = proportion(right, len(judged))
    unfinished = sum(is_cut(answer) and not answer.right for answer in judged)
    return Score(right=right, of=len(judged), low=low, high=high, unfinished=unfinished)


def score_by_category(answers: Sequence[Answer]) -> dict[str, Score]:
    """The score of each category that has questions with a pattern, in the set's order."""
    names = dict.fromkeys(answer.category for answer in answers if answer.category is not None)
    scores = {name: score_of(a for a in answers if a.category == name) for name in names}
    return {name: score for name, score in scores.items() if score is not None}


def first_difference(ids: Sequence[int], reference: Sequence[int]) -> int | None:
    """Index of the first token that is not the reference's; None where all are the same.

    An answer that ends earlier than the other differs at its end.
    """
    pairs = zip_longest(ids, reference)
    return next((at for at, (mine, other) in enumerate(pairs) if mine != other), None)


def is_cut(answer: Answer) -> bool:
    """Whether the clock ended it, and not a token, a text or a number of tokens."""
    return answer.stop == "cut"


def departure(answer: Answer, other: Answer) -> int | None:
    """The same of two answers; None too where the clock cut one before it could differ."""
    at = first_difference(answer.token_ids, other.token_ids)
    ended = (one for one in (answer, other) if len(one.token_ids) == at)
    return None if any(is_cut(one) for one in ended) else at


def compare_answers(
    rows: Sequence[Row], answers: Mapping[str, Sequence[Answer]]
) -> tuple[Question, ...]:
    """Every question with all answers to it; `answers` are by the label of the row."""
    exact = held_against_exact(rows)
    by_label = {label: {a.id: a for a in given} for label, given in answers.items()}
    first_seen = {a.id: a for given in answers.values() for a in reversed(given)}
    ids = dict.fromkeys(a.id for given in answers.values() for a in given)
    questions = []
    for question_id in ids:
        one = first_seen[question_id]
        given = tuple(
            _against_exact(row, by_label[row.label][question_id])
            if exact
            else _compare(
                row,
                by_label[row.label][question_id],
                by_label.get(row.reference, {}).get(question_id),
            )
            for row in rows
            if question_id in by_label.get(row.label, {})
        )
        questions.append(
            Question(id=question_id, category=one.category, question=one.question, answers=given)
        )
    return tuple(questions)


def held_against_exact(rows: Iterable[Row]) -> bool:
    """Whether the exact reference decides which answers of a model are its own."""
    return any(row.quality is not None and row.quality.answered for row in rows)


def agreement_of(label: str, questions: Iterable[Question]) -> Agreement | None:
    """How many of a row's answers are the reference's; None where none could be compared."""
    compared = [
        given
        for question in questions
        for given in question.answers
        if given.label == label and given.compared
    ]
    if not compared:
        return None
    same = sum(given.first_difference is None for given in compared)
    return Agreement(same=same, of=len(compared))


def unsteady_questions(cell: CellTrials) -> tuple[str, ...]:
    """Ids of the questions that the trials of one cell answered with different tokens."""
    seen: dict[str, list[Answer]] = {}
    for record in cell.ok:
        for answer in record.answers:
            seen.setdefault(answer.id, []).append(answer)
    return tuple(
        question
        for question, given in seen.items()
        if any(departure(one, other) is not None for one, other in combinations(given, 2))
    )


def steadiness(cell: CellTrials | None) -> tuple[str, ...] | None:
    """The same, empty where all trials agree; None where fewer than two have answered."""
    if cell is None or sum(bool(record.answers) for record in cell.ok) < 2:
        return None
    return unsteady_questions(cell)


def _against_exact(row: Row, answer: Answer) -> Given:
    shown = _shown(row, answer)
    if row.quality is None or answer.id not in row.quality.answered:
        return shown
    difference = row.quality.answered[answer.id]
    same = None if difference is None else difference.same_characters
    return structs.replace(
        shown,
        compared=True,
        first_difference=None if difference is None else difference.index,
        same_characters=len(answer.text) if same is None else min(same, len(answer.text)),
        difference=difference,
        is_end=difference is not None and difference.index >= len(answer.token_ids),
    )


def _shown(row: Row, answer: Answer) -> Given:
    return Given(label=row.label, text=answer.text, right=answer.right, is_cut=is_cut(answer))


def _compare(row: Row, answer: Answer, reference: Answer | None) -> Given:
    shown = _shown(row, answer)
    if reference is None or row.is_reference:
        return shown
    at = departure(answer, reference)
    goes_on = at is None and len(answer.token_ids) > len(reference.token_ids)
    return structs.replace(
        shown,
        compared=True,
        first_difference=at,
        is_end=at is not None and at >= len(answer.token_ids),
        same_characters=_shared_beginning(answer.text, reference.text),
        reference_is_cut=goes_on,
    )


def _shared_beginning(text: str, other: str) -> int:
    """How many characters both texts begin with alike."""
    pairs = zip(text, other, strict=False)
    shortest = min(len(text), len(other))
    return next((at for at, (mine, theirs) in enumerate(pairs) if mine != theirs), shortest)
