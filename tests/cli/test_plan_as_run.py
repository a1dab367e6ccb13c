"""`plan` beside `run`: with the same words the one says what the other does."""

import json
import math
import os
import re
import shlex

import pytest
import yaml

from harness.cli.main import main
from harness.cli.plan import command as plan_command
from harness.cli.run import command as run_command
from harness.machine.speed_probe import MachineSpeed
from harness.records.store import read_run
from tests.cli.in_process import TRIAL_S, run_in_process

STRATEGIES = ["cpu fp32", "cpu bf16", "cpu fp32i8", "cpu fp32i8 *1 -> cpu fp32"]
WORKLOADS = {
    "speed": {"prompt_tokens": 4, "generate_tokens": 1, "passes": 1, "trials": 3},
    "answers": {"questions": "questions.yaml", "max_tokens": 3, "trials": 1},
}
LONG_AGO = (1e9, 1e9)  # a file that was just written may change again, and no hash of it is kept


@pytest.fixture
def clock(monkeypatch, tmp_path, without_report):
    speed = "harness.machine.speed_probe.probe_speed"
    monkeypatch.setattr(speed, lambda: MachineSpeed(python_s=1.41e-3, copy_bytes_per_s=34e9))
    monkeypatch.setattr("harness.plan.foresee_time._FAKE_S", TRIAL_S)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return run_in_process(monkeypatch)


@pytest.fixture
def study(fake_study):
    """4 strategies × (3 speed trials + 1 of answers), and a model that is not there."""
    script = {"vocab": 5, "tokens": [[1, 2]]}
    here = {"weights": "script.yaml", "tokenizer": "tokenizer.json"}
    path = fake_study(
        script,
        strategies=STRATEGIES,
        workloads=WORKLOADS,
        models={"here": here, "gone": {**here, "weights": "gone.yaml"}},
    )
    for file in path.parent.glob("*.*"):
        os.utime(file, LONG_AGO)
    return path


@pytest.fixture
def say(study, clock, capfd):
    """Run a command on the study; returns its exit code, and what stands on stdout and stderr."""

    def run(name, *options):
        place = ["--results", str(study.parent / "results"), "--machine", "m"]
        with pytest.raises(SystemExit) as stop:
            main([name, str(study), *place, *options])
        return stop.value.code, *capfd.readouterr()

    return run


@pytest.fixture
def planned(say):
    """What `plan --json` says."""
    return lambda *options: json.loads(say("plan", "--json", *options)[1])


@pytest.fixture
def records(study):
    """All records of all runs, but for those that say that a cell was skipped."""

    def read():
        folders = sorted((study.parent / "results/m").glob("*"))
        every = [record for folder in folders for record in read_run(folder).records]
        return [one for one in every if one.outcome.kind != "skipped"]

    return read


@pytest.fixture
def done(say, records):
    """Carry out a command of `run`; returns its trials, as `plan` names them."""

    def run(*options):
        n_before = len(records())
        say("run", *options)
        return [{"cell": one.cell.id, "trial": one.trial} for one in records()[n_before:]]

    return run


def test_every_option_of_run_that_says_what_is_measured_is_one_of_plan():
    def described(command):
        return {one.name: (one.opts, one.help) for one in command.params if one.name != "study"}

    of_run, of_plan = described(run_command), described(plan_command)
    shared = of_run.keys() & of_plan.keys() - {"as_json"}
    assert of_run.keys() - of_plan.keys() == {"allow_failures", "pull_first"}
    assert {name: of_plan[name] for name in shared} == {name: of_run[name] for name in shared}


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--only", "speed", "--trials", "1"),
        ("--only", "answers", "--no-cache"),
        ("--fresh", "--trials", "2"),
        ("--resume",),
        ("--set", "seed=7"),
        ("--set", "order=sequential", "--budget", "1h"),
    ],
)
def test_run_does_what_plan_with_the_same_words_said(words, planned, done):
    for is_begun in (False, True):
        if is_begun:  # and finished, which `--resume` would go on with
            assert done(*(word for word in words if word != "--resume"), "--budget", "22s")
        said = planned(*words)["run"]
        assert said["left"] == done(*words) != []
        assert said["trials_at_most"] == len(said["left"])


