"""What the schedule makes of what is known of a strategy: its gate, its verdict, its answers."""

import pytest
from msgspec import structs

from harness.measure.schedule import left, n_left
from harness.measure.strategy_records import is_done, strategy_of
from harness.measure.trial import Trial
from harness.plan.cell import Cell, PlannedCell
from harness.plan.plan import Plan
from harness.records.quality import NO_ANSWERS, Gate, Quality
from harness.records.record import Answer
from tests.measure.scheduling import carry_out, make_store, record_of

WORKLOADS = {"speed": 3, "answers": 2, "quality": 1}
PASSED = Gate(tokens=32)
BROKEN = Gate(tokens=32, why="0 of 32 tokens as under the reference")
UNSEEN = Gate(tokens=0, missing="the model's shape is not known")


def cell(workload, *, model="m", strategy="cpu fp32", threads=1):
    return Cell(model=model, engine="fake", strategy=strategy, threads=threads, workload=workload)


def plan_of(*strategies, models=("m",), workloads=WORKLOADS, seed=0, **settings):
    """Every workload of every strategy."""
    return Plan(
        study="made",
        seed=seed,
        cells=tuple(
            PlannedCell(cell=cell(name, model=model, strategy=strategy), trials=trials)
            for model in models
            for strategy in strategies
            for name, trials in workloads.items()
        ),
        **settings,
    )


def answer(id_, *token_ids, stop_token=None):
    return Answer(id=id_, text="", token_ids=list(token_ids), stop_token=stop_token)


@pytest.fixture
def go(tmp_path):
    """Carry a plan out; returns the store, and each trial as it was scheduled."""

    def carried(planned, make=record_of, store=None, **how):
        store = make_store(tmp_path / "run") if store is None else store
        trials = []

        def measure(trial):
            trials.append(trial)
            return make(trial)

        carry_out(planned, store, measure, **{"gated": True, **how})
        return store, trials

    return carried


def gated(gate):
    """Trials that are held against the reference say what that showed."""

    def make(trial):
        if trial.wrong_reason is not None or not trial.is_gated:
            return record_of(trial)
        return record_of(trial, "wrong_answers" if gate.why else "ok", gate=gate)

    return make


def test_a_gate_that_could_not_be_looked_at_is_tried_again(go):
    _, trials = go(plan_of("cpu fp32"), gated(UNSEEN))
    assert len(trials) > 1
    assert all(trial.is_gated for trial in trials)


def test_only_the_first_trial_of_a_strategy_is_held_against_the_reference(go):
    planned = plan_of("cpu fp32", "cpu bf16", models=("m", "n"))
    _, trials = go(planned, gated(PASSED))
    first = {}
    for trial in trials:
        first.setdefault(strategy_of(trial.cell), trial)
    assert [trial for trial in trials if trial.is_gated] == list(first.values())
    assert len(first) == 4


def test_nothing_is_gated_where_the_study_wants_no_gate(go):
    _, trials = go(plan_of("cpu fp32"), gated=False)
    assert len(trials) == 6
    assert not any(trial.is_gated for trial in trials)


def test_a_gate_that_was_interrupted_or_never_reached_is_looked_at_again(go, tmp_path):
    planned = plan_of("cpu fp32")
    store = make_store(tmp_path / "run")
    begun = []

    def make(trial):
        begun.append(trial.is_gated)
        if len(begun) == 1:
            return record_of(trial, "crashed")  # before it came to the gate
        if len(begun) == 2:
            return record_of(trial, "interrupted", gate=PASSED)
        return gated(PASSED)(trial)

    go(planned, make, store)
    assert begun[:4] == [True, True, True, False]


