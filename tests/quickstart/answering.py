"""Answers the quickstart study with our runtime, as a worker does, and keeps every logit.

    .venv/bin/python -m tests.quickstart.answering    write tests/data/quickstart-answers.json

Takes the cell, its settings and its questions from the study that is shipped. When it is right to
write the file again: CONTRIBUTING.md.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from harness.config.load import LoadedStudy, load_study
from harness.config.study import Answers, Sampling
from harness.engines.base import Ids, Logits, ModelSource, Session
from harness.engines.registry import load_engine
from harness.language.template import fill_template
from harness.language.tokenizer import load_tokenizer
from harness.machine import probe_machine
from harness.measure.answers import measure_answers
from harness.measure.identity import identify_model, record_key
from harness.measure.job import Answered, Job
from harness.measure.trial import _job
from harness.plan.cell import Cell
from harness.plan.plan import plan
from harness.quickstart import files
from harness.records.record import Answer
from tests.quickstart.same_answers import (
    LEAST_MARGIN,
    PATH,
    Expected,
    ExpectedAnswer,
    ExpectedCell,
    Given,
    Hashes,
    name_kernels,
    render,
)

CELL = ExpectedCell(model="quickstart", engine="torch", strategy="cpu fp32", threads=1)
DECIMALS = 4  # of margins


@lru_cache(maxsize=1)
def asked() -> tuple[LoadedStudy, Cell, Job, dict[str, str]]:
    """The shipped study, its cell, what a worker would be told, and this machine's versions."""
    loaded = load_study(files.BUILTIN)
    cells = [one.cell for one in plan(loaded, probe_machine(), only="answers").running]
    (cell,) = [one for one in cells if _expected_cell(one) == CELL]
    job = _job(cell, loaded)
    return loaded, cell, job, _versions(job)


def _versions(job: Job) -> dict[str, str]:
    """What a record of this process says, also where probes find nothing out."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "torch": load_engine(job.engine).versions()["torch"],
        "numpy": np.__version__,
    }


def _expected_cell(cell: Cell) -> ExpectedCell:
    return ExpectedCell(
        model=cell.model, engine=cell.engine, strategy=cell.strategy, threads=cell.threads
    )


@contextmanager
def opened() -> Iterator[Session]:
    """The cell's model, loaded as a worker loads it."""
    job = asked()[2]
    source = ModelSource(weights=Path(job.weights), seed=job.weights_seed)
    session = load_engine(job.engine).open(source, job.strategy, threads=job.threads)
    try:
        yield session
    finally:
        session.close()


class Watched:
    """A session that keeps what each token of each answer was drawn from."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.capabilities = session.capabilities
        self.rows: list[list[Logits]] = []  # per answer, per token: [V]

    def prefill(self, ids: Ids, state: Any) -> tuple[Logits, Any]:
        """The beginning of an answer."""
        logits, state = self._session.prefill(ids, state)
        self.rows.append([logits[0].copy()])
        return logits, state

    def step(self, ids: Ids, state: Any) -> tuple[Logits, Any]:
        """One more token of it."""
        logits, state = self._session.step(ids, state)
        self.rows[-1].append(logits[0].copy())
        return logits, state


def answer_all(session: Session) -> tuple[Given, dict[str, list[Logits]]]:
    """The answers to all questions, and by question and position the logits behind them."""
    loaded, cell, job, versions = asked()
    watched = Watched(session)
    said: list[Answer] = []
    tokenizer = load_tokenizer(job.tokenizer)

    def send(message: Answered) -> None:
        said.append(message.answer)

    measure_answers(watched, tokenizer, job, _settings(job), time.perf_counter, send)
    rows = {answer.id: kept for answer, kept in zip(said, watched.rows, strict=True)}
    given = Given(
        answers=said,
        sha256=_hashes(loaded, cell),
        versions=versions,
        kernels=name_kernels([slot.kernels for slot in session.effective_plan()]),
        logits=lambda question, at: rows[question][at] if at < len(rows[question]) else None,
    )
    return given, rows


def _settings(job: Job) -> Answers:
    assert job.answers is not None
    # Else a token would not hang on the two best logits alone.
    assert job.answers.sampling == Sampling(), "the study's answers must be greedy, without penalty"
    return job.answers


def _hashes(loaded: LoadedStudy, cell: Cell) -> Hashes:
    model = identify_model(loaded, cell.model)
    return Hashes(
        weights=str(model.weights_sha256),
        tokenizer=str(model.tokenizer_sha256),
        questions=str(loaded.questions_sha256),
        settings=str(record_key(loaded, cell, model, None, ()).presentation),
    )


def margins(rows: dict[str, list[Logits]]) -> dict[str, list[float]]:
    """By question and position, how far apart the two best logits are."""
    return {name: [_margin(row) for row in kept] for name, kept in rows.items()}


def _margin(row: Logits) -> float:
    second, best = np.sort(np.partition(row, -2)[-2:]).astype(np.float64)
    return float(best - second)


def logits_after(question: str, token_ids: Sequence[int]) -> tuple[Logits, str]:
    """Logits [V] behind the next token of an answer that begins so, and the torch they are of."""
    _, _, job, versions = asked()
    (text,) = [one.text for one in job.questions if one.id == question]
    prompt = load_tokenizer(job.tokenizer).encode(fill_template(job.prompt, text))
    with opened() as session:
        logits, state = session.prefill(np.asarray([prompt], dtype=np.int64), None)
        for token in token_ids:
            logits, state = session.step(np.asarray([token], dtype=np.int64), state)
    return logits[0], versions["torch"]


def expected_from(given: Given, found: dict[str, list[float]]) -> Expected:
    """What the file should say; AssertionError for an answer that cannot be held to."""
    wrong = [a.id for a in given.answers if a.stop != "stop_string" or a.right is False]
    near = [name for name, those in found.items() if min(those) <= LEAST_MARGIN]
    assert not wrong, f"wrong, or longer than allowed: {', '.join(wrong)}"
    assert not near, f"a margin of {LEAST_MARGIN} or less: {', '.join(near)}; word them differently"
    return Expected(
        cell=CELL,
        sha256=given.sha256,
        versions=dict(given.versions),
        kernels=dict(given.kernels),
        answers=[_expected_answer(answer, found[answer.id]) for answer in given.answers],
    )


def _expected_answer(answer: Answer, found: list[float]) -> ExpectedAnswer:
    at = int(np.argmin(found))
    return ExpectedAnswer(
        id=answer.id,
        text=answer.text,
        token_ids=answer.token_ids,
        margin=round(found[at], DECIMALS),
        margin_at=at,
    )


def main() -> None:
    """Write the file, and say what is in it."""
    with opened() as session:
        given, rows = answer_all(session)
    expected = expected_from(given, margins(rows))
    PATH.write_text(render(expected), encoding="utf-8")
    tightest = expected.tightest
    print(f"{PATH.name}: {len(expected.answers)} answers by torch {expected.versions['torch']}")
    print(f"Smallest margin: {tightest.margin:.4f}, question {tightest.id}")


if __name__ == "__main__":
    main()
