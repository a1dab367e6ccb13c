"""How far a budget comes: what is rehearsed is what a run by the same times does."""

import pytest

from harness.measure.budget import budget_of
from harness.measure.rehearsal import rehearse
from harness.measure.schedule import n_left
from harness.plan.duration import CellTime, CoolingDown, Once, RunTime
from harness.records.quality import Gate
from harness.records.record import Outcome
from tests.measure.scheduling import carry_out, make_plan, make_store, record_of

BEGIN, REPORT, LIMITS, IDLE = 3.0, 7.0, 11.0, 5.0


def time_of(planned, trial_s=10.0, cooling=None):
    ids = [one.cell.id for one in planned.cells]
    return RunTime(
        cells=tuple(
            CellTime(cell=one.cell, trials=one.trials, trials_at_least=1, trial_s=trial_s)
            for one in planned.cells
        ),
        once=(
            Once(what="starting", s=BEGIN),
            Once(what="limits", s=LIMITS, before=frozenset(ids)),
            Once(what="idle", s=IDLE, before=frozenset(ids), is_kept=False),
            Once(what="report", s=REPORT, at_end=True),
        ),
        cooling=cooling,
    )


class Run:
    """Commands of a run whose trials take just as long as was foreseen."""

    def __init__(self, planned, folder, foreseen):
        self.planned, self.folder, self.foreseen = planned, folder, foreseen

    def command(self, seconds):
        store = make_store(self.folder)
        n_before = len(store.records)
        now = [BEGIN]
        budget = budget_of(seconds, 0.0, self.foreseen, lambda: now[0], n_before)

        def measure(trial):
            now[0] += budget.needed_s([(trial.cell, trial.trial)], store)
            return record_of(trial)

        done = carry_out(self.planned, store, measure, budget=budget)
        return done, store, now[0] + REPORT


@pytest.mark.parametrize("order", ["randomised", "sequential"])
@pytest.mark.parametrize("seconds", [40.0, 75.0, 1000.0])
def test_each_command_gets_as_far_as_was_rehearsed(order, seconds, tmp_path):
    planned = make_plan("abcd", trials=3, order=order)
    foreseen = time_of(planned)
    run = Run(planned, tmp_path / "run", foreseen)
    for _ in range(12):
        reach = rehearse(planned, foreseen, seconds, tmp_path / "run")
        done, store, ended = run.command(seconds)
        assert ended <= seconds
        assert reach.n_begun == len(done) > 0
        assert reach.n_visited == len({one.cell.id for one in store.records})
        assert reach.n_left == n_left(planned, store)
        assert reach.enough_s is None
        if not reach.n_left:
            return
    pytest.fail("no end")


def test_what_is_once_needed_lets_each_cell_be_tried(tmp_path):
    planned = make_plan("abcd", trials=3)
    foreseen = time_of(planned, cooling=CoolingDown(most_s=9.0, each_s=2.0))
    reach = rehearse(planned, foreseen, 1.0, tmp_path / "none")
    least = BEGIN + LIMITS + IDLE + 4 * (10 + 2) + REPORT
    assert reach.once_s == least
    assert reach.enough_s == BEGIN + LIMITS + IDLE + 12 + REPORT
    assert (reach.n_begun, reach.n_visited, reach.n_left) == (0, 0, 12)
    assert rehearse(planned, foreseen, least, tmp_path / "none").n_visited == 4
    assert rehearse(planned, foreseen, least - 1, tmp_path / "none").n_visited == 3
    assert rehearse(planned, foreseen, reach.enough_s, tmp_path / "none").n_begun == 1


def test_what_earlier_commands_visited_is_not_asked_for_again(tmp_path):
    planned = make_plan("abcd", trials=3)
    foreseen = time_of(planned)
    run = Run(planned, tmp_path / "run", foreseen)
    run.command(60.0)
    reach = rehearse(planned, foreseen, 1.0, tmp_path / "run")
    assert reach.n_visited == 3
    assert reach.once_s == BEGIN + IDLE + 10 + REPORT  # the limits are kept
    run.command(1000.0)
    assert rehearse(planned, foreseen, 1.0, tmp_path / "run").once_s is None


def test_a_strategy_that_is_wrong_needs_no_time_and_no_visit(tmp_path):
    planned = make_plan("ab", trials=2)
    foreseen = time_of(planned)
    store = make_store(tmp_path / "run")
    b = next(one.cell for one in planned.cells if one.cell.model == "b")
    broken = Gate(tokens=32, why="other tokens")

    def wrong(trial):
        if trial.cell != b:
            return record_of(trial)
        return record_of(trial, "wrong_answers", gate=broken)

    carry_out(planned, store, wrong, at_most=2)
    reach = rehearse(planned, foreseen, 1000.0, tmp_path / "run")
    assert (reach.n_begun, reach.n_left, reach.once_s) == (1, 0, None)


def test_a_slow_machine_is_as_slow_in_a_rehearsal(tmp_path):
    planned = make_plan("abcd", trials=2)
    foreseen = time_of(planned)
    store = make_store(tmp_path / "run")
    carry_out(planned, store, lambda trial: record_of(trial, took_s=30.0), at_most=2)
    reach = rehearse(planned, foreseen, 1.0, tmp_path / "run")
    assert reach.once_s == pytest.approx(BEGIN + 3 * (IDLE + 10 + 10 + REPORT))
    assert reach.left_s == pytest.approx(3 * IDLE + 6 * 30)


def test_nothing_is_written_and_a_long_plan_is_thought_through(tmp_path):
    planned = make_plan("abcd", trials=1000)
    reach = rehearse(planned, time_of(planned), 1e6, tmp_path / "run")
    assert (reach.n_begun, reach.n_left) == (4000, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_skipped_cell_is_not_waited_for(tmp_path):
    planned = make_plan("abc", trials=2)
    store = make_store(tmp_path / "run")
    skipped = Outcome(kind="skipped")

    def skip(trial):
        record = record_of(trial)
        return record if trial.cell.model != "b" else _with(record, skipped)

    carry_out(planned, store, skip, at_most=3)
    reach = rehearse(planned, time_of(planned), 1.0, tmp_path / "run")
    assert reach.n_visited == 2
    assert reach.once_s == BEGIN + IDLE + 10 + REPORT


def _with(record, outcome):
    from msgspec import structs

    return structs.replace(record, outcome=outcome)
