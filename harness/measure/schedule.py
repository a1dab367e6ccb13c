"""Which trial comes next: the plan's order, less what the store already has.

Everything is decided from the plan and the store, so that a run that goes on does what it would
have done without the interruption.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace

from harness.measure.budget import Budget
from harness.measure.stopping import Latest, has_left, stop_after
from harness.measure.strategy_records import (
    answers_of_model,
    are_put_alike,
    first_answers,
    has_passed,
    is_done,
    lacks_answers,
    strategy_of,
    wrong_reason,
)
from harness.measure.trial import Trial
from harness.plan.cell import Cell
from harness.plan.order import QUALITY, Turn, blocks
from harness.plan.plan import Plan
from harness.records.order import Place
from harness.records.stop import Stop
from harness.records.store import RecordStore

NO_BUDGET = Budget()


def schedule(
    planned: Plan,
    store: RecordStore,
    *,
    retries: int = 0,
    gated: bool = False,
    budget: Budget = NO_BUDGET,
) -> Iterator[Trial]:
    """Trials to run, each decided when its turn comes; a skipped cell is recorded once, first.

    With `gated`, the first trial of a strategy is held against the reference before all else, and
    where it is found to be wrong, none of that strategy is measured any more.

    With a `budget` no trial is begun that will not end in time, and no block, but for the first
    with anything left: each command gets on, however little it is given. Every cell is then visited
    once before any is twice, in the sequential order too; what an earlier command left `noisy`
    comes after all that was never measured, or it would keep many small budgets busy.

    A trial with a final outcome is done; one that was interrupted, noisy, or skipped for a reason
    that is gone, is tried again as another attempt. One that ends `noisy` now is tried up to
    `retries` times more, at the end of its block: what disturbed it may be over by then. After a
    block in which that helped no trial, none is made again. With `until:` in the study, it is
    decided after each whole block whether another comes.
    """
    for one in planned.cells:
        if one.skip_reason is not None and store.latest_outcome(one.cell.id, 0) is None:
            yield Trial(cell=one.cell, trial=0, attempt=0, skip_reason=one.skip_reason)
    settings = _Settings(retries=retries, gated=gated, budget=budget)
    is_first = True
    noisy: list[Turn] = []  # since an earlier command
    for number, turns in enumerate(_blocks(planned, is_limited=budget.is_set)):
        if stop_after(planned, store.latest, number) is not None:
            break
        visited = _visited(planned, turns, store.latest, number)
        if budget.is_set:
            noisy += [turn for turn in visited if _is_noisy(store, turn)]
            visited = [turn for turn in visited if not _is_noisy(store, turn)]
        unmeasured = to_measure(planned, store, visited)
        if unmeasured and not is_first and not budget.fits(unmeasured, store):
            return
        is_first = is_first and not unmeasured
        helped = yield from _block(planned, store, visited, settings)
        if helped is None:
            return
        if not helped:  # this machine is not quiet today: all later blocks would take as long
            settings = replace(settings, retries=0)
    if (yield from _block(planned, store, noisy, settings)) is None:
        return
    # Where quality goes first, or the first trial of answers failed, answers have come since.
    turns = in_order(planned, is_limited=False)
    early = [turn for turn in turns if lacks_answers(store, *turn) and not is_done(store, *turn)]
    yield from _block(planned, store, early, settings)


def in_order(planned: Plan, *, is_limited: bool) -> tuple[Turn, ...]:
    """Every turn of the plan as it comes, also under a budget."""
    return tuple(turn for block in _blocks(planned, is_limited=is_limited) for turn in block)


def _blocks(planned: Plan, *, is_limited: bool) -> tuple[tuple[Turn, ...], ...]:
    """The plan's blocks; where time may run out, one cell after the other would leave some out."""
    turns = blocks(planned.cells, planned.seed, planned.order)
    if planned.order != "sequential" or not is_limited:
        return turns
    flat = [turn for block in turns for turn in block]
    n_blocks = 1 + max((trial for _, trial in flat), default=-1)
    return tuple(tuple(turn for turn in flat if turn[1] == n) for n in range(n_blocks))


def to_measure(planned: Plan, store: RecordStore, turns: list[Turn]) -> list[Turn]:
    """Those that are not finished, and that will really be run: none of a wrong strategy."""
    return [
        turn
        for turn in turns
        if not _is_done(planned, store, turn) and wrong_reason(store, turn[0]) is None
    ]


