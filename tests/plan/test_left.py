"""What of a plan is left: how often each cell comes, at most and at least."""

from harness.config.order_settings import Until
from harness.plan.cell import Cell, PlannedCell
from harness.plan.left import Left
from harness.plan.plan import Plan

A, B = (Cell(model=name, engine="fake", strategy="s", workload="speed", threads=1) for name in "ab")
ANSWERS = Cell(model="a", engine="fake", strategy="s", workload="answers", threads=1)


def plan_of(until=None):
    cells = tuple(PlannedCell(cell=cell, trials=9) for cell in (A, B, ANSWERS))
    return Plan(study="made", seed=0, cells=cells, until=until)


def test_every_turn_is_counted_with_its_cell():
    left = Left(turns=((A, 1), (ANSWERS, 0), (A, 2)))
    assert (left.by_cell[A], left.by_cell[B], left.by_cell[ANSWERS]) == (2, 0, 1)
    assert left.ids == {A.id, ANSWERS.id}
    assert left.at_least(plan_of()) == left.by_cell


def test_until_may_stop_after_the_block_that_was_begun():
    planned = plan_of(Until(min_trials=3, max_trials=9))
    new = Left(turns=tuple((cell, trial) for cell in (A, B) for trial in range(9)))
    assert new.at_least(planned) == {A: 3, B: 3}
    within = Left(turns=((B, 5), *((cell, trial) for cell in (A, B) for trial in range(6, 9))))
    assert within.at_least(planned) == {B: 1}
    assert Left(turns=((ANSWERS, 7), (ANSWERS, 8))).at_least(planned) == {ANSWERS: 2}
