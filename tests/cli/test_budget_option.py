"""`run --budget` through the whole command: what it begins, leaves, shows and exits with."""

import re
import shlex
import sys
from collections import Counter
from dataclasses import replace

import pytest
import yaml
from msgspec import structs

from harness.cli.budget import rest_sentence
from harness.cli.main import main
from harness.config.load import load_study
from harness.config.order_settings import Until
from harness.machine import probe_machine
from harness.machine.speed_probe import MachineSpeed
from harness.measure.budget import Budget
from harness.measure.trial import Trial
from harness.plan.order import order
from harness.plan.plan import plan
from harness.records.quality import Gate
from harness.records.record import Outcome
from harness.records.store import read_run
from tests.cli.in_process import TRIAL_S, run_in_process
from tests.measure.scheduling import make_plan, make_store, record_of

STRATEGIES = ["cpu fp32", "cpu bf16", "cpu fp32i8", "cpu fp32i8 *1 -> cpu fp32"]
SCRIPT = {"vocab": 5, "tokens": [[1, 2]]}


@pytest.fixture
def clock(monkeypatch, without_report):
    # What a plan foresees hangs on the machine; here it must not.
    speed = "harness.machine.speed_probe.probe_speed"
    monkeypatch.setattr(speed, lambda: MachineSpeed(python_s=1.41e-3, copy_bytes_per_s=34e9))
    monkeypatch.setattr("harness.plan.foresee_time._FAKE_S", TRIAL_S)
    return run_in_process(monkeypatch)


@pytest.fixture
def study(fake_study):
    """4 strategies × 20 questions × 7 speed trials."""
    path = fake_study(
        SCRIPT,
        strategies=STRATEGIES,
        workloads={
            "speed": {
                "prompt_tokens": 4,
                "generate_tokens": 1,
                "passes": 1,
                "warmup_passes": 0,
                "trials": 7,
            },
            "answers": {"questions": "questions.yaml", "max_tokens": 3},
        },
    )
    questions = [{"id": f"q{n}", "text": "yes"} for n in range(20)]
    (path.parent / "questions.yaml").write_text(yaml.safe_dump({"questions": questions}), "utf-8")
    return path


@pytest.fixture
def go(study, clock, capfd):
    """Run the command; returns its exit code, what it printed, and what the clock says it took."""

    def run(*options):
        begin = clock.now
        results = str(study.parent / "results")
        with pytest.raises(SystemExit) as stop:
            main(["run", str(study), "--results", results, "--machine", "here", *options])
        shown = capfd.readouterr()
        run.err = shown.err
        return stop.value.code, " ".join(shown.out.split()), clock.now - begin

    return run


def records(study):
    (folder,) = (study.parent / "results" / "here").glob("faked-*")
    return read_run(folder).records


def test_a_run_ends_in_time_and_the_rest_goes_on_without_measuring_twice(go, study):
    # Eight cells of 5 s each: a block of answers and speeds, and one of both again would be late.
    code, shown, took = go("--budget", "60s")
    first = records(study)
    assert code == 0
    assert took <= 60
    assert {(record.cell.id, record.trial) for record in first} == {
        (cell.id, 0) for cell, _ in _turns(study)
    }
    assert "36 of 36 trials to do, as many as fit into 60 s" in shown
    assert (
        "The next block of 8 trials does not fit into the time (it takes about 40 s): 28 of 36 "
        "trials are left, about 2 min 20 s." in shown
    )
    for _ in range(4):
        code, shown, took = go("--budget", "60s")
        assert (code, took <= 60) == (0, True)
    assert "left" not in shown
    every = [(record.cell.id, record.trial, record.attempt) for record in records(study)]
    assert every == [(cell.id, trial, 0) for cell, trial in _turns(study)]


def _turns(study):
    """What the whole run does, in its order."""
    loaded = load_study(study)
    return order(plan(loaded, probe_machine()).cells, loaded.study.seed)


def test_each_command_gets_on_with_a_block_that_does_not_fit(go, study):
    for _ in range(4):
        code, _, took = go("--budget", "22s")
        assert (code, took <= 22) == (0, True)
    done = [(record.cell.id, record.trial) for record in records(study)]
    assert done == [(cell.id, trial) for cell, trial in _turns(study)[: len(done)]]
    assert len(done) > 8  # beyond the first block


def test_where_nothing_fits_nothing_is_measured_and_that_is_said(go, study):
    none = "No trial fits into the time (the next one takes about 5.0 s)"
    code, shown, took = go("--budget", "1s")
    assert (code, took) == (4, 0)
    assert f"{none}: 36 of 36 trials are left, about 3 min." in shown
    assert records(study) == ()
    # Nor is it success, or anybody's failure, that an earlier command measured something.
    assert go("--budget", "22s")[0] == 0
    n_done = len(records(study))
    code, shown, took = go("--budget", "1s")
    assert (code, took) == (4, 0)
    assert f"{none}: {36 - n_done} of 36 trials are left" in shown
    assert len(records(study)) == n_done


