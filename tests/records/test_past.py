"""What earlier runs of a machine tell of how long things take."""

import json
import os

import pytest

from harness.records.past import MOST_BYTES, past_records


def line(model="m", kind="ok", **fields):
    cell = {
        "id": "c",
        "model": model,
        "engine": "torch",
        "strategy": "cpu fp32",
        "workload": "speed",
        "threads": 1,
    }
    return {"schema": 1, "cell": cell, "outcome": {"kind": kind}, "trial": 0, **fields}


@pytest.fixture
def run(tmp_path):
    """Write a run's records, and its study; `age` in seconds."""

    def write(name, *lines, age=0, study=None):
        folder = tmp_path / name
        folder.mkdir()
        path = folder / "records.jsonl"
        rows = [one if isinstance(one, str) else json.dumps(one) for one in lines]
        path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
        if study is not None:
            (folder / "study.json").write_text(study, encoding="utf-8")
        os.utime(path, (1e9 - age, 1e9 - age))

    return write


def test_the_newest_run_comes_first(run, tmp_path):
    run("b", line("old"), line("older"), age=5)
    run("a", line("oldest"), age=9)
    run("c", line("new"))
    assert [one.cell.model for one in past_records(tmp_path)] == ["new", "old", "older", "oldest"]


def test_only_trials_that_ended_well_are_told(run, tmp_path):
    kinds = ["ok", "noisy", "crashed", "timeout", "skipped", "interrupted", "wrong_answers"]
    run("a", *(line(kind, kind) for kind in kinds))
    assert [one.cell.model for one in past_records(tmp_path)] == ["ok", "noisy"]


def test_a_record_is_read_as_far_as_its_time_goes(run, tmp_path):
    run(
        "a",
        line(
            took_s=4.5,
            load_s=0.5,
            prefill=[{"tokens": 8, "s": 0.25}],
            decode_s=[[0.1, 0.2]],
            answers=[{"id": "q", "text": "", "token_ids": [1, 2], "decode_s": [0.1]}],
            facts={"weights_sha256": "ab", "cores": 2},
            cooling={"waited_s": 2.5, "due": {"celsius": {"cpu": 60.0}}},
        ),
        line(facts={"weights_sha256": {"unavailable": "the weights were not hashed"}}),
        study='{"name": "s", "workloads": {"speed": {"passes": 2}, "depth": null}, '
        '"cooldown": {"below_c": 60}}',
    )
    full, bare = past_records(tmp_path)
    assert (full.took_s, full.load_s, full.weights_sha256) == (4.5, 0.5, "ab")
    assert (full.prefill[0].tokens, full.decode_s, full.answers[0].token_ids) == (
        8,
        [[0.1, 0.2]],
        [1, 2],
    )
    assert full.asked == {"speed": {"passes": 2}, "depth": None}
    assert (full.cooling.waited_s, full.cooldown) == (2.5, {"below_c": 60})
    assert (bare.weights_sha256, bare.took_s, bare.cooling) == (None, None, None)


@pytest.mark.parametrize("study", [None, "{", '{"workloads": 3}', "[]"])
def test_a_study_that_cannot_be_read_asked_nothing_that_is_known(study, run, tmp_path):
    run("a", line(), study=study)
    assert [one.asked for one in past_records(tmp_path)] == [{}]


def test_damage_is_passed_over(run, tmp_path):
    run("a", '{"cell": ', '{"schema": 9}', line("m"), "\udcff".encode("utf-8", "replace").decode())
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "records.jsonl").mkdir()
    assert [one.cell.model for one in past_records(tmp_path)] == ["m"]
    assert list(past_records(tmp_path / "nowhere")) == []


def test_years_of_records_are_not_waited_for(run, tmp_path):
    large = "x" * (MOST_BYTES // 4)
    run("a", line("first", facts={"x": large}), *(line(f"m{n}", facts={"x": large}) for n in "abc"))
    run("b", line("not reached"), age=9)
    models = [one.cell.model for one in past_records(tmp_path)]
    assert models == ["ma", "mb", "mc"]  # the end of the file, from its first whole line on