def test_of_a_run_that_goes_on_only_what_is_left_is_foreseen(say, planned, done, study):
    whole = planned()
    assert whole["run"]["goes_on_with"] is None
    assert len(whole["run"]["left"]) == len(STRATEGIES) * 4
    first = done("--budget", "60s")
    found = planned()
    [folder] = (study.parent / "results/m").iterdir()
    assert found["run"]["goes_on_with"] == str(folder)
    left = [one for one in whole["run"]["left"] if one not in first]
    assert found["run"]["left"] == left
    cells = [one["cell"] for one in left]
    assert {one["cell"]: one["trials"] for one in found["time"]["cells"]} == {
        cell: cells.count(cell) for cell in cells
    }
    assert found["time"]["done_cells"] == len(STRATEGIES)  # their answers
    assert found["time"]["trials_s"] == sum(
        one["trial_s"] * one["trials"] for one in found["time"]["cells"]
    )
    text = say("plan")[1]
    assert f"Going on with {folder}: {len(left)} of 16 trials to do." in text
    assert f"4 of 16 cells will run here, in {len(left)} trials" in " ".join(text.split())
    assert "Done already, and without time: 4 cells." in text
    rows = re.findall(r"^(?:here| +).*?  ([0-9 ]+[0-9]) +done  ", text, re.MULTILINE)
    assert len(rows) == 4
    turns = [whole["run"]["left"].index(one) + 1 for one in left]
    assert sorted(int(n) for row in rows for n in row.split()) == turns


def test_a_run_in_which_nothing_is_left(say, planned, done, study):
    done()
    [folder] = (study.parent / "results/m").iterdir()
    assert planned()["run"]["goes_on_with"] is None  # `run` would begin another
    code, text, _ = say("plan", "--resume")
    assert code == say("run", "--resume")[0] == 0
    assert "0 of 16 cells will run here, in 0 trials" in text
    assert f"Going on with {folder}: 0 of 16 trials to do." in text
    assert "Numbers under" not in text
    assert "at worst" not in text
    last = text.splitlines()[-1]
    assert shlex.split(last.removeprefix("Next: "))[-2:] == ["report", str(folder)]
    found = planned("--resume")
    assert found["run"]["left"] == found["time"]["cells"] == []
    assert planned("--resume", "--trials", "5")["run"]["trials_at_most"] == 8


@pytest.mark.parametrize("order", ["randomised", "sequential"])
@pytest.mark.parametrize("budget", ["22s", "60s"])
def test_a_budget_comes_as_far_as_was_said(order, budget, planned, done, records):
    words = ("--set", f"order={order}", "--budget", budget)
    for _ in range(9):
        said = planned(*words)
        now = done(*words)
        assert now == said["run"]["left"][: len(now)]
        assert len(now) == said["budget"]["trials_begun"]
        assert said["budget"]["cells_visited"] == len({one.cell.id for one in records()})
        left = planned(*words[:2])
        n_left = len(left["run"]["left"]) if left["run"]["goes_on_with"] else 0
        assert n_left == said["budget"]["trials_left"]
        if not n_left:
            break
    assert len(records()) == 16


def test_the_least_budget_for_every_cell_is_enough_and_a_trial_less_is_not(
    planned, done, records, say
):
    least = planned("--budget", "22s")["budget"]["every_cell_once_s"]
    assert least == pytest.approx(8 * TRIAL_S + 1.0 + 4.0)  # beginning, and the report
    assert planned("--budget", f"{least - TRIAL_S}s")["budget"]["cells_visited"] == 7
    enough = f"{math.ceil(least)}s"
    assert planned("--budget", enough)["budget"]["cells_visited"] == 8
    assert "To visit every cell once takes about 45 s." in say("plan", "--budget", "22s")[1]
    done("--budget", enough)
    assert len({one.cell.id for one in records()}) == 8
    assert planned("--budget", "22s")["budget"]["every_cell_once_s"] is None
    shown = " ".join(say("plan", "--budget", "22s")[1].split())
    assert "3 trials fit into 22 s; every cell was visited before. Left" in shown
    assert "To visit every cell" not in shown


def test_what_a_budget_does_is_said_in_words(say):
    _, text, _ = say("plan", "--budget", "60s")
    flat = " ".join(text.split())
    assert (
        "8 trials fit into 60 s; 8 of 8 cells have been visited then. Left for the next command: "
        "8 trials, about 40 s." in flat
    )
    assert shlex.split(text.splitlines()[-1])[-6:-4] == ["--budget", "1m"]
    assert "All of it fits into 10 min." in say("plan", "--budget", "10m")[1]


def test_a_budget_for_no_trial_ends_as_run_does_and_names_one_that_is_enough(say, done):
    code, text, _ = say("plan", "--budget", "1s")
    assert code == say("run", "--budget", "1s")[0] == 4
    assert "No trial fits into 1.0 s: 16 trials, about 80 s, would be left." in text
    words = shlex.split(text.splitlines()[-1])
    assert done(*words[words.index("--budget") :][:2]) != []


def test_plan_writes_nothing(say, study, monkeypatch):
    monkeypatch.chdir(study.parent)

    def files():
        return {path: path.stat().st_mtime_ns for path in study.parent.rglob("*")}

    for begun in (False, True):
        if begun:
            say("run", "--budget", "22s")
        before = files()
        for options in ((), ("--json",), ("--budget", "30s"), ("--resume",), ("--fresh",)):
            assert say("plan", *options)[0] == 0
            assert files() == before, options