@pytest.mark.parametrize("written", [["--budget", "1s"], ["--budget=1s"]])
def test_where_nothing_fits_the_last_line_gives_time_enough(written, go, study, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["harness", "run", str(study), *written, "--fresh"])
    code, shown, _ = go(*written)
    going_on = shlex.split(shown.rsplit("To go on: ", 1)[1])
    assert code == 4
    # 5 s for a trial, 4 s for the report, and a fifth more, in steps of 10 s.
    assert going_on[-4:] == ["run", str(study), "--budget", "20s"]
    assert go("--budget", "20s")[0] == 0


def test_a_skipped_cell_is_no_trial_for_which_there_was_time(go, study):
    asked = yaml.safe_load(study.read_text("utf-8"))
    asked["models"]["gone"] = {**asked["models"]["scripted"], "weights": "gone.yaml"}
    study.write_text(yaml.safe_dump(asked), "utf-8")
    code, shown, _ = go("--budget", "1s")
    assert {record.outcome.kind for record in records(study)} == {"skipped"}
    assert code == 4
    assert "No trial fits into the time (the next one takes about 5.0 s): 36 of 36" in shown


def test_a_trial_that_ends_as_skipped_was_not_begun(go, study, clock, monkeypatch):
    """As one of quality does whose reference cannot be had."""

    def skipped(trial, *_, **__):
        clock.now += TRIAL_S
        return structs.replace(record_of(trial), outcome=Outcome(kind="skipped"))

    monkeypatch.setattr("harness.measure.trial.measure", skipped)
    code, shown, took = go("--budget", "22s")
    assert took == 15
    assert {record.outcome.kind for record in records(study)} == {"skipped"}
    assert code == 4
    assert "No trial fits into the time (the next one takes about 5.0 s): 36 of 36" in shown


def test_a_single_trial_that_does_not_fit_is_named_as_one(go):
    _, shown, took = go("--budget", "22s")
    assert took == 15  # the report would be late
    assert (
        "The next trial does not fit into the time (it takes about 5.0 s): 33 of 36 trials are "
        "left, about 2 min 40 s." in shown
    )


def test_what_is_left_is_what_the_next_command_has_to_do(go, study, monkeypatch):
    """Also of trials that noise spoilt: they are counted, and said to be made again."""
    import harness.measure.trial as trial_module

    judged = trial_module.judged_quiet

    def noisy(outcome, validity, workload):
        found = judged(outcome, validity, workload)
        return structs.replace(found, kind="noisy") if workload == "speed" else found

    monkeypatch.setattr(trial_module, "judged_quiet", noisy)
    _, shown, _ = go("--budget", "42s")
    [(left, again)] = re.findall(r": ([0-9]+) of 36 trials are left, ([0-9]+) of them to be", shown)
    kinds = Counter(record.outcome.kind for record in records(study))
    assert int(again) == kinds["noisy"] > 0
    assert int(left) == 36 - kinds["ok"]
    assert f"{left} of 36 trials to do" in go("--budget", "1s")[1]


def test_the_last_line_is_the_command_that_goes_on(go, monkeypatch):
    reports = []
    monkeypatch.setattr(
        "harness.cli.run._report", lambda *_, is_last, **__: reports.append(is_last)
    )
    monkeypatch.setattr(
        "sys.argv", ["harness", "run", "my study.yaml", "--budget", "60s", "--fresh"]
    )
    _, shown, _ = go("--budget", "60s")
    going_on = shown.rsplit("To go on: ", 1)[1]
    assert shlex.split(going_on)[-4:] == ["run", "my study.yaml", "--budget", "60s"]
    go()
    assert reports == [False, True]  # then the report's own next command is


def test_what_is_only_recorded_was_not_begun(go, study):
    """The other trials of a wrong strategy are recorded in no time, also where there is none."""
    script = {
        **{name: value for name, value in SCRIPT.items() if name != "tokens"},
        "model": {"likely": 4.0},
        "strategies": {STRATEGIES[0]: {"off": {"turned": 1.0}}},
    }
    (study.parent / "script.yaml").write_text(yaml.safe_dump(script), "utf-8")
    n_recorded = 0
    for _ in range(9):
        if n_recorded:
            break
        go("--budget", "30s")
        n_before = len(records(study))
        code, shown, _ = go("--budget", "8s")  # enough for the report, for no trial beside it
        n_recorded = len(records(study)) - n_before
        assert code == 4
        assert "No trial fits into the time" in shown
    new = records(study)[-n_recorded:]
    assert {(one.outcome.kind, one.took_s) for one in new} == {("wrong_answers", None)}


