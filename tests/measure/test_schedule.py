"""Which trial comes next: blocks, places, retries, and the end of a run with `until`."""

import math
import random
from dataclasses import replace

import pytest

from harness.config.order_settings import Until
from harness.measure.budget import Budget
from harness.measure.schedule import due, n_left, stop_of
from harness.plan.order import order
from tests.measure.scheduling import carry_out, make_plan, make_store, record_of

UNTIL = Until(relative_ci=0.05, min_trials=3, max_trials=8)


def speeds(noise):
    """Measures speeds that scatter by a share of their own per model; `None`: they crash."""

    def measure(trial):
        share = noise[trial.cell.model]
        if share is None:
            return record_of(trial, "crashed")
        rng = random.Random(f"{trial.cell.model}/{trial.trial}")
        level = 100 * rng.lognormvariate(0, share)
        return record_of(trial, decode=level, prefill=6 * level)

    return measure


def test_every_record_knows_its_place(tmp_path):
    planned = make_plan("abc", trials=2, seed=7)
    store = make_store(tmp_path)
    carry_out(planned, store, record_of)
    places = [record.place for record in store.records]
    assert [one.sequence for one in places] == list(range(6))
    assert [one.block for one in places] == [0, 0, 0, 1, 1, 1]
    assert {(one.order, one.seed) for one in places} == {("randomised", 7)}
    turns = [(record.cell.id, record.trial) for record in store.records]
    assert turns == [(cell.id, trial) for cell, trial in order(planned.cells, 7)]


def test_the_sequential_order_runs_one_cell_after_the_other(tmp_path):
    planned = make_plan("bac", trials=2, order="sequential")
    store = make_store(tmp_path)
    done = carry_out(planned, store, record_of)
    assert done == [(name, trial, 0) for name in "bac" for trial in (0, 1)]
    assert {(r.place.order, r.place.block) for r in store.records} == {("sequential", None)}


def test_a_disturbed_trial_is_tried_again_at_the_end_of_its_block(tmp_path):
    planned = make_plan("abc", trials=2)
    first, second, third = (cell.model for cell, _ in order(planned.cells, 0)[:3])
    tried = []

    def measure(trial):
        tried.append(trial.cell.model)
        noisy = trial.cell.model == first and trial.trial == 0 and trial.attempt < 2
        return record_of(trial, "noisy" if noisy else "ok")

    done = carry_out(planned, make_store(tmp_path), measure, retries=2)
    block = [(first, 0, 0), (second, 0, 0), (third, 0, 0), (first, 0, 1), (first, 0, 2)]
    assert done[:5] == block
    assert [trial for _, trial, _ in done[5:]] == [1, 1, 1]


def test_the_places_of_retries_count(tmp_path):
    store = make_store(tmp_path)
    carry_out(make_plan("a", trials=1), store, lambda t: record_of(t, "noisy"), retries=3)
    assert [(r.attempt, r.place.sequence) for r in store.records] == [(n, n) for n in range(4)]


def test_where_no_retry_helped_a_block_the_later_ones_have_none(tmp_path):
    planned = make_plan("ab", trials=2)

    def measure(trial):
        return record_of(trial, "noisy" if trial.cell.model == "a" else "ok")

    store = make_store(tmp_path)
    done = carry_out(planned, store, measure, retries=2)
    first = [("a", 0, attempt) for attempt in range(3)]
    assert sorted(done) == [*first, ("a", 1, 0), ("b", 0, 0), ("b", 1, 0)]
    assert n_left(planned, store) == 2  # of a: the next run may find a quieter machine


