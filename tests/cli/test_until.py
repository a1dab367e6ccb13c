"""A run that ends once its speeds are known: what it shows, keeps, and makes of going on."""

import json

import pytest

from harness.cli.main import main
from harness.records.stop import read_stop
from harness.records.store import read_run

SCATTERS = {"vocab": 5, "log": "opened.log", "scatter": 0.001}


def speed(**until):
    return {
        "speed": {
            "prompt_tokens": 4,
            "generate_tokens": 2,
            "passes": 1,
            "warmup_passes": 0,
            "until": {"min_trials": 2, "max_trials": 4, **until},
        }
    }


@pytest.fixture
def go(fake_study, tmp_path, without_report, capfd):
    """Run the study of one fake cell; returns exit code, the run's folder and what was shown."""

    def run(script, workloads, *options):
        study = fake_study(script, workloads=workloads)
        arguments = ["run", study, "--results", tmp_path / "results", "--machine", "here"]
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in [*arguments, *options]])
        (folder,) = (tmp_path / "results" / "here").glob("*")
        shown = capfd.readouterr()
        return stop.value.code, folder, shown.out + shown.err

    return run


def test_it_ends_when_all_is_known_and_goes_on_where_less_will_not_do(go):
    code, folder, shown = go(SCATTERS, speed(relative_ci=0.5))
    assert code == 0
    assert len(read_run(folder).records) == 2
    assert "at most 4 trials to do" in shown
    assert "[block 1, 1 of at most 4]" in shown
    assert "Stopped after 2 blocks: every interval is within ± 50 %." in shown
    assert (read_stop(folder).kind, read_stop(folder).blocks) == ("narrow", 2)

    code, same, shown = go(SCATTERS, speed(relative_ci=1e-9))
    assert (code, same) == (0, folder)
    assert [r.place.sequence for r in read_run(folder).records] == [0, 1, 2, 3]
    assert read_stop(folder).kind == "max_trials"
    assert "the most that the study allows" in shown


def test_why_the_speeds_ended_stays_where_another_workload_is_run_alone(go):
    asked = {"answers": {"questions": "questions.yaml", "max_tokens": 2}}
    workloads = {**speed(relative_ci=0.5), **asked}
    _, folder, shown = go(SCATTERS, workloads, "--only", "speed")
    assert "Stopped after 2 blocks" in shown
    stop = read_stop(folder)
    assert stop.kind == "narrow"
    _, same, shown = go(SCATTERS, workloads, "--only", "answers")
    assert "Stopped" not in shown
    assert (same, read_stop(folder)) == (folder, stop)


def test_a_number_of_trials_on_the_command_line_takes_its_place(go):
    code, folder, shown = go(SCATTERS, speed(relative_ci=0.5), "--trials", "1")
    assert code == 0
    assert "1 of 1 trial to do" in shown
    assert len(read_run(folder).records) == 1
    assert read_stop(folder) is None


def test_the_plan_says_least_and_most(fake_study, capsys):
    study = fake_study(SCATTERS, workloads=speed(relative_ci=0.5), limits={"trial_s": 60})
    with pytest.raises(SystemExit):
        main(["plan", str(study)])
    shown = " ".join(capsys.readouterr().out.split())
    assert "in 2 to 4 trials" in shown
    assert "It stops after a block, from block 2 on," in shown
    assert "a trial takes 60 s at worst, all of them about 4 min, apart from" in shown
    with pytest.raises(SystemExit):
        main(["plan", "--json", str(study)])
    document = json.loads(capsys.readouterr().out)
    assert (document["trials_at_least"], document["trials_at_most"]) == (2, 4)
    assert document["until"] == {"relative_ci": 0.5, "min_trials": 2, "max_trials": 4}
    assert document["longest_trial_s"] == 60


def test_the_plan_warns_of_the_sequential_order(fake_study, capsys):
    study = fake_study(SCATTERS, order="sequential", strategies=["cpu fp32", "cpu bf16"])
    with pytest.raises(SystemExit):
        main(["plan", str(study)])
    shown = " ".join(capsys.readouterr().out.split())
    assert "one cell after the other" in shown
    assert "warning: in the sequential order" in shown
