"""Runs that go on: with other parts of the study, other files, and cells that are skipped."""

import json
from dataclasses import replace

import pytest
import yaml

from harness import machine
from harness.cli.main import main
from harness.measure import trial
from harness.records.store import RecordStore, read_run
from tests.cli.conftest import BOTH

ANSWERS = {"vocab": 5, "tokens": [[3], [1, 2]]}
TWO = {
    "here": {"weights": "script.yaml", "tokenizer": "tokenizer.json"},
    "there": {"weights": "there.yaml", "tokenizer": "tokenizer.json"},
}


@pytest.fixture
def run(fake_study, tmp_path, without_report):
    """Write the study of two models and run it; returns the exit code and the run folders."""

    def go(*options, **changes):
        study = fake_study(ANSWERS, **{"models": TWO, **changes})
        results = tmp_path / "results"
        with pytest.raises(SystemExit) as stop:
            main(["run", str(study), "--results", str(results), "--machine", "here", *options])
        return stop.value.code, sorted((results / "here").glob("*"))

    return go


@pytest.fixture
def there(tmp_path):
    """Write the weights of the second model, or take them away."""

    def put(script):
        path = tmp_path / "there.yaml"
        if script is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(json.dumps(script), encoding="utf-8")

    return put


def done(folder):
    return [
        (r.cell.model, r.cell.workload, r.trial, r.attempt, r.outcome.kind)
        for r in read_run(folder).records
    ]


def test_answers_alone_and_then_the_whole_study_are_one_run(run, there):
    there(ANSWERS)
    study = {
        "workloads": BOTH,
        "exclude": [{"model": "there", "workload": "answers"}],
    }
    code, (folder,) = run("--only", "answers", **study)
    assert (code, done(folder)) == (0, [("here", "answers", 0, 0, "ok")])
    code, folders = run(**study)
    assert (code, folders) == (0, [folder])
    assert sorted(done(folder)) == [
        ("here", "answers", 0, 0, "ok"),
        ("here", "speed", 0, 0, "ok"),
        ("here", "speed", 1, 0, "ok"),
        ("there", "speed", 0, 0, "ok"),
        ("there", "speed", 1, 0, "ok"),
    ]


def test_other_weights_of_the_model_that_was_not_yet_measured_begin_a_new_run(run, there):
    there(ANSWERS)
    study = {"workloads": BOTH, "exclude": [{"model": "there", "workload": "answers"}]}
    _, (folder,) = run("--only", "answers", **study)
    there({**ANSWERS, "decode_s": [0.5]})
    _, folders = run(**study)
    assert len(folders) == 2
    assert len(done(folder)) == 1


def test_a_skipped_cell_is_recorded_once_however_often_the_run_goes_on(run, there):
    there(None)
    code, (folder,) = run("--trials", "1")
    assert code == 0
    first = [("there", "speed", 0, 0, "skipped"), ("here", "speed", 0, 0, "ok")]
    assert done(folder) == first
    assert "there.yaml" in read_run(folder).records[0].outcome.reason
    for options in (
        ("--resume", "--trials", "1"),
        ("--trials", "2"),
        ("--resume", "--trials", "2"),
    ):
        assert run(*options) == (0, [folder])
    assert [entry for entry in done(folder) if entry[0] == "there"] == first[:1]
    assert len(done(folder)) == 3


def test_weights_that_come_later_are_measured_in_the_same_run_and_noted(run, there):
    there(None)
    _, (folder,) = run()
    there(ANSWERS)
    assert run() == (0, [folder])
    assert [entry[2:] for entry in done(folder) if entry[0] == "there"] in (
        [(0, 0, "skipped"), (0, 1, "ok"), (1, 0, "ok")],
        [(0, 0, "skipped"), (1, 0, "ok"), (0, 1, "ok")],
    )
    there({**ANSWERS, "decode_s": [0.5]})
    _, folders = run("--trials", "3")
    assert len(folders) == 2  # other weights, other run
    there(ANSWERS)
    _, folders = run("--trials", "3")
    assert len(folders) == 2
    assert sum(entry[0] == "there" for entry in done(folder)) == 1 + 3