def test_weights_that_nobody_read_may_begin_a_new_run_and_that_is_said(say, planned, done, study):
    done("--budget", "22s")
    assert planned()["run"]["notes"] == []
    script = study.parent / "script.yaml"
    script.write_text('{"vocab": 5, "tokens": [[2]]}', "utf-8")
    os.utime(script, LONG_AGO)
    note = "script.yaml: not read yet as it is now; if this run was measured with another, 'run'"
    [said] = planned()["run"]["notes"]
    assert said.startswith(note)
    assert f"Note: {note}" in say("plan")[2]
    done("--budget", "22s")  # which reads it
    assert len(list((study.parent / "results/m").iterdir())) == 2
    assert planned()["run"]["goes_on_with"] is not None
    assert planned()["run"]["notes"] == []


def test_weights_that_are_known_to_be_others_are_refused_as_by_run(say, study):
    asked = yaml.safe_load(study.read_text("utf-8"))
    asked["models"]["here"]["sha256"] = "0" * 64
    study.write_text(yaml.safe_dump(asked), "utf-8")
    assert say("plan")[0] == 0  # nobody read them yet
    code, _, said = say("run")
    error = said.splitlines()[-1]
    assert code == 2
    assert "has sha256 " in error
    assert say("plan") == (2, "", f"{error}\n")


def test_notes_of_run_are_those_of_plan(say, planned, done, study):
    """Of a run that is damaged, and of a line that was cut off."""
    done("--budget", "22s")
    [folder] = (study.parent / "results/m").iterdir()
    lines = (folder / "records.jsonl").read_bytes()
    (folder / "records.jsonl").write_bytes(lines[:-9])
    [note] = planned()["run"]["notes"]
    assert "was cut off in writing" in note
    assert f"Note: {note}\n" in say("plan")[2]
    (folder / "records.jsonl").write_bytes(b"nothing\n" + lines)
    [note] = planned()["run"]["notes"]
    assert note.startswith("a run is left alone: ")
    assert f"Note: {note}\n" in say("plan")[2]
    assert f"Note: {note}\n" in say("run", "--budget", "22s")[2]


def test_a_part_of_a_study_is_kept_with_the_plan_of_all_of_it(done, planned, study):
    done("--only", "answers")
    [folder] = (study.parent / "results/m").iterdir()
    kept = [one["cell"]["id"] for one in json.loads((folder / "plan.json").read_text("utf-8"))]
    assert kept == [one["cell"]["id"] for one in planned()["cells"]]


def test_trials_that_are_made_again_are_counted(say, planned, done, study, monkeypatch):
    from msgspec import structs

    import harness.measure.trial as trial_module

    judged = trial_module.judged_quiet

    def noisy(outcome, validity, workload):
        found = judged(outcome, validity, workload)
        return structs.replace(found, kind="noisy") if workload == "speed" else found

    monkeypatch.setattr(trial_module, "judged_quiet", noisy)
    done("--only", "speed", "--trials", "1", "--set", "noise={retries: 0}")
    words = ("--trials", "1", "--set", "noise={retries: 0}")
    found = planned(*words)["run"]
    assert (found["trials_again"], found["trials_at_most"]) == (4, 8)
    assert "8 of 8 trials to do, 4 of them again." in say("plan", *words)[1]


@pytest.mark.parametrize(
    "words", [("--only", "depth"), ("--fresh", "--resume"), ("--trials", "0"), ("--budget", "9")]
)
def test_what_run_refuses_plan_does_in_the_same_words(words, say):
    said = say("plan", *words)
    assert said[0] == 2
    assert [one.replace(" plan ", " run ") for one in said[2].splitlines()] == say("run", *words)[
        2
    ].splitlines()


def test_the_next_command_says_all_that_was_said(say, study):
    words = ["--only", "speed", "--trials", "2", "--budget", "90m", "--fresh", "--no-cache"]
    last = say("plan", *words)[1].splitlines()[-1]
    given = shlex.split(last.removeprefix("Next: "))
    begin = given.index("run")
    assert given[begin + 1] == str(study)
    assert given[begin + 2 :] == [
        *("--only", "speed", "--trials", "2", "--budget", "1h30m", "--fresh", "--no-cache"),
        *("--results", str(study.parent / "results"), "--machine", "m"),
    ]


def test_a_rule_that_stops_is_foreseen_at_most(say, planned, done, study):
    asked = yaml.safe_load(study.read_text("utf-8"))
    speed = {**WORKLOADS["speed"], "until": {"min_trials": 3, "max_trials": 6}}
    asked["workloads"] = {"speed": {name: n for name, n in speed.items() if name != "trials"}}
    study.write_text(yaml.safe_dump(asked), "utf-8")
    done("--budget", "32s")  # one block of four, and one more was no longer to be had
    found = planned("--budget", "32s")
    assert (found["run"]["trials_at_least"], found["run"]["trials_at_most"]) == (8, 20)
    text = say("plan", "--budget", "32s")[1]
    assert "at most 20 trials to do." in text
    assert "Left for the next command: at most" in " ".join(text.split())