def test_it_stops_between_blocks_once_all_are_known(tmp_path):
    planned = make_plan("abc", UNTIL.max_trials, until=UNTIL)
    store = make_store(tmp_path)
    done = carry_out(planned, store, speeds({"a": 0.03, "b": 0.0005, "c": 0.0005}))
    n_blocks = len(done) // 3
    assert 3 < n_blocks < 8  # `a` needs more than the least
    assert sorted(done) == [(name, trial, 0) for name in "abc" for trial in range(n_blocks)]
    stop = stop_of(planned, store)
    assert (stop.kind, stop.blocks) == ("narrow", n_blocks)
    widths = {name.split("/")[0]: cell.half_width for name, cell in stop.cells.items()}
    assert all(half <= 0.05 for one in widths.values() for half in one.values())
    assert widths["a"]["decode_tok_per_s"] > widths["b"]["decode_tok_per_s"]
    assert n_left(planned, store) == 0
    assert len(due(planned, store)) == len(done)


def test_one_block_fewer_was_not_enough(tmp_path):
    planned = make_plan("abc", UNTIL.max_trials, until=UNTIL)
    noise = {"a": 0.03, "b": 0.0005, "c": 0.0005}
    done = carry_out(planned, make_store(tmp_path / "whole"), speeds(noise))
    store = make_store(tmp_path / "part")
    carry_out(planned, store, speeds(noise), at_most=len(done) - 3)
    assert stop_of(planned, store) is None
    assert n_left(planned, store) == 24 - (len(done) - 3)  # at most


def test_prefill_has_to_be_known_too(tmp_path):
    planned = make_plan("a", UNTIL.max_trials, until=UNTIL)

    def measure(trial):
        rng = random.Random(trial.trial)
        return record_of(trial, decode=100 + trial.trial / 1e3, prefill=rng.uniform(1, 9))

    store = make_store(tmp_path)
    assert len(carry_out(planned, store, measure)) == 8
    stop = stop_of(planned, store)
    assert stop.kind == "max_trials"
    (cell,) = stop.cells.values()
    assert cell.half_width["decode_tok_per_s"] < 0.05 < cell.half_width["prefill_tok_per_s"]


def test_what_does_not_scatter_is_not_known_to_be_steady(tmp_path):
    planned = make_plan("a", UNTIL.max_trials, until=UNTIL)
    store = make_store(tmp_path)
    carry_out(planned, store, lambda trial: record_of(trial, decode=100.0, prefill=600.0))
    stop = stop_of(planned, store)
    assert (stop.kind, stop.blocks) == ("max_trials", 8)


def test_a_cell_that_always_fails_leaves_and_holds_nobody_up(tmp_path):
    planned = make_plan("abc", UNTIL.max_trials, until=UNTIL)
    store = make_store(tmp_path)
    done = carry_out(planned, store, speeds({"a": 0.03, "b": 0.0005, "c": None}))
    assert [one for one in done if one[0] == "c"] == [("c", trial, 0) for trial in range(3)]
    stop = stop_of(planned, store)
    assert stop.kind == "narrow"
    cells = {name.split("/")[0]: (cell.trials, cell.ok) for name, cell in stop.cells.items()}
    assert cells == {"a": (stop.blocks,) * 2, "b": (stop.blocks,) * 2, "c": (3, 0)}
    assert stop.blocks > 3
    assert n_left(planned, store) == 0


def test_a_cell_that_failed_once_stays(tmp_path):
    planned = make_plan("ab", UNTIL.max_trials, until=UNTIL)
    steady = speeds({"a": 0.0005, "b": 0.0005})

    def measure(trial):
        fails = trial.cell.model == "a" and trial.trial < 2
        return record_of(trial, "crashed") if fails else steady(trial)

    store = make_store(tmp_path)
    done = carry_out(planned, store, measure)
    assert len(done) == 2 * 5  # until `a` has three good trials, too
    assert stop_of(planned, store).kind == "narrow"


def test_where_all_fail_it_ends(tmp_path):
    planned = make_plan("ab", UNTIL.max_trials, until=UNTIL)
    store = make_store(tmp_path)
    assert len(carry_out(planned, store, speeds({"a": None, "b": None}))) == 6
    assert (stop_of(planned, store).kind, n_left(planned, store)) == ("no_speeds", 0)


