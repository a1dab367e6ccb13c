"""Runs of earlier releases, whose workload `answers` had one trial and no key for it."""

import json

import pytest
import yaml

from harness.cli.main import main
from harness.records.store import read_run
from tests.cli.in_process import run_in_process

SCRIPT = {"vocab": 5, "tokens": [[3], [1, 2]]}
ANSWERS = {"questions": "questions.yaml", "max_tokens": 5}


@pytest.fixture
def study(fake_study, without_report):
    return fake_study(SCRIPT, workloads={"answers": ANSWERS})


@pytest.fixture
def run(study, tmp_path):
    """Run the study; returns the run folders by their names."""

    def go(*options, **answers):
        document = yaml.safe_load(study.read_text("utf-8"))
        document["workloads"]["answers"] = {**ANSWERS, **answers}
        study.write_text(yaml.safe_dump(document), encoding="utf-8")
        with pytest.raises(SystemExit) as stop:
            main(["run", str(study), "--results", str(tmp_path / "r"), "--machine", "m", *options])
        assert stop.value.code == 0
        return sorted((tmp_path / "r/m").iterdir())

    return go


def make_old(folder, n_records=1):
    """The folder as the earlier release had it."""
    path = folder / "study.json"
    document = json.loads(path.read_text("utf-8"))
    document["workloads"]["answers"].pop("trials", None)
    path.write_text(json.dumps(document), encoding="utf-8")
    lines = (folder / "records.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "records.jsonl").write_bytes(b"".join(lines[:n_records]))


def test_what_was_finished_then_stays_finished(run):
    [old] = run()
    make_old(old)
    folders = run()
    assert len(folders) == 2
    assert [len(read_run(one).records) for one in folders] == [1, 2]


def test_resume_and_a_study_that_says_how_many_go_on_with_it(run):
    [old] = run()
    make_old(old)
    assert run("--resume") == [old]
    assert len(read_run(old).records) == 2
    make_old(old)
    assert run(trials=3) == [old]
    assert len(read_run(old).records) == 3


def test_what_was_not_finished_goes_on_as_it_is_asked_now(run):
    [old] = run()
    make_old(old, n_records=0)
    assert run() == [old]
    assert len(read_run(old).records) == 2


@pytest.mark.parametrize("n_records", [0, 1])
def test_what_is_gone_on_with_is_ended_in_the_same_run(n_records, study, run, monkeypatch):
    """However many commands that takes: none begins another while this one has trials left."""
    asked = yaml.safe_load(study.read_text("utf-8"))
    asked["strategies"] = ["cpu fp32", "cpu bf16"]
    study.write_text(yaml.safe_dump(asked), encoding="utf-8")
    run_in_process(monkeypatch)
    [old] = run()
    make_old(old, n_records)
    n_commands = 0
    while len(read_run(old).records) < 4:
        before = len(read_run(old).records)
        assert run("--budget", "12s") == [old]
        assert before < len(read_run(old).records) <= before + 2
        n_commands += 1
    assert n_commands > 1


def test_one_that_was_taken_up_by_resume_needs_no_resume_any_more(run, monkeypatch):
    [old] = run()
    make_old(old)
    with monkeypatch.context() as stopped:
        stopped.setattr("harness.cli.run._measure_all", lambda *_: (True, 0))
        run("--resume")
    assert run() == [old]
    assert len(read_run(old).records) == 2


def test_a_run_of_this_release_wants_its_second_trial(run):
    [folder] = run(trials=1)
    assert run() == [folder]
    assert len(read_run(folder).records) == 2
