"""What `cpu fp32` answers to the quickstart study, on every machine: the file and the comparison.

    compare_run(folder)    a run's folder, as `harness run` leaves it
    compare(given)         answers however they were given

Both return a line that says what was compared, or raise AssertionError with the first token that
differs. Knows the file in tests/data; nothing of torch, which `answering.py` brings: it computes
logits that a record lacks, and writes the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from harness.language.tokenizer import load_tokenizer
from harness.quickstart import files
from harness.records.record import Answer, Record
from harness.records.store import read_run

PATH = Path(__file__).parents[1] / "data" / "quickstart-answers.json"
SHOWN = "tests/data/quickstart-answers.json"
WRITE_AGAIN = (
    "If the change is meant, write the file again with "
    "`.venv/bin/python -m tests.quickstart.answering`; CONTRIBUTING.md says when that is right."
)
OTHERWISE = (
    "What was asked is the same: the runtime, a library or the CPU computes otherwise. "
    "CONTRIBUTING.md says what to do."
)
LEAST_MARGIN = 0.01  # a token that is nearer to another may be that one elsewhere
TOLERANCE = 1e-3  # of margins between machines; logits are about 10
VERSIONS = ("python", "torch", "numpy")

Row = npt.NDArray[np.float32]  # logits [V]


class ExpectedCell(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which cell of the study the answers are of."""

    model: str
    engine: str
    strategy: str
    threads: int


class Hashes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """sha256 of what was asked, as records have it."""

    weights: str
    tokenizer: str
    questions: str
    settings: str  # prompt, stops, sampling, and again tokenizer and questions: the second key


class ExpectedAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer, up to the stop string that ends it, that string's tokens included."""

    id: str
    text: str
    token_ids: list[int]
    margin: float  # the smallest difference of the two best logits that a token was drawn from
    margin_at: int  # index into token_ids


