"""`run` from YAML to HTML with the fake engine: fresh, failing, interrupted, killed, continued."""

import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.config.load import load_study
from harness.machine import probe_machine
from harness.measure import trial
from harness.plan.order import order
from harness.plan.plan import plan
from harness.records.store import read_run
from tests.cli.conftest import BOTH

ANSWERS = {"vocab": 5, "tokens": [[3], [1, 2]]}  # Paris; yes no


def run(study, results, *options):
    """Run in this process; returns the exit code and the run folders, oldest first."""
    with pytest.raises(SystemExit) as stop:
        main(["run", str(study), "--results", str(results), "--machine", "here", *options])
    folders = sorted((results / "here").glob("*")) if (results / "here").exists() else []
    return stop.value.code, folders


def outcomes(folder):
    return {
        (r.cell.strategy, r.cell.workload, r.trial, r.attempt): r.outcome.kind
        for r in read_run(folder).records
    }


def test_the_whole_flow(fake_study, tmp_path, capsys):
    study = fake_study({**ANSWERS, "decode_s": [0.05]}, workloads=BOTH)
    code, (folder,) = run(study, tmp_path / "results")
    assert code == 0
    kept = read_run(folder)
    assert outcomes(folder) == {
        ("cpu fp32", "speed", 0, 0): "ok",
        ("cpu fp32", "speed", 1, 0): "ok",
        ("cpu fp32", "answers", 0, 0): "ok",
    }
    speed = next(r for r in kept.records if r.cell.workload == "speed")
    assert speed.decode_tok_per_s == pytest.approx(20)
    assert speed.prefill_tok_per_s == pytest.approx(1000)
    (answers,) = [r for r in kept.records if r.cell.workload == "answers"]
    assert [(a.id, a.text, a.right) for a in answers.answers] == [
        ("capital", "Paris", True),
        ("open", "yes no", None),
    ]
    assert speed.facts["weights_sha256"]
    assert speed.facts["threads"] == 1
    for name in ("study.yaml", "facts.json", "plan.json", "records.jsonl", "summary.md"):
        assert (folder / name).is_file()
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")
    assert list((folder / "plots").glob("*.svg"))
    said = capsys.readouterr().out
    assert "20.0" in said
    assert "report.html" in said
    assert said.splitlines()[-1].startswith("Next: ")


@pytest.mark.usefixtures("without_report")
def test_a_finished_run_is_followed_by_a_new_one_unless_resumed(fake_study, tmp_path):
    study = fake_study({})
    results = tmp_path / "results"
    run(study, results)
    code, folders = run(study, results, "--resume")
    assert (code, len(folders)) == (0, 1)
    assert len(read_run(folders[0]).records) == 2
    code, folders = run(study, results)
    assert (code, len(folders)) == (0, 2)


def test_failing_cells_are_records_and_the_rest_goes_on(fake_study, tmp_path):
    def fails(how):
        return {"fail": {"at": "decode", "how": how, "after": 6}}

    study = fake_study(
        {"strategies": {"cpu bf16": fails("crash"), "cpu fp16": fails("not_a_number")}},
        strategies=["cpu fp32", "cpu bf16", "cpu fp16", "cuda fp16"],
    )
    code, (folder,) = run(study, tmp_path / "results", "--trials", "1")
    assert code == 3
    kinds = {strategy: kind for (strategy, *_), kind in outcomes(folder).items()}
    assert kinds["cpu fp32"] == "ok"
    assert kinds["cpu bf16"] == "crashed"
    assert kinds["cpu fp16"] == "not_a_number"
    assert "not a number" in (folder / "summary.md").read_text(encoding="utf-8")


def test_when_all_fail_nothing_was_measured(fake_study, tmp_path):
    study = fake_study({"fail": {"at": "open", "how": "unsupported"}})
    code, (folder,) = run(study, tmp_path / "results")
    assert code == 4
    assert set(outcomes(folder).values()) == {"unsupported"}


@pytest.mark.usefixtures("without_report")
def test_a_failed_cell_is_not_tried_again(fake_study, tmp_path):
    study = fake_study({"fail": {"at": "open", "how": "crash"}})
    run(study, tmp_path / "results")
    code, folders = run(study, tmp_path / "results", "--resume")
    assert (code, len(folders)) == (0, 1)  # nothing is left to do
    assert len(read_run(folders[0]).records) == 2