def test_a_wrong_strategy_is_recorded_and_never_run_again(go):
    planned = plan_of("cpu fp32", "cpu bf16")

    def make(trial):
        broken = trial.cell.strategy == "cpu bf16"
        return gated(BROKEN if broken else PASSED)(trial)

    store, trials = go(planned, make)
    of_broken = [trial for trial in trials if trial.cell.strategy == "cpu bf16"]
    first, *others = of_broken
    assert first.wrong_reason is None
    assert len(others) == 5
    reason = store.latest[first.cell.id, first.trial].outcome.reason
    assert {trial.wrong_reason for trial in others} == {
        f"not measured: in {first.cell.id} {reason}"
    }
    sound = [trial for trial in trials if trial.cell.strategy == "cpu fp32"]
    assert all(trial.wrong_reason is None for trial in sound)
    kinds = [r.outcome.kind for r in store.records if r.cell.strategy == "cpu bf16"]
    assert kinds == ["wrong_answers"] * 6
    assert go(planned, make, store)[1] == []  # that is final


@pytest.mark.parametrize("other", [{"threads": 2}, {"model": "n"}, {"strategy": "cpu bf16"}])
def test_what_is_loaded_otherwise_is_judged_by_itself(other, go):
    cells = [cell("speed"), cell("speed", **other)]
    planned = Plan(
        study="made", seed=0, cells=tuple(PlannedCell(cell=one, trials=2) for one in cells)
    )

    def make(trial):
        return gated(BROKEN if trial.cell == cells[0] else PASSED)(trial)

    _, trials = go(planned, make)
    of_other = [trial for trial in trials if trial.cell == cells[1]]
    assert [(trial.wrong_reason, trial.is_gated) for trial in of_other] == [
        (None, True),
        (None, False),
    ]


@pytest.mark.parametrize("seed", range(8))
def test_quality_is_last_in_the_first_block_and_has_the_answers_of_the_first_trial(seed, go):
    planned = plan_of("cpu fp32", "cpu fp32i8", seed=seed)

    def make(trial):
        if trial.cell.workload != "answers":
            return gated(PASSED)(trial)
        mine = answer("a", len(trial.cell.strategy), trial.trial)
        return record_of(trial, answers=[mine], gate=PASSED if trial.is_gated else None)

    _, trials = go(planned, make)
    block = [trial for trial in trials if trial.place.block == 0]
    assert [trial.cell.workload for trial in block[-2:]] == ["quality", "quality"]
    assert "quality" not in {trial.cell.workload for trial in block[:-2]}
    for trial in block[-2:]:
        assert trial.answers == (answer("a", len(trial.cell.strategy), 0),)
        assert sorted(one.token_ids[0] for one in trial.beside) == [8, 10]
    assert all(trial.answers == trial.beside == () for trial in block[:-2])


def test_quality_that_is_tried_late_still_has_the_first_answers(go, tmp_path):
    planned = plan_of("cpu fp32")
    store = make_store(tmp_path / "run")

    def make(trial):
        if trial.cell.workload == "answers":
            return record_of(trial, answers=[answer("a", trial.trial)])
        return record_of(trial, "interrupted" if trial.cell.workload == "quality" else "ok")

    go(planned, make, store)
    _, again = go(planned, record_of, store)
    assert [(trial.cell.workload, trial.answers) for trial in again] == [
        ("quality", (answer("a", 0),))
    ]


def test_answers_of_a_trial_that_failed_are_not_scored(go):
    planned = plan_of("cpu fp32", workloads={"answers": 2, "quality": 1}, order="sequential")

    def make(trial):
        if trial.cell.workload != "answers":
            return record_of(trial)
        kind = "crashed" if trial.trial == 0 else "ok"
        return record_of(trial, kind, answers=[answer("a", trial.trial)])

    _, trials = go(planned, make)
    assert trials[-1].answers == trials[-1].beside == (answer("a", 1),)


def test_equal_answers_of_several_strategies_are_one(go):
    strategies = ("cpu fp32", "cpu bf16", "cpu fp32i8")
    planned = plan_of(*strategies, workloads={"answers": 1, "quality": 1})

    def make(trial):
        if trial.cell.workload != "answers":
            return record_of(trial)
        ended_by = 0 if trial.cell.strategy == "cpu fp32i8" else None
        return record_of(trial, answers=[answer("a", 5), answer("b", 6, stop_token=ended_by)])

    _, trials = go(planned, make)
    beside = {(one.id, one.stop_token) for one in trials[-1].beside}
    assert beside == {("a", None), ("b", None), ("b", 0)}
    assert len(trials[-1].beside) == 3