def test_weights_that_are_gone_are_still_those_of_the_run(run, there):
    there(ANSWERS)
    _, (folder,) = run("--trials", "1")
    there(None)
    assert run("--trials", "2")[1] == [folder]
    there({**ANSWERS, "decode_s": [0.5]})
    assert len(run("--trials", "2")[1]) == 2  # the hash was not forgotten meanwhile


def test_a_run_whose_facts_are_empty_is_nobodys(run, there):
    there(ANSWERS)
    _, (folder,) = run("--trials", "1")
    (folder / "facts.json").write_text("{}", encoding="utf-8")
    _, folders = run("--trials", "2")
    assert len(folders) == 2
    assert len(done(folder)) == 2
    assert (folder / "facts.json").read_text(encoding="utf-8") == "{}"


def test_a_failure_is_final_and_the_rest_goes_on(run, there):
    there({**ANSWERS, "fail": {"at": "decode", "how": "not_a_number"}})
    code, (folder,) = run("--trials", "1")
    assert code == 3
    code, folders = run("--trials", "2")
    assert (code, folders) == (3, [folder])
    assert sorted(done(folder)) == [
        ("here", "speed", 0, 0, "ok"),
        ("here", "speed", 1, 0, "ok"),
        ("there", "speed", 0, 0, "not_a_number"),
        ("there", "speed", 1, 0, "not_a_number"),
    ]


@pytest.mark.usefixtures("without_report")
def test_another_version_of_what_computes_makes_other_trials(tmp_path, monkeypatch, capsys):
    study = tmp_path / "study.yaml"
    study.write_text(
        yaml.safe_dump(
            {
                "name": "computed",
                "models": {"m": {"weights": "random:169m"}},
                "strategies": ["cpu fp32"],
                "workloads": {"speed": {"trials": 2}},
            }
        ),
        encoding="utf-8",
    )
    versions = iter(["2.0.1+cpu", "2.0.1+cpu", "2.13.0+cpu"])
    probe = machine.probe_machine

    def probe_with_another_torch():
        found = probe()
        return replace(found, facts={**found.facts, "torch": next(versions)})

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(machine, "probe_machine", probe_with_another_torch)
    monkeypatch.setattr(trial, "measure", stop)
    for n_runs, changed in ((1, False), (1, False), (2, True)):
        with pytest.raises(SystemExit):
            main(["run", str(study), "--results", str(tmp_path / "r"), "--machine", "here"])
        assert len(list((tmp_path / "r" / "here").iterdir())) == n_runs
        said = "was measured with torch 2.0.1+cpu, now 2.13.0+cpu, so"
        assert (said in capsys.readouterr().err) == changed


def test_a_line_that_was_torn_is_said_dropped_and_its_trial_measured_again(run, there, capsys):
    there(ANSWERS)
    _, (folder,) = run()
    file = folder / "records.jsonl"
    whole = file.read_bytes()
    *_, last = whole.splitlines(keepends=True)
    file.write_bytes(whole[: -len(last) // 2])
    assert run() == (0, [folder])
    said = capsys.readouterr().err
    assert "the last line of records.jsonl was cut off in writing" in said
    assert len(done(folder)) == len(set(done(folder))) == 4
    assert read_run(folder).notes == ()


def test_a_second_run_into_the_same_folder_is_refused(run, there, capsys):
    there(ANSWERS)
    _, (folder,) = run("--trials", "1")
    before = (folder / "records.jsonl").read_bytes()
    with RecordStore(folder).appending():
        code, folders = run()
    assert (code, folders) == (4, [folder])
    assert "another process is measuring into this run" in capsys.readouterr().err
    assert (folder / "records.jsonl").read_bytes() == before
