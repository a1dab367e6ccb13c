"""`kill -9` at any moment: the run goes on, nothing is lost, doubled or measured twice."""

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from harness.records.store import read_run

ROOT = Path(__file__).parents[2]
SCRIPT = {
    "vocab": 5,
    "model": {"likely": 4.0},
    "decode_s": [0.01, 0.02, 0.03],
    "log": "opened.log",
    "strategies": {
        "cpu fp32i8": {"fail": {"at": "open", "how": "error"}},
    },
}
STUDY = {
    "strategies": ["cpu fp32", "cpu fp32i8"],
    "workloads": {
        "speed": {"prompt_tokens": 4, "generate_tokens": 4, "passes": 1, "trials": 2},
        "answers": {"questions": "questions.yaml", "max_tokens": 5, "trials": 1},
        "quality": {"max_tokens": 70},
    },
}
N_PLANNED = {None: 2 * (2 + 1 + 1), "speed": 2 * 2}  # trials, where one workload is run alone
# Times and memory of this machine are not the same in any two runs.
OF_THE_MACHINE = ("started_at", "took_s", "memory", "limits", "validity", "cooling")


@pytest.fixture
def run(fake_study, tmp_path):
    """Run the study, killed at each of some moments: the attempts, and the runs' folders."""
    study = fake_study(SCRIPT, **STUDY)
    questions = [{"id": "one", "text": "yes"}, {"id": "two", "text": "no no"}]
    (tmp_path / "questions.yaml").write_text(json.dumps({"questions": questions}))

    def go(name, kills, moments, *, workers, only):
        results, plan, said = tmp_path / name, tmp_path / "plan", tmp_path / "said"
        arguments = ["run", str(study), "--results", str(results), "--machine", "here"]
        arguments += [] if only is None else ["--only", only]
        plan.write_text(
            json.dumps(
                {
                    "results": str(results),
                    "arguments": arguments,
                    "kills": kills,
                    "workers": workers,
                    "moments": moments,
                }
            )
        )
        (tmp_path / "opened.log").unlink(missing_ok=True)
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        subprocess.run(
            [sys.executable, Path(__file__).with_name("killing.py"), plan, said],
            env={
                **os.environ,
                "PYTHONPATH": path,
                "RWKV_HARNESS_PROBES": "off",
                "HARNESS_CACHE": str(tmp_path / "cache"),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        opened = Counter(
            int(line.split()[0]) for line in (tmp_path / "opened.log").read_text().splitlines()
        )
        attempts = json.loads(said.read_text())
        for one in attempts:
            one["opened"] = opened.pop(one["pid"], 0)
        # A worker whose harness was killed before it said whose it was is nobody's.
        assert sum(opened.values()) <= len(moments)
        folders = [one.parent for one in sorted((results / "here").glob("*/records.jsonl"))]
        return attempts, folders

    return go


def records(folder):
    """As they should be in every run of the study."""
    kept = read_run(folder).records
    plain = [msgspec.to_builtins(one) for one in kept]
    for one in plain:
        if one["quality"] is not None and one["quality"]["reference"] is not None:
            del one["quality"]["reference"]["s"]  # None where it was there
    return [{k: v for k, v in one.items() if k not in OF_THE_MACHINE} for one in plain]


def moments(whole, n_planned, a_record, n, seed):
    """Random ones: anywhere before the first record, around it, and in the midst of writing."""
    chance = random.Random(seed)
    lines, first = whole["lines"], whole["first"]
    a_trial = (lines - first) // (n_planned - 1)
    chosen = []
    for turn in range(n):
        low, high = [(1, first), (first - a_trial, first + a_trial)][turn % 2]
        chosen.append(("line", chance.randrange(low, high)))
        if turn % 3 == 2:
            chosen[-1] = ("byte", chance.randrange(1, 3 * a_record // 2))
    return chosen


@pytest.mark.parametrize(
    ("kills", "seed", "workers", "only"),
    [
        pytest.param(30, 5, False, None, id="here"),
        pytest.param(3, 7, True, "speed", id="workers"),
        pytest.param(200, 6, True, None, marks=pytest.mark.slow, id="many"),
    ],
)
def test_a_run_that_is_killed_again_and_again_is_as_if_it_never_was(
    kills, seed, workers, only, run, tmp_path
):
    (whole,), (folder,) = run("whole", 0, [], workers=workers, only=only)
    expected, n_planned = records(folder), N_PLANNED[only]
    assert len(expected) == whole["opened"] == n_planned
    scored = [one["quality"] for one in expected if one["cell"]["workload"] == "quality"]
    assert sorted(one["text"] is None for one in scored) == ([] if only else [False, True])
    a_record = (folder / "records.jsonl").stat().st_size // n_planned

    chosen = moments(whole, n_planned, a_record, 2 * kills, seed)
    attempts, folders = run("killed", kills, chosen, workers=workers, only=only)
    killed = [one for one in attempts if one["code"] == -signal.SIGKILL]
    assert len(killed) == kills
    assert attempts[-1]["code"] == 3
    assert [records(one) for one in folders] == [expected] * len(folders)
    for before, after in pairwise([{"records": 0}, *attempts]):
        new = after["records"] - before["records"]
        # Only what a kill stopped was begun and not recorded: the rest was measured once.
        assert 0 <= after["opened"] - new <= (after in killed)
    assert attempts[-1]["records"] == len(folders) * n_planned
    cached = (tmp_path / "cache" / "references").iterdir()
    assert not [path for path in cached if path.suffix == ".partial"]