def test_quality_that_came_before_the_answers_is_scored_again():
    class Store:
        def __init__(self, *records):
            self.records = list(records)
            self.latest = {(one.cell.id, one.trial): one for one in records}

        def is_finished(self, cell_id, trial):
            return (cell_id, trial) in self.latest

    scored = cell("quality")
    early = structs.replace(
        record_of(Trial(cell=scored, trial=0, attempt=0)),
        quality=Quality(missing={"answers": NO_ANSWERS}),
    )
    answered = structs.replace(
        record_of(Trial(cell=cell("answers"), trial=0, attempt=0)),
        answers=[answer("q", 1)],
    )
    assert is_done(Store(early), scored, 0)  # as long as there are none
    assert not is_done(Store(early, answered), scored, 0)
    whole = structs.replace(early, quality=Quality())
    assert is_done(Store(whole, answered), scored, 0)
    assert not is_done(Store(answered), scored, 0)


def scored_with_what_is_there(trial, **fields):
    """A trial of quality tells whether there were answers; one of answers gives one."""
    if trial.cell.workload == "quality":
        missing = {} if trial.answers else {"answers": NO_ANSWERS}
        return record_of(trial, quality=Quality(missing=missing), **fields)
    given = [answer("q", 1)] if trial.cell.workload == "answers" else []
    return record_of(trial, answers=given, **fields)


def qualities(trials):
    return [bool(one.answers) for one in trials if one.cell.workload == "quality"]


def test_quality_alone_then_the_whole_study_scores_the_answers_in_the_second_command(go):
    alone, whole = plan_of("cpu fp32", workloads={"quality": 1}), plan_of("cpu fp32")
    store, trials = go(alone, scored_with_what_is_there)
    assert qualities(trials) == [False]
    assert n_left(alone, store) == 0
    assert n_left(whole, store) == 6
    _, trials = go(whole, scored_with_what_is_there, store)
    assert len(trials) == 6
    assert qualities(trials) == [True]
    assert n_left(whole, store) == 0
    assert go(whole, store=store)[1] == []


@pytest.mark.parametrize("order", ["randomised", "sequential"])
def test_answers_that_come_behind_quality_are_scored_in_the_same_command(go, order):
    """The first trial of answers fails, or the cells of quality are listed before them."""
    workloads = {"quality": 1, "answers": 2}

    def make(trial):
        if order == "randomised" and trial.cell.workload == "answers" and trial.trial == 0:
            return record_of(trial, "oom")
        return scored_with_what_is_there(trial)

    planned = plan_of("cpu fp32", workloads=workloads, order=order)
    store, trials = go(planned, make)
    assert qualities(trials) == [False, True]
    assert n_left(planned, store) == 0


def test_quality_is_scored_once_where_all_trials_of_answers_fail(go):
    def make(trial):
        if trial.cell.workload == "answers":
            return record_of(trial, "oom")
        return scored_with_what_is_there(trial)

    planned = plan_of("cpu fp32")
    store, trials = go(planned, make)
    assert qualities(trials) == [False]
    assert n_left(planned, store) == 0


def test_a_second_scoring_that_was_interrupted_is_left_to_the_next_command(go):
    planned = plan_of("cpu fp32", workloads={"answers": 1, "quality": 1})
    alone = plan_of("cpu fp32", workloads={"quality": 1})
    store, _ = go(alone, scored_with_what_is_there)
    _, trials = go(planned, scored_with_what_is_there, store, at_most=1)
    assert [one.cell.workload for one in trials] == ["answers"]
    assert [cell.workload for cell, _ in left(planned, store)] == ["quality"]