def test_other_workloads_have_their_trials_and_need_no_speeds(tmp_path):
    planned = make_plan("a", UNTIL.max_trials, answers="ab", until=UNTIL)
    store = make_store(tmp_path)
    done = carry_out(planned, store, speeds({"a": 0.0005, "b": 0.0005}))
    assert len(done) == 3 + 2
    only_answers = make_plan("", answers="ab", until=UNTIL)
    other = make_store(tmp_path / "answers")
    assert len(carry_out(only_answers, other, record_of)) == 2
    assert stop_of(only_answers, other) is None
    assert n_left(only_answers, other) == 0


def test_disturbed_trials_do_not_count_for_the_stop(tmp_path):
    planned = make_plan("a", UNTIL.max_trials, until=UNTIL)
    steady = speeds({"a": 0.0005})

    def measure(trial):
        if trial.attempt == 0 and trial.trial == 1:
            return record_of(trial, "noisy", decode=5.0, prefill=9.0)
        return steady(trial)

    store = make_store(tmp_path)
    assert len(carry_out(planned, store, measure, retries=1)) == 3 + 1
    assert stop_of(planned, store).kind == "narrow"
    unlucky = make_store(tmp_path / "without")
    assert len(carry_out(planned, unlucky, measure)) == 4  # trials 0, 2 and 3 count
    # The next run tries the disturbed one again; what comes of that may take all the others.
    assert n_left(planned, unlucky) == 8 - 3
    # In a given time it comes after all others, also where these were enough.
    again = carry_out(planned, unlucky, steady, budget=Budget(ends_at=math.inf))
    assert again == [("a", 1, 1)]
    assert n_left(planned, unlucky) == 0


def test_a_cell_that_was_only_disturbed_does_not_leave(tmp_path):
    planned = make_plan("ab", UNTIL.max_trials, until=UNTIL)
    steady = speeds({"a": 0.0005, "b": 0.0005})

    def measure(trial):
        disturbed = trial.cell.model == "a" and trial.trial < 3
        return record_of(trial, "noisy") if disturbed else steady(trial)

    done = carry_out(planned, make_store(tmp_path), measure)
    assert sorted(done) == [(name, trial, 0) for name in "ab" for trial in range(6)]


def test_another_workload_with_more_trials_has_them_all(tmp_path):
    planned = make_plan("a", UNTIL.max_trials, answers="a", until=UNTIL)
    speed, other = planned.cells
    planned = replace(planned, cells=(speed, replace(other, trials=5)))
    store = make_store(tmp_path)
    done = carry_out(planned, store, speeds({"a": 0.0005}))
    assert len(done) == 5 + 5
    assert stop_of(planned, store).blocks == 5


@pytest.mark.parametrize("killed_after", range(1, 14, 2))
def test_a_run_that_was_killed_ends_where_it_would_have(killed_after, tmp_path):
    planned = make_plan("abc", UNTIL.max_trials, until=UNTIL)
    measure = speeds({"a": 0.03, "b": 0.0005, "c": None})
    whole = make_store(tmp_path / "whole")
    carry_out(planned, whole, measure)
    folder = tmp_path / "killed"
    carry_out(planned, make_store(folder), measure, at_most=killed_after)
    again = make_store(folder)
    carry_out(planned, again, measure)
    assert again.records == whole.records
    assert stop_of(planned, again) == stop_of(planned, whole)


def test_more_trials_are_made_where_the_study_wants_it_narrower(tmp_path):
    noise = {"a": 0.03, "b": 0.0005}
    store = make_store(tmp_path)
    carry_out(make_plan("ab", UNTIL.max_trials, until=UNTIL), store, speeds(noise))
    before = len(store.records)
    narrower = Until(relative_ci=0.02, min_trials=3, max_trials=30)
    planned = make_plan("ab", 30, until=narrower)
    assert n_left(planned, store) == 60 - before
    carry_out(planned, store, speeds(noise))
    assert len(store.records) > before
    assert stop_of(planned, store).kind == "narrow"