def test_the_time_left_that_is_shown_is_the_budgets(go):
    go("--budget", "60s")
    assert "[block 1, 2 of at most 36] scripted fake" in go.err
    assert "…, at most 55 s left" in go.err
    go()
    assert "of at most" not in go.err
    assert "…, 2 min 20 s left" in go.err


def test_the_machines_drift_is_left_out_where_a_trial_took_the_time_for_it(go, clock, monkeypatch):
    measured = []
    monkeypatch.setattr(
        "harness.measure.roofline.Limits.at_end", lambda *_, **__: measured.append(clock.now)
    )
    begin = clock.now
    go("--budget", "22s")
    assert measured == [begin + 15]
    assert "Left out" not in go.err
    monkeypatch.setattr("harness.cli.display.RunDisplay.end", lambda *_: _hold_up(clock))
    go("--budget", "22s")
    assert len(measured) == 1
    assert "Left out, for want of time: how much the machine drifted." in go.err


def _hold_up(clock):
    clock.now += 30


def test_a_budget_knows_what_other_commands_measured(go, study, monkeypatch):
    import harness.measure.budget as budgets

    known = []
    budget_of = budgets.budget_of
    monkeypatch.setattr(
        budgets, "budget_of", lambda *given: known.append(given[-1]) or budget_of(*given)
    )
    go("--budget", "30s")
    n_done = len(records(study))
    go("--budget", "1s")
    assert known == [0, n_done]
    assert n_done > 0


def test_a_failure_stays_the_runs_whichever_command_met_it(go, study):
    fails = {"fail": {"at": "prefill", "how": "error"}}
    script = {**SCRIPT, "strategies": {STRATEGIES[0]: fails}}
    (study.parent / "script.yaml").write_text(yaml.safe_dump(script), "utf-8")
    for _ in range(4):
        assert go("--budget", "60s")[0] == 3
    assert go("--budget", "1s")[0] == 4  # which began nothing
    assert go()[0] == 3
    assert go("--resume", "--budget", "1s")[0] == 0  # nothing was left


@pytest.mark.parametrize("n_failing", [1, 4])
def test_what_ran_and_failed_is_a_failure_whatever_is_left(n_failing, go, study):
    fails = {"fail": {"at": "prefill", "how": "error"}}
    script = {**SCRIPT, "strategies": dict.fromkeys(STRATEGIES[:n_failing], fails)}
    (study.parent / "script.yaml").write_text(yaml.safe_dump(script), "utf-8")
    assert go("--budget", "60s")[0] == (3 if n_failing == 1 else 4)


def test_a_bad_time_is_bad_input(go):
    assert go("--budget", "20")[0] == 2


def test_the_rest_in_words(tmp_path):
    """Each trial is counted once; what a wrong strategy leaves is recorded, and takes no time."""
    planned = make_plan("abc", trials=2)
    a, b, c = (one.cell for one in planned.cells)
    store = make_store(tmp_path)
    broken = Gate(tokens=32, why="other tokens")
    with store.appending():
        store.append(_record(a, outcome=Outcome(kind="skipped")))  # its file came since
        store.append(_record(b, outcome=Outcome(kind="noisy"), took_s=30.0))
        store.append(_record(c, outcome=Outcome(kind="wrong_answers"), gate=broken))
    budget = Budget(ends_at=0.0, foreseen={a.id: 30.0, b.id: 30.0, c.id: 500.0}, clock=lambda: 9.0)
    rest = "5 of 6 trials are left, 1 of them to be made again, about 2 min"

    assert not budget.fits([(a, 1)], store)
    said = rest_sentence(planned, store, budget, n_begun=1)
    assert said == f"The next trial does not fit into the time (it takes about 30 s): {rest}."
    assert not budget.fits([], store)  # to record what is wrong
    assert rest_sentence(planned, store, budget, n_begun=0) == f"The time is up: {rest}."
    with store.appending():
        for turn in ((a, 0), (a, 1), (b, 0), (c, 1)):
            store.append(_record(*turn, attempt=1))
    assert not budget.fits([(b, 1)], store)
    assert rest_sentence(planned, store, budget, n_begun=0) == (
        "No trial fits into the time (the next one takes about 30 s): 1 of 6 trials is left, about "
        "30 s."
    )
    until = Until(min_trials=2, max_trials=2)
    said = rest_sentence(replace(planned, until=until), store, budget, n_begun=2)
    assert "): at most 1 of 6 trials is left, about 30 s." in said


def _record(cell, trial=0, attempt=0, **fields):
    return structs.replace(record_of(Trial(cell=cell, trial=trial, attempt=attempt)), **fields)