@pytest.mark.usefixtures("without_report")
def test_changed_weights_begin_a_new_run(fake_study, tmp_path):
    study = fake_study({"decode_s": [0.01]})
    run(study, tmp_path / "results", "--trials", "1")
    fake_study({"decode_s": [0.02]})
    _, folders = run(study, tmp_path / "results", "--trials", "2")
    assert [len(read_run(folder).records) for folder in folders] == [1, 2]


@pytest.mark.usefixtures("without_report")
def test_moved_weights_do_not(fake_study, tmp_path):
    study = fake_study({})
    run(study, tmp_path / "results", "--trials", "1")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("study.yaml", "script.yaml", "tokenizer.json"):
        (elsewhere / name).write_bytes((tmp_path / name).read_bytes())
    _, folders = run(elsewhere / "study.yaml", tmp_path / "results", "--trials", "2")
    assert [len(read_run(folder).records) for folder in folders] == [2]


def test_one_workload_alone_and_then_the_other(fake_study, tmp_path):
    study = fake_study(ANSWERS, workloads=BOTH)
    _, (folder,) = run(study, tmp_path / "results", "--only", "answers")
    assert [r.cell.workload for r in read_run(folder).records] == ["answers"]
    _, folders = run(study, tmp_path / "results")
    assert folders == [folder]
    assert sorted(r.cell.workload for r in read_run(folder).records) == [
        "answers",
        "speed",
        "speed",
    ]


def test_missing_weights_are_said_at_once_and_leave_nothing(fake_study, tmp_path, capsys):
    study = fake_study({})
    (tmp_path / "script.yaml").unlink()
    code, folders = run(study, tmp_path / "results")
    assert (code, folders) == (4, [])
    assert not (tmp_path / "results").exists()
    assert "script.yaml" in capsys.readouterr().err.splitlines()[0]


def test_a_broken_study_is_refused_without_a_traceback(fake_study, tmp_path, capsys):
    study = fake_study({})
    study.write_text(study.read_text(encoding="utf-8") + "enginess: [fake]\n", encoding="utf-8")
    code, folders = run(study, tmp_path / "results")
    said = capsys.readouterr().err
    assert (code, folders) == (2, [])
    assert "enginess" in said
    assert "Traceback" not in said


def test_json_is_all_that_stdout_has(fake_study, tmp_path, capfd):
    code, _ = run(fake_study({}), tmp_path / "results", "--json")
    assert code == 0
    assert "summary" in json.loads(capfd.readouterr().out)


@pytest.mark.parametrize("times", [{"decode_s": [0.0]}, {"prefill_s": 0.0}])
def test_a_clock_that_stands_still_gives_no_speed(times, fake_study, tmp_path):
    code, (folder,) = run(fake_study(times), tmp_path / "results", "--trials", "1")
    (record,) = read_run(folder).records
    assert code == 0
    assert None in (record.decode_tok_per_s, record.prefill_tok_per_s)


@pytest.mark.usefixtures("without_report")
def test_times_that_are_no_numbers_fail_the_trial_alone(fake_study, tmp_path):
    study = fake_study(
        {"strategies": {"cpu bf16": {"decode_s": [float("nan")]}}},
        strategies=["cpu fp32", "cpu bf16"],
    )
    code, (folder,) = run(study, tmp_path / "results", "--trials", "1")
    assert code == 3
    kinds = {strategy: kind for (strategy, *_), kind in outcomes(folder).items()}
    assert kinds == {"cpu fp32": "ok", "cpu bf16": "crashed"}


@pytest.mark.usefixtures("without_report")
def test_a_damaged_old_run_is_left_alone_with_a_note(fake_study, tmp_path, capsys):
    study = fake_study({})
    _, (old,) = run(study, tmp_path / "results", "--trials", "1")
    (old / "study.json").unlink()
    code, folders = run(study, tmp_path / "results")
    assert (code, len(folders)) == (0, 2)
    assert "study.json" in capsys.readouterr().err


@pytest.mark.usefixtures("without_report")
def test_the_plan_of_the_folder_is_whole_also_where_one_workload_runs(fake_study, tmp_path):
    _, (folder,) = run(fake_study(ANSWERS, workloads=BOTH), tmp_path / "results", "--only", "speed")
    assert [entry["cell"]["workload"] for entry in read_run(folder).plan] == ["speed", "answers"]


