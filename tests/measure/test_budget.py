"""A run that must end in time: what it begins, and what it leaves, by a clock of the test's own."""

import pytest
from msgspec import structs

from harness.measure.budget import Budget, budget_of
from harness.measure.schedule import due, n_left
from harness.measure.trial import Trial
from harness.plan.cell import Cell
from harness.plan.duration import CellTime, CoolingDown, Once, RunTime
from harness.plan.order import order
from harness.records.order import Cooling
from harness.records.quality import Gate
from harness.records.record import Outcome
from tests.measure.scheduling import carry_out, make_plan, make_store, record_of


class Clock:
    """Goes on only where a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def go(clock, tmp_path):
    """Spend `seconds` on a plan whose trials take what `takes` says; returns the store and turns.

    The plan foresees `foreseen` for each trial.
    """

    def spent(planned, seconds, *, takes=10.0, foreseen=10.0, folder="run", once=(), **how):
        store = make_store(tmp_path / folder)
        begin = clock.now
        budget = Budget(
            ends_at=begin + seconds,
            foreseen={one.cell.id: foreseen for one in planned.cells},
            once=once,
            clock=clock,
        )

        def measure(trial):
            took = takes(trial) if callable(takes) else takes
            clock.now += took
            return record_of(trial, how.get("kind", "ok"), took_s=took)

        options = {name: value for name, value in how.items() if name != "kind"}
        done = carry_out(planned, store, measure, budget=budget, **options)
        return store, done, clock.now - begin

    return spent


def test_without_a_budget_there_is_always_time(clock, tmp_path):
    store = make_store(tmp_path)
    assert Budget(clock=clock).fits([(make_plan("a").cells[0].cell, 0)] * 1000, store)
    assert not Budget(clock=clock).is_set


@pytest.mark.parametrize("kind", ["randomised", "sequential"])
def test_every_cell_is_visited_once_before_any_is_twice(kind, go):
    planned = make_plan("abcd", trials=3, order=kind)
    store, done, took = go(planned, 70)
    assert sorted(done) == [(name, 0, 0) for name in "abcd"]
    assert took == 40  # the next block would have ended at 80
    assert n_left(planned, store) == 8
    places = {(r.place.order, r.place.block) for r in store.records}
    assert places == {(kind, 0 if kind == "randomised" else None)}


def test_a_block_that_just_fits_is_begun_and_one_that_does_not_is_not(go):
    planned = make_plan("abcd", trials=3)
    assert go(planned, 80, folder="fits")[2] == 80
    assert go(planned, 79.9, folder="does not")[2] == 40


def test_the_first_block_is_ended_where_the_time_is_up(go):
    planned = make_plan("abcd", trials=3)
    _, done, took = go(planned, 35)
    assert took == 30
    assert done == [(cell.model, trial, 0) for cell, trial in order(planned.cells, 0)[:3]]


def test_a_trial_that_would_be_late_is_not_begun(go):
    store, done, _ = go(make_plan("ab"), 9.9)
    assert (done, store.records) == ([], [])


def test_what_a_trial_takes_is_known_from_this_run_once_it_ran(go):
    slow = go(make_plan("ab", trials=9), 130, takes=20, foreseen=1.0)
    assert slow[2] == 120  # three blocks of 40, each known to fit
    quick = go(make_plan("ab", trials=9), 42, takes=2, foreseen=20.0, folder="quick")
    assert quick[2] == 36  # all nine, though two blocks were foreseen to take too long


def test_the_last_trial_of_each_cell_counts(go):
    def takes(trial):
        return 30.0 if (trial.cell.model, trial.trial) == ("a", 1) else 10.0

    _, done, _ = go(make_plan("ab", trials=9), 95, takes=takes)
    assert max(trial for _, trial, _ in done) == 1  # the third block is expected to take 40


def test_a_slower_block_than_foreseen_is_broken_off_in_time(go):
    def takes(trial):
        return 10.0 if trial.trial == 0 else 35.0

    _, done, took = go(make_plan("abc", trials=2), 74, takes=takes)
    assert took == 65
    assert len(done) == 4  # the next one would begin at 65, and end at 75 or later


def test_waiting_for_the_machine_to_cool_down_counts(clock, tmp_path):
    store = make_store(tmp_path)
    planned = make_plan("a", trials=5)

    def measure(trial):
        clock.now += 10
        return record_of(trial, took_s=4.0, cooling=Cooling(waited_s=6.0))

    budget = Budget(ends_at=clock.now + 25, foreseen={}, clock=clock)
    assert len(carry_out(planned, store, measure, budget=budget)) == 2


def test_a_cell_that_never_ran_waits_as_others_did(clock, tmp_path):
    a, b = (one.cell for one in make_plan("ab").cells)
    store = make_store(tmp_path)
    budget = Budget(ends_at=1e9, foreseen={a.id: 4.0, b.id: 4.0}, wait_s=7.0, clock=clock)
    assert budget.needed_s([(a, 0), (b, 0)], store) == 2 * (4 + 7)  # as the plan foresaw
    store.records.append(_record(a, took_s=4.0, cooling=Cooling(waited_s=20.0)))
    store.records.append(_record(a, took_s=4.0, cooling=Cooling(waited_s=0.0)))
    store.records.append(_record(a, took_s=4.0, cooling=Cooling()))  # nothing told the heat
    assert budget.needed_s([(a, 1), (b, 0)], store) == 4 + 4 + 10


def test_no_trial_is_made_again_when_there_is_no_time(go):
    planned = make_plan("ab", trials=1)
    _, done, took = go(planned, 35, kind="noisy", retries=9)
    assert sorted(attempt for _, _, attempt in done) == [0, 0, 1]
    assert took == 30


@pytest.mark.parametrize("kind", ["randomised", "sequential"])
def test_noise_keeps_no_small_budget_busy(kind, go):
    """What is noisy waits for what was never measured, or each command would begin with it."""
    planned = make_plan("abc", trials=2, order=kind)
    done, visited = [], []
    while len(visited) < 6:
        store, some, took = go(planned, 25, kind="noisy", retries=2)
        new = [entry[:2] for entry in some if entry[2] == 0]
        assert new  # each command gets on
        visited += new
        done += some
        assert took == 20
    assert sorted(visited) == [(name, trial) for name in "abc" for trial in (0, 1)]
    assert n_left(planned, store) == 6
    _, some, _ = go(planned, 25)  # a quieter hour
    assert [entry[:2] for entry in some] == visited[:2]
    assert all(entry not in done for entry in some)
    blocks = [(r.trial, r.place.block) for r in store.records]
    assert all(block == (trial if kind == "randomised" else None) for trial, block in blocks)


def test_without_a_budget_noise_of_before_comes_last_in_its_block(tmp_path):
    planned = make_plan("abc", trials=2)
    first, second, third = (cell.model for cell, trial in order(planned.cells, 0) if not trial)

    def noisy(trial):
        return record_of(trial, "noisy" if trial.cell.model == first else "ok")

    carry_out(planned, make_store(tmp_path), noisy, at_most=2)
    done = carry_out(planned, make_store(tmp_path), record_of)
    assert done[:2] == [(third, 0, 0), (first, 0, 1)]  # as if nobody had stopped it
    assert {trial for _, trial, _ in done[2:]} == {1}
    assert second in {name for name, *_ in done[2:]}


def test_what_comes_last_is_late_where_a_trial_took_too_long(clock, tmp_path):
    store = make_store(tmp_path)
    budget = Budget(ends_at=clock.now + 20, behind_s=8.0, clock=clock)
    clock.now += 12
    assert not budget.is_late(store)
    clock.now += 0.1
    assert budget.is_late(store)
    assert not Budget(behind_s=8.0, clock=clock).is_late(store)


def test_on_a_busy_machine_what_comes_last_is_late_where_a_trial_would_be(clock, tmp_path):
    a, b = (one.cell for one in make_plan("ab").cells)
    store = make_store(tmp_path)
    budget = Budget(
        ends_at=clock.now + 20, behind_s=4.0, foreseen={a.id: 2.0, b.id: 0.0}, clock=clock
    )
    store.records.append(_record(a, took_s=5.0))  # 2.5 times as long as foreseen
    clock.now += 10
    assert (budget.fits([(b, 0)], store), budget.is_late(store)) == (True, False)
    clock.now += 0.1
    assert (budget.fits([(b, 0)], store), budget.is_late(store)) == (False, True)


def test_what_was_refused_is_known(clock, tmp_path):
    planned = make_plan("ab", trials=2)
    foreseen = {one.cell.id: 10.0 for one in planned.cells}

    def refused(seconds, name, measure=record_of):
        budget = Budget(ends_at=clock.now + seconds, foreseen=foreseen, clock=clock)
        carry_out(planned, make_store(tmp_path / name), measure, budget=budget)
        return budget.refused

    def takes(trial):
        clock.now += 10
        return record_of(trial, took_s=10.0)

    turns = order(planned.cells, 0)
    assert refused(99, "all", takes) is None
    assert refused(9, "none", takes) == turns[:1]
    assert refused(19, "one", takes) == turns[1:2]
    assert refused(35, "a block", takes) == turns[2:]
    assert refused(-1, "late", takes) == turns[:1]


def test_a_command_does_again_what_is_not_kept(clock, tmp_path):
    planned = make_plan("a")
    cell = planned.cells[0].cell
    store = make_store(tmp_path)
    once = [
        Once(what="references", s=30.0, before=frozenset({cell.id}), is_kept=False),
        Once(what="converting weights", s=100.0, before=frozenset({cell.id})),
    ]
    budget = Budget(ends_at=1e9, foreseen={cell.id: 1.0}, once=once, clock=clock, n_before=1)
    store.records.append(_record(cell))
    assert budget.needed_s([(cell, 1)], store) == 31
    store.records.append(_record(cell))
    assert budget.needed_s([(cell, 1)], store) == 1


def test_what_is_done_once_before_a_trial_must_fit_too(go):
    planned = make_plan("ab", trials=2)
    first = order(planned.cells, 0)[0][0]
    once = [Once(what="converting weights", s=30.0, before=frozenset({first.id}))]
    assert go(planned, 39, once=once, folder="none")[1] == []
    assert go(planned, 40, once=once, folder="one")[1][0] == (first.model, 0, 0)


def test_what_a_skipped_cell_needs_was_not_done(clock, tmp_path):
    planned = make_plan("a")
    cell = planned.cells[0].cell
    store = make_store(tmp_path)
    budget = Budget(
        ends_at=1010.0,
        foreseen={cell.id: 1.0},
        once=[Once(what="references", s=30.0, before=frozenset({cell.id}))],
        clock=clock,
    )
    store.records.append(_record(cell, outcome=Outcome(kind="skipped")))
    assert budget.needed_s([(cell, 0), (cell, 1)], store) == 32
    store.records.append(_record(cell, outcome=Outcome(kind="crashed")))
    assert budget.needed_s([(cell, 0), (cell, 1)], store) == 2


def _record(cell, **fields):
    return structs.replace(record_of(Trial(cell=cell, trial=0, attempt=0)), **fields)


def test_the_rest_goes_on_and_nothing_is_measured_twice(go):
    planned = make_plan("abc", trials=4)
    done, times = [], []
    for _ in range(20):
        store, some, took = go(planned, 25)
        done += some
        times.append(took)
        if not some:
            break
    assert all(took <= 25 for took in times)
    assert [(name, trial) for name, trial, _ in done] == [
        (cell.model, trial) for cell, trial in order(planned.cells, 0)
    ]
    assert n_left(planned, store) == 0
    assert len(due(planned, store)) == 12


def test_a_wrong_strategy_is_recorded_in_no_time(clock, tmp_path):
    planned = make_plan("a", trials=9)
    broken = Gate(tokens=32, why="other tokens")

    def measure(trial):
        clock.now += 0 if trial.wrong_reason else 10
        if trial.wrong_reason:
            return record_of(trial)
        return record_of(trial, "wrong_answers", gate=broken, took_s=10.0)

    budget = Budget(ends_at=clock.now + 15, foreseen={planned.cells[0].cell.id: 10.0}, clock=clock)
    assert len(carry_out(planned, make_store(tmp_path), measure, budget=budget)) == 9


def test_a_busy_machine_needs_longer_for_all_that_is_foreseen(clock, tmp_path):
    planned = make_plan("abcd")
    store = make_store(tmp_path)
    a, b, c, d = (one.cell for one in planned.cells)
    budget = Budget(
        ends_at=clock.now + 100,
        behind_s=10.0,
        foreseen={a.id: 2.0, b.id: 4.0, c.id: 5.0, d.id: 3.0},
        once=[Once(what="converting weights", s=7.0, before=frozenset({d.id}))],
        clock=clock,
    )
    assert budget.needed_s([(a, 0), (c, 0), (d, 0)], store) == 2 + 5 + 3 + 7
    store.records += [_record(a, took_s=5.0), _record(b, took_s=10.0), _record(b, took_s=4.4)]
    # 2.5, 2.5 and 1.1 times as long; b's last trial is what b is known by.
    assert budget.needed_s([(a, 1)], store) == 5
    assert budget.needed_s([(b, 1)], store) == 4.4
    assert budget.needed_s([(c, 0), (d, 0)], store) == 2.5 * (5 + 3 + 7)
    clock.now += 100 - 25 - 12.5
    assert budget.fits([(c, 0)], store)
    clock.now += 0.01
    assert not budget.fits([(c, 0)], store)


@pytest.mark.parametrize("kind", ["crashed", "out_of_memory_host", "not_a_number", "wrong_answers"])
def test_what_broke_off_tells_no_time_of_a_whole_trial(kind, clock, tmp_path):
    a, b = (one.cell for one in make_plan("ab").cells)
    store = make_store(tmp_path)
    budget = Budget(ends_at=1e9, foreseen={a.id: 10.0, b.id: 10.0}, clock=clock)
    ended = Outcome(kind=kind)
    store.records += [_record(a, took_s=1.0, outcome=ended), _record(a, took_s=30.0)]
    store.records += [_record(a, took_s=0.5, outcome=ended)]
    assert budget.needed_s([(a, 2)], store) == 30  # the last one that was whole
    assert budget.needed_s([(b, 0)], store) == 30  # three times as long as foreseen
    store.records += [_record(b, took_s=2.0, outcome=ended)]
    assert budget.needed_s([(b, 1)], store) == 30
    waited = Cooling(waited_s=5.0)
    store.records += [_record(b, took_s=50.0, outcome=ended, cooling=waited)]
    assert budget.needed_s([(b, 2)], store) == 55  # or the next would be late by as much
    store.records += [_record(b, took_s=12.0)]
    assert budget.needed_s([(b, 3)], store) == 12


@pytest.mark.parametrize("kind", ["noisy", "timeout", "unsupported"])
def test_what_will_end_the_same_way_takes_as_long(kind, clock, tmp_path):
    a, b = (one.cell for one in make_plan("ab").cells)
    store = make_store(tmp_path)
    budget = Budget(ends_at=1e9, foreseen={a.id: 10.0, b.id: 10.0}, clock=clock)
    store.records += [_record(a, took_s=20.0, outcome=Outcome(kind=kind))]
    assert budget.needed_s([(a, 1)], store) == 20
    slowness = 1 if kind == "unsupported" else 2
    assert budget.needed_s([(b, 0)], store) == 10 * slowness
    store.records += [_record(a, took_s=2.0, outcome=Outcome(kind=kind))]
    assert budget.needed_s([(a, 1)], store) == 2


@pytest.mark.parametrize(("took_s", "slowness"), [(0.5, 1.0), (3.9, 3.9), (90.0, 4.0)])
def test_slowness_has_its_bounds(took_s, slowness, clock, tmp_path):
    a, b = (one.cell for one in make_plan("ab").cells)
    store = make_store(tmp_path)
    store.records.append(_record(a, took_s=took_s))
    budget = Budget(ends_at=9.0, foreseen={a.id: 1.0, b.id: 1.0}, clock=clock)
    assert budget.needed_s([(b, 0)], store) == pytest.approx(slowness)


def test_the_report_is_inside_the_budget(clock):
    cell = Cell(model="m", engine="fake", strategy="cpu fp32", workload="speed", threads=1)
    time = RunTime(
        cells=(
            CellTime(cell=cell, trials=1, trials_at_least=1, trial_s=5.0),
            CellTime(
                cell=Cell(
                    model="n", engine="fake", strategy="cpu fp32", workload="speed", threads=1
                ),
                trials=1,
                trials_at_least=1,
                trial_s=None,
            ),
        ),
        once=(
            Once(what="starting", s=1.0),
            Once(what="references", s=3.0, before=frozenset({cell.id})),
            Once(what="limits of the machine", s=2.0, at_end=True),
            Once(what="report", s=4.0, at_end=True),
        ),
        cooling=CoolingDown(most_s=99.0, each_s=8.0),
    )
    budget = budget_of(60.0, 990.0, time, clock, 7)
    assert (budget.n_before, budget.wait_s) == (7, 8)
    assert (budget.ends_at, budget.behind_s) == (990 + 60, 6)
    assert budget.foreseen == {cell.id: 5.0}
    assert [one.what for one in budget.once] == ["references"]
    assert budget.clock is clock