def left(planned: Plan, store: RecordStore) -> list[Turn]:
    """The trials that would run now, those again that were disturbed.

    With `until:` at most these, and none where it would make no more.
    """
    latest = store.latest
    found: list[Turn] = []
    for number, turns in enumerate(blocks(planned.cells, planned.seed, planned.order)):
        if not found and stop_after(planned, latest, number) is not None:
            break
        visited = _visited(planned, turns, latest, number)
        found += [turn for turn in visited if not _is_done(planned, store, turn)]
    return found


def n_left(planned: Plan, store: RecordStore) -> int:
    """How many they are."""
    return len(left(planned, store))


def made_again(store: RecordStore, turns: Iterable[Turn]) -> list[Turn]:
    """Those of which an attempt was made: it was disturbed, or broke off."""
    return [
        turn for turn in turns if store.latest_outcome(turn[0].id, turn[1]) not in (None, "skipped")
    ]


def due(planned: Plan, store: RecordStore) -> list[Turn]:
    """Every turn that the run needs to be complete: with `until:` those up to where it stops."""
    latest = store.latest
    turns: list[Turn] = []
    for number, block in enumerate(blocks(planned.cells, planned.seed, planned.order)):
        if stop_after(planned, latest, number) is not None:
            break
        turns += _visited(planned, block, latest, number)
    return turns


def stop_of(planned: Plan, store: RecordStore) -> Stop | None:
    """Why a run with `until:` has ended; None where it has not, or has no such rule."""
    latest = store.latest
    n_blocks = len(blocks(planned.cells, planned.seed, planned.order))
    stops = (stop_after(planned, latest, number) for number in range(n_blocks + 1))
    return next((stop for stop in stops if stop is not None), None)


def _visited(planned: Plan, turns: tuple[Turn, ...], latest: Latest, block: int) -> list[Turn]:
    return [turn for turn in turns if not has_left(planned, turn[0], latest, block)]


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """How a block is run."""

    retries: int
    gated: bool
    budget: Budget


def _block(
    planned: Plan, store: RecordStore, turns: list[Turn], settings: _Settings
) -> Generator[Trial, None, bool | None]:
    """Each turn that is not finished once, then again those that were disturbed.

    Those that were disturbed before an interruption come last, as without it.

    Returns False where trials were made again and stayed noisy, all of them, and None where there
    was no time for the next one.
    """
    undone = [turn for turn in turns if not _is_done(planned, store, turn)]
    again = sorted(undone, key=lambda turn: _is_noisy(store, turn))
    noisy: list[Turn] | None = None  # after each turn was taken once
    for _ in range(1 + settings.retries):
        for turn in again:
            if not settings.budget.fits(to_measure(planned, store, [turn]), store):
                return None
            yield _trial(planned, store, turn, settings)
        again = [turn for turn in again if _is_noisy(store, turn)]
        noisy = again if noisy is None else noisy
    return not (settings.retries and noisy and again == noisy)


def _trial(planned: Plan, store: RecordStore, turn: Turn, settings: _Settings) -> Trial:
    """One attempt at a turn, with what the records so far say of its strategy."""
    cell, trial = turn
    scores = cell.workload == QUALITY
    return Trial(
        cell=cell,
        trial=trial,
        attempt=store.next_attempt(cell.id, trial),
        wrong_reason=wrong_reason(store, cell),
        is_gated=settings.gated and not has_passed(store, cell),
        answers=first_answers(store, cell) if scores else (),
        beside=answers_of_model(store, cell) if scores else (),
        place=Place(
            order=planned.order,
            seed=planned.seed,
            block=None if planned.order == "sequential" else trial,  # as `order.py` has it
            sequence=_n_begun(store),
        ),
    )


def _is_done(planned: Plan, store: RecordStore, turn: Turn) -> bool:
    """Whether no more will be made of a turn; quality is scored again once answers are there."""
    if not is_done(store, *turn):
        return False
    return not (lacks_answers(store, *turn) and _answers_are_to_come(planned, store, turn[0]))


def _answers_are_to_come(planned: Plan, store: RecordStore, cell: Cell) -> bool:
    """Whether the plan has a trial, not finished yet, whose answers the quality cell scores."""
    return any(
        not store.is_finished(one.cell.id, trial)
        for one in planned.running
        if one.cell.workload == "answers"
        and strategy_of(one.cell) == strategy_of(cell)
        and are_put_alike(one.cell, cell)
        for trial in range(one.trials)
    )


def _is_noisy(store: RecordStore, turn: Turn) -> bool:
    return store.latest_outcome(turn[0].id, turn[1]) == "noisy"


def _n_begun(store: RecordStore) -> int:
    """Trials of the run that were begun: all but those that were skipped."""
    return sum(record.outcome.kind != "skipped" for record in store.records)