@pytest.mark.parametrize("label", ["../up", "/abs", "..", "a b", ""])
def test_a_machine_is_a_folder_name(label, fake_study, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", str(fake_study({})), "--results", str(tmp_path / "r"), "--machine", label])
    assert stop.value.code == 2
    assert "no folder name" in capsys.readouterr().err


def test_an_unwritable_results_folder_is_the_users_to_change(fake_study, tmp_path, capsys):
    (tmp_path / "file").write_text("", encoding="utf-8")
    code, _ = run(fake_study({}), tmp_path / "file" / "results")
    assert code == 2
    assert "cannot be written" in capsys.readouterr().err


def _start(study, results):
    """Run in a process of its own, to be stopped; yields once a trial hangs after another ended."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "harness", "run", str(study)),
            *("--results", str(results), "--machine", "here"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    begun = 0
    for line in process.stderr:
        begun += line.startswith("[")
        if begun == 2:
            break
    return process


HANGS = {"strategies": {"cpu bf16": {"fail": {"at": "open", "how": "hang"}}}}
ONE_TRIAL = {"speed": {"prompt_tokens": 4, "generate_tokens": 2, "passes": 1, "trials": 1}}


def _study_whose_second_trial_hangs(fake_study):
    machine = probe_machine()
    for seed in range(20):
        study = fake_study(
            HANGS, strategies=["cpu fp32", "cpu bf16"], workloads=ONE_TRIAL, seed=seed
        )
        planned = plan(load_study(study), machine)
        if order(planned.cells, planned.seed)[0][0].strategy == "cpu fp32":
            return study
    raise AssertionError("no seed puts the hanging trial second")


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize(
    "stop", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=["kill -9", "Ctrl-C", "kill"]
)
def test_a_stopped_run_keeps_what_it_has_and_goes_on(stop, fake_study, tmp_path, monkeypatch):
    study = _study_whose_second_trial_hangs(fake_study)
    results = tmp_path / "results"
    with _start(study, results) as process:
        while not list(results.glob("here/*/logs/*bf16*")):
            assert process.poll() is None  # until the worker that hangs has been started
        process.send_signal(stop)
        process.stderr.read()
    (folder,) = (results / "here").glob("*")
    before = outcomes(folder)
    assert before["cpu fp32", "speed", 0, 0] == "ok"
    was_interrupted = stop != signal.SIGKILL
    if was_interrupted:
        assert process.returncode == 130
        assert before["cpu bf16", "speed", 0, 0] == "interrupted"
    # The trial still hangs, being the same; this time a deadline ends it.
    monkeypatch.setattr(trial, "run_job", partial(_run_job_briefly, trial.run_job))
    code, folders = run(study, results)
    assert (code, folders) == (3, [folder])
    after = outcomes(folder)
    assert before.items() <= after.items()
    assert after["cpu bf16", "speed", 0, int(was_interrupted)] == "timeout"
    assert len(after) == len(before) + 1


def test_after_ctrl_c_one_command_is_next_and_goes_on(fake_study, tmp_path, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(trial, "measure", stop)
    code, (folder,) = run(fake_study({}), tmp_path / "results")
    assert code == 130
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == f"Report: {folder / 'report.html'}"
    assert lines[-1].startswith("Interrupted. To go on: ")
    assert not [line for line in lines if line.startswith("Next: ")]


def _run_job_briefly(run_job, job, *, deadline_s, **rest):
    del deadline_s
    return run_job(job, deadline_s=0.5, **rest)


def test_what_failed_names_no_folder_of_this_machine(fake_study, tmp_path, without_report):
    study = fake_study({"fail": {"at": "open", "how": "error"}, **ANSWERS}, workloads=BOTH)
    _, (folder,) = run(study, tmp_path / "results", "--only", "answers")
    (record,) = read_run(folder).records
    assert "Traceback" in record.outcome.detail
    assert 'File "harness/' in record.outcome.detail
    assert str(tmp_path) not in (folder / "records.jsonl").read_text(encoding="utf-8")
    assert str(Path.cwd()) not in (folder / "records.jsonl").read_text(encoding="utf-8")


def test_the_plan_that_is_kept_names_no_folder_of_this_machine(
    fake_study, tmp_path, without_report
):
    models = {
        "scripted": {"weights": "script.yaml", "tokenizer": "tokenizer.json"},
        "absent": {"weights": "not-here.pth"},
    }
    study = fake_study({**ANSWERS, "decode_s": [0.05]}, models=models)
    _, (folder,) = run(study, tmp_path / "results", "--trials", "1")
    kept = (folder / "plan.json").read_text(encoding="utf-8")
    assert "weights missing: not-here.pth" in kept
    assert str(tmp_path) not in kept + (folder / "records.jsonl").read_text(encoding="utf-8")