class Expected(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    cell: ExpectedCell
    sha256: Hashes
    versions: dict[str, str]  # under which it was written
    kernels: dict[str, str]  # operation -> implementation
    answers: list[ExpectedAnswer]

    @property
    def tightest(self) -> ExpectedAnswer:
        """The answer with the smallest margin."""
        return min(self.answers, key=lambda answer: answer.margin)


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a run answered, and what it was asked."""

    answers: Sequence[Answer]
    sha256: Hashes
    versions: Mapping[str, str]
    kernels: Mapping[str, str]
    # Question's id, index into token_ids -> what the token was drawn from; a record keeps none.
    logits: Callable[[str, int], Row | None] = lambda _question, _at: None


def read() -> Expected:
    """The file in tests/data."""
    return msgspec.json.decode(PATH.read_bytes(), type=Expected)


def render(expected: Expected) -> str:
    """The file's text: a line per field, in the order of the questions."""
    value = msgspec.to_builtins(expected)
    answers = ",\n".join(_entry(answer) for answer in value.pop("answers"))
    head = json.dumps(value, indent=2, ensure_ascii=False).removesuffix("\n}")
    return f'{head},\n  "answers": [\n{answers}\n  ]\n}}\n'


def _entry(answer: Mapping[str, Any]) -> str:
    lines = (f'      "{key}": {json.dumps(v, ensure_ascii=False)}' for key, v in answer.items())
    return "    {\n" + ",\n".join(lines) + "\n    }"


def compare_run(folder: Path, expected: Expected | None = None) -> str:
    """Compare the answers that a run's folder keeps: those of the file's cell."""
    expected = expected or read()
    records = read_run(folder).records
    of_cell = [r for r in records if r.cell.workload == "answers" and _cell(r) == expected.cell]
    if not of_cell:
        there = ", ".join(sorted({record.cell.id for record in records})) or "nothing"
        raise AssertionError(f"The run holds no answers of {expected.cell}. It holds: {there}.")
    return compare(of_record(of_cell[-1]), expected)


def _cell(record: Record) -> ExpectedCell:
    cell = record.cell
    return ExpectedCell(
        model=cell.model, engine=cell.engine, strategy=cell.strategy, threads=cell.threads
    )


def of_record(record: Record) -> Given:
    """What a record says was asked and answered; AssertionError where the trial failed."""
    outcome, facts = record.outcome, record.facts
    if outcome.kind != "ok":
        raise AssertionError(f"{record.cell.id} ended as {outcome.kind}: {outcome.reason}")
    return Given(
        answers=record.answers,
        sha256=Hashes(
            **{
                name: str(facts[f"{name}_sha256"]) for name in ("weights", "tokenizer", "questions")
            },
            settings=str(record.key.presentation),
        ),
        versions=pick_versions(facts),
        kernels=name_kernels([slot.kernels for slot in record.plan]),
    )


def pick_versions(facts: Mapping[str, Any]) -> dict[str, str]:
    """Those facts that say under what a run computed."""
    return {n: facts[n] if isinstance(facts.get(n), str) else "unknown" for n in VERSIONS}


def name_kernels(slots: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Operation -> implementation over all slots; two of them where slots differ."""
    names: dict[str, set[str]] = {}
    for operation, kernel in (item for slot in slots for item in slot.items()):
        names.setdefault(operation, set()).add(kernel)
    return {operation: " and ".join(sorted(names[operation])) for operation in sorted(names)}


def compare(given: Given, expected: Expected | None = None) -> str:
    """A line that says what is the same; AssertionError for the first token that is not."""
    expected = expected or read()
    _check_asked(given, expected)
    pairs = list(zip(given.answers, expected.answers, strict=True))
    wrong = [(got, wanted) for got, wanted in pairs if got.token_ids != wanted.token_ids]
    if wrong:
        others = [wanted.id for _, wanted in wrong]
        summary = f"{len(wrong)} of {len(pairs)} answers differ: {', '.join(others)}."
        raise AssertionError(f"{_explain(given, expected, *wrong[0])}\n{summary}\n{OTHERWISE}")
    for got, wanted in pairs:
        if got.text != wanted.text:
            raise AssertionError(
                f"{got.id}: the token ids are those of {SHOWN}, and their text is not: "
                f"{got.text!r}, expected {wanted.text!r}. {OTHERWISE}"
            )
    tokens = sum(len(answer.token_ids) for answer in expected.answers)
    tightest = expected.tightest
    return (
        f"{len(pairs)} answers of {expected.cell.strategy}, {tokens:,} tokens, by "
        f"{_listed(given.versions)}: same ids as by {_listed(expected.versions)}; "
        f"smallest margin {tightest.margin:.4f} (question {tightest.id})"
    )


def _check_asked(given: Given, expected: Expected) -> None:
    now, then = msgspec.to_builtins(given.sha256), msgspec.to_builtins(expected.sha256)
    changed = [
        f"  {name}: sha256 {now[name]}, expected {then[name]}"
        for name in then
        if now[name] != then[name]
    ]
    if changed:
        lines = "\n".join(changed)
        raise AssertionError(f"{SHOWN} was written for something else:\n{lines}\n{WRITE_AGAIN}")
    ids, wanted = [a.id for a in given.answers], [a.id for a in expected.answers]
    if ids != wanted:
        missing = [name for name in wanted if name not in ids]
        more = [name for name in ids if name not in wanted]
        raise AssertionError(
            f"The questions are not those of {SHOWN}, in its order. "
            f"Not answered: {missing}; not expected: {more}."
        )


def check_margins(margins: Mapping[str, Sequence[float]], expected: Expected) -> float:
    """How far recomputed margins, by question and position, are from the file's at most.

    AssertionError where that is more than TOLERANCE, or where one is no more than LEAST_MARGIN.
    """
    furthest = 0.0
    for answer in expected.answers:
        here = margins[answer.id]
        least = min(*here, answer.margin)
        if least <= LEAST_MARGIN:
            raise AssertionError(
                f"{answer.id}: two logits are only {least:.4f} apart; more than {LEAST_MARGIN} is "
                "needed for the same token everywhere. Word the question differently in "
                "harness/quickstart/questions.yaml."
            )
        off = max(abs(min(here) - answer.margin), abs(here[answer.margin_at] - answer.margin))
        if off > TOLERANCE:
            raise AssertionError(
                f"{answer.id}: the smallest margin is {min(here):.4f}, and at "
                f"token_ids[{answer.margin_at}] {here[answer.margin_at]:.4f}; {SHOWN} says "
                f"{answer.margin:.4f} there. {OTHERWISE}"
            )
        furthest = max(furthest, off)
    return furthest


def _explain(given: Given, expected: Expected, got: Answer, wanted: ExpectedAnswer) -> str:
    """The first token that differs, its two logits, and what computed them then and now."""
    at = _first_difference(got.token_ids, wanted.token_ids)
    row, source = _logits(given, got, at)
    decode = load_tokenizer(files.TOKENIZER).decode
    # A token that ended the answer is not among its ids: it was the likeliest.
    ids = (*got.token_ids, int(np.argmax(row))) if got.stop == "stop_token" else got.token_ids
    drawn, meant = (_token(decode, row, one, at) for one in (ids, wanted.token_ids))
    tightest = f"token_ids[{wanted.margin_at}]"
    return "\n".join(
        [
            f"{expected.cell.strategy} does not answer as {SHOWN} says.",
            f"  question {got.id}: {got.question}",
            f"  after    {decode(wanted.token_ids[:at])!r}",
            f"  token_ids[{at}] is {drawn}",
            f"  expected        {meant}",
            f"  logits   {source}",
            f"  margin   {wanted.margin:.4f} was the question's smallest, at {tightest}",
            f"  expected by {_listed(expected.versions)}",
            f"  computed by {_listed(given.versions)}, {_other_kernels(given, expected)}",
        ]
    )


def _first_difference(got: Sequence[int], wanted: Sequence[int]) -> int:
    both = zip(got, wanted, strict=False)
    return next((i for i, (a, b) in enumerate(both) if a != b), min(len(got), len(wanted)))


def _logits(given: Given, got: Answer, at: int) -> tuple[Row, str]:
    kept = given.logits(got.id, at)
    if kept is not None:
        return kept, "of this run"
    from tests.quickstart import answering

    row, torch = answering.logits_after(got.id, got.token_ids[:at])
    return row, f"computed again here by torch {torch}: a record keeps none"


def _token(
    decode: Callable[[Sequence[int]], str],
    row: Row,
    ids: Sequence[int],
    at: int,
) -> str:
    if at >= len(ids):
        return "the end of the answer"
    return f"{ids[at]} {decode([ids[at]])!r}, logit {row[ids[at]]:.4f}"


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(
        value if name == "python" else f"{name} {value}" for name, value in versions.items()
    )


def _other_kernels(given: Given, expected: Expected) -> str:
    other = [
        f"{name} by {given.kernels.get(name, 'none')!r} and not {expected.kernels.get(name)!r}"
        for name in sorted({*given.kernels, *expected.kernels})
        if given.kernels.get(name) != expected.kernels.get(name)
    ]
    return f"other kernels: {'; '.join(other)}" if other else "the same kernels"
