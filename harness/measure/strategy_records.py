"""What the records of a run say of one strategy, over all of its workloads. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from harness.plan.cell import Cell
from harness.records.quality import NO_ANSWERS
from harness.records.record import Answer, CellRef, Record
from harness.records.store import RecordStore

Strategy: TypeAlias = tuple[str, str, str, int]  # model, engine, strategy, threads


def strategy_of(cell: Cell | CellRef) -> Strategy:
    """What is loaded for a cell, whatever is then done with it."""
    return (cell.model, cell.engine, cell.strategy, cell.threads)


def has_passed(store: RecordStore, cell: Cell) -> bool:
    """Whether a trial of the strategy was held against the reference.

    One that could not be says nothing: what was in the way may be gone the next time.
    """
    return any(
        one.gate is not None
        and one.gate.why is None
        and one.gate.missing is None
        and one.outcome.kind != "interrupted"
        for one in _of(store, cell)
    )


def is_done(store: RecordStore, cell: Cell, trial: int) -> bool:
    """Whether a trial is finished; one of quality that came before the answers is not."""
    if not store.is_finished(cell.id, trial):
        return False
    return not (lacks_answers(store, cell, trial) and first_answers(store, cell))


def lacks_answers(store: RecordStore, cell: Cell, trial: int) -> bool:
    """Whether quality was scored when there were no answers of the strategy."""
    latest = store.latest.get((cell.id, trial))
    return (
        latest is not None
        and latest.outcome.kind == "ok"
        and latest.quality is not None
        and latest.quality.missing.get("answers") == NO_ANSWERS
    )


def wrong_reason(store: RecordStore, cell: Cell) -> str | None:
    """Why no more of the strategy is measured; None where nothing is known against it."""
    for one in _of(store, cell):
        if one.outcome.kind == "wrong_answers" and one.gate is not None:
            return f"not measured: in {one.cell.id} {one.outcome.reason}"
    return None


def first_answers(store: RecordStore, cell: Cell) -> tuple[Answer, ...]:
    """The answers of the strategy that are shown: of its first trial that ended well."""
    given = (
        one
        for one in _of(store, cell)
        if one.outcome.kind == "ok" and one.answers and are_put_alike(one.cell, cell)
    )
    first = min(given, key=lambda one: one.trial, default=None)
    return () if first is None else tuple(first.answers)


def answers_of_model(store: RecordStore, cell: Cell) -> tuple[Answer, ...]:
    """Those of all strategies of the model, each once."""
    found: dict[tuple[str, tuple[int, ...], int | None], Answer] = {}
    for one in store.records:
        if (
            one.cell.model == cell.model
            and one.outcome.kind == "ok"
            and are_put_alike(one.cell, cell)
        ):
            for answer in one.answers:
                found[answer.id, tuple(answer.token_ids), answer.stop_token] = answer
    return tuple(found.values())


def are_put_alike(one: Cell | CellRef, other: Cell) -> bool:
    """Whether both put their questions, and draw their tokens, in the same way."""
    return (one.sampling, one.prompt) == (other.sampling, other.prompt)


def _of(store: RecordStore, cell: Cell) -> Iterator[Record]:
    wanted = strategy_of(cell)
    return (one for one in store.records if strategy_of(one.cell) == wanted)
