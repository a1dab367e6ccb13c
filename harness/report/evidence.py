"""The tables behind the results: answers side by side, what went wrong, placement.

Turns a summary's values into texts; decides nothing and draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import structs

from harness.records.quality import Difference
from harness.report.format import in_words, listing, seconds, size
from harness.report.quality_cells import chance
from harness.report.table import Cell, Table, code, columns, figure, words
from harness.report.values import CellOutcome, Given, ModelSummary, Question, Row, Summary

BESIDE_REFERENCE = 3  # answers shown beside the reference's in one table: more would not print


def answer_tables(model: ModelSummary, questions: Sequence[Question]) -> tuple[Table, ...]:
    """The questions with one column per strategy, the reference first, a few others per table.

    Below an answer that the exact reference would have left stand the two tokens at which it would.
    """
    answered = {given.label for question in model.questions for given in question.answers}
    tables = []
    for reference, others in _by_reference(model.rows, answered):
        first = [reference] if reference in answered else []
        for start in range(0, max(1, len(others)), BESIDE_REFERENCE):
            labels = first + others[start : start + BESIDE_REFERENCE]
            if labels:
                tables.append(_answer_table(model, questions, labels, reference))
    return tuple(_told_apart(tables))


def _told_apart(tables: Sequence[Table]) -> Iterator[Table]:
    """The same, those of one caption numbered."""
    seen: dict[str, int] = {}
    captions = [table.caption for table in tables]
    for table in tables:
        of = captions.count(table.caption)
        at = seen[table.caption] = seen.get(table.caption, 0) + 1
        part = f", part {at} of {of}" if of > 1 else ""
        yield structs.replace(table, caption=f"{table.caption}{part}")


def problem_table(summary: Summary) -> Table | None:
    """Every cell that did not end well in all its trials; None where all did."""
    rows = tuple(
        (
            code(row.label),
            words(row.model),
            words(", ".join(workloads)),
            words(trials),
            words(kind),
            figure(reason, "no reason was recorded"),
        )
        for model in summary.models
        for row in model.rows
        for (trials, kind, reason), workloads in _happenings(row).items()
    )
    if not rows:
        return None
    return Table(
        caption="Failed, skipped and missing trials",
        columns=columns("Strategy", "Model", "Workload", "Trials", "What happened", "Reason"),
        rows=rows,
    )


def problem_details(summary: Summary) -> tuple[tuple[str, str], ...]:
    """Heading and text of what was recorded beyond the reason, such as a traceback."""
    return tuple(
        (f"{outcome.id}, trial {problem.trial + 1}: {problem.kind}", problem.detail)
        for model in summary.models
        for row in model.rows
        for outcome in row.outcomes
        for problem in outcome.problems
        if problem.detail
    )


def placement_table(model: ModelSummary) -> Table | None:
    """Where the slots of each strategy really lay, and what ran them; None where none ran."""
    rows = tuple(
        (
            code(row.label),
            words(_slots(place.first_slot, place.last_slot)),
            code(place.device),
            code(place.dtype),
            code(place.weight_dtype),
            words("yes" if place.streamed else "no"),
            words(size(place.bytes)),
            words(_kernels(place.kernels)),
        )
        for row in model.rows
        for place in row.placement
    )
    if not rows:
        return None
    titles = ("Strategy", "Slots", "Device", "Computes in", "Weights in", "Streamed", "Weights")
    return Table(
        caption=f"What ran of {model.name}, read back from the loaded model",
        columns=columns(*titles, "Kernels", numeric=("Weights",)),
        rows=rows,
    )


def loading_table(model: ModelSummary) -> Table | None:
    """How long loading took, and of which file; None where no record says."""
    rows = tuple(
        (
            code(row.label),
            figure(
                None if row.load_s is None else seconds(row.load_s.value),
                row.missing.get("load_s"),
            ),
            words("; ".join(row.weights_read)),
        )
        for row in model.rows
        if row.weights_read
    )
    if not rows:
        return None
    return Table(
        caption=f"Loading {model.name}: median of the trials",
        columns=columns("Strategy", "Time", "Weights", numeric=("Time",)),
        rows=rows,
    )


def planned_table(model: ModelSummary) -> Table | None:
    """What the plan foresaw for the strategies that left no placement; None without any."""
    rows = tuple(
        (
            code(row.label),
            words(_by_device(row.planned_bytes)),
            figure(
                _by_device(row.planned_peak_bytes) or None, "foreseen for the torch engine alone"
            ),
        )
        for row in model.rows
        if row.planned_bytes and not row.placement
    )
    if not rows:
        return None
    return Table(
        caption=f"What was planned of {model.name}, and did not run",
        columns=columns("Strategy", "Weights", "Predicted peak"),
        rows=rows,
    )


def _by_device(n_bytes: Mapping[str, int]) -> str:
    return listing([f"{size(n)} on {name}" for name, n in n_bytes.items()])


def _by_reference(rows: Sequence[Row], answered: set[str]) -> Iterable[tuple[str, list[str]]]:
    """Each reference with the answering rows that are compared with it."""
    groups: dict[str, list[str]] = {}
    for row in rows:
        others = groups.setdefault(row.reference, [])
        if row.label in answered and not row.is_reference:
            others.append(row.label)
    return groups.items()


def _answer_table(
    model: ModelSummary, questions: Sequence[Question], labels: Sequence[str], reference: str
) -> Table:
    variants = {row.variant for row in model.rows if row.label in labels}
    variant = next(iter(variants)) if len(variants) == 1 else ""
    return Table(
        caption=f"Answers of {model.name}{f', {variant}' if variant else ''}",
        columns=columns(
            "Question",
            *(
                f"{name} (reference)" if name == reference and not model.by_exact else name
                for name in labels
            ),
        ),
        rows=tuple(
            (
                words(question.question or question.id, tag=question.category),
                *(_answer(question, label, by_exact=model.by_exact) for label in labels),
            )
            for question in questions
        ),
    )


def _answer(question: Question, label: str, *, by_exact: bool) -> Cell:
    given = next((given for given in question.answers if given.label == label), None)
    if given is None:
        return figure(None, "this strategy did not answer")
    remarks = [] if given.right is None else ["right" if given.right else _not_right(given)]
    if not given.text.strip():
        remarks.append("no text" if not given.text else "nothing but blanks")
    if given.is_cut:
        remarks.append("cut at its deadline (limits.question_s)")
    if given.reference_is_cut:
        remarks.append("the reference’s was cut before it could differ")
    if by_exact and not given.compared:
        remarks.append("not held against the reference")
    mark_from = None
    if given.first_difference is not None:
        remarks.append(_difference(given))
        mark_from = given.same_characters
    lines = [", ".join(remarks), *both_tokens(given.difference, is_end=given.is_end)]
    return Cell(text=given.text, tag="\n".join(filter(None, lines)) or None, mark_from=mark_from)


def _not_right(given: Given) -> str:
    return "not right by then" if given.is_cut else "wrong"


def both_tokens(difference: Difference | None, *, is_end: bool = False) -> Iterator[str]:
    """The token that came and the reference’s, each with its probability under both models."""
    if difference is None:
        return
    mine = token_text(difference.token, difference.text)
    if is_end:
        mine = f"the end ({mine})"
    theirs = token_text(difference.reference_token, difference.reference_text)
    yield f"{mine}: {chance(difference.p)}, reference {chance(difference.reference_p)}"
    yield (
        f"not {theirs}: {chance(difference.p_of_reference_token)}, "
        f"reference {chance(difference.reference_p_of_reference_token)}"
    )


def token_text(token: int, text: str | None) -> str:
    """A token as what it stands for; by its number where that is no text that one can see."""
    if not text or "\ufffd" in text:
        return f"token {token}"
    in_one_line = text.replace("\n", "↵").replace(" ", "\u00a0")
    return f"“{in_one_line}”"


def _difference(given: Given) -> str:
    assert given.first_difference is not None
    if given.is_end:
        return f"ends at token {given.first_difference + 1}, where the reference goes on"
    if given.same_characters == len(given.text):
        # The texts are alike: there is nothing to mark in it.
        return f"other tokens from token {given.first_difference + 1} on"
    return f"differs from token {given.first_difference + 1} on"


def _happenings(row: Row) -> dict[tuple[str, str, str | None], list[str]]:
    """Which trials, what happened and why -> the workloads where it did."""
    found: dict[tuple[str, str, str | None], list[str]] = {}
    for outcome in row.outcomes:
        for happening in _of_cell(outcome):
            found.setdefault(happening, []).append(outcome.workload)
    return found


def _of_cell(outcome: CellOutcome) -> Iterable[tuple[str, str, str | None]]:
    """Trials that failed alike are one line."""
    if outcome.state in ("skipped", "not run"):
        yield "all", outcome.state, outcome.reason
        return
    alike: dict[tuple[str, str | None], list[int]] = {}
    for problem in outcome.problems:
        alike.setdefault((problem.kind, problem.reason), []).append(problem.trial + 1)
    for (kind, reason), numbers in alike.items():
        all_of_them = len(numbers) == outcome.trials
        which = (
            "all" if all_of_them else f"{listing([str(n) for n in numbers])} of {outcome.trials}"
        )
        yield which, in_words(kind), reason
    left = outcome.trials - outcome.ok - len(outcome.problems)
    if left > 0:
        yield f"{left} of {outcome.trials}", "not run", "these were not run yet"


def _slots(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}–{last}"


def _kernels(kernels: Mapping[str, str]) -> str:
    """Each kernel with the operations that it ran."""
    operations: dict[str, list[str]] = {}
    for operation, kernel in kernels.items():
        operations.setdefault(kernel, []).append(operation)
    return "; ".join(f"{kernel}: {', '.join(names)}" for kernel, names in operations.items())
