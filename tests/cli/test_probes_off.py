"""On a machine that lets nothing be found out, everything still runs and says what it lacks."""

import pytest

from harness.cli.main import main
from harness.records.store import read_run
from tests.cli.in_process import run_in_process

STUDY = """\
name: blind
extends: builtin:quickstart
strategies: [cpu fp32]
reference: cpu fp32
workloads:
  speed: {prompt_tokens: 4, generate_tokens: 2, passes: 1, trials: 1}
  answers: null  # these two are shown with the fake engine
  depth: null
  quality: {max_tokens: 64, answers: false}
include: []
exclude:
  - {model: random-169m}
"""


def run(study, results):
    """Run a study that must end well, and keep what it recorded."""
    with pytest.raises(SystemExit) as stop:
        main(["run", str(study), "--results", str(results)])
    assert stop.value.code == 0
    (records,) = results.glob("*/*/records.jsonl")
    kept = read_run(records.parent)
    assert {r.outcome.kind for r in kept.records} == {"ok"}
    for record in kept.records:
        assert record.memory.peak_rss_bytes is None
        assert record.memory.missing["peak_rss_bytes"]
        assert record.facts["cpu_model"]["unavailable"]
    return {r.cell.workload for r in kept.records}


@pytest.mark.usefixtures("without_report")
def test_the_quickstart_runs_with_all_probes_off(tmp_path, monkeypatch):
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    assert run(tmp_path / "study.yaml", tmp_path / "results") == {"speed", "quality"}


def test_every_workload_and_the_report_do_without_them(fake_study, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    study = fake_study(
        {"vocab": 5, "model": {"likely": 4.0}},
        workloads={
            "speed": {"prompt_tokens": 4, "generate_tokens": 2, "passes": 1, "trials": 1},
            "depth": {"at": [0, 8], "generate_tokens": 2, "passes": 1, "trials": 1},
            "answers": {"questions": "questions.yaml", "max_tokens": 5, "trials": 1},
            "quality": {"max_tokens": 20, "answers": False},
        },
    )
    run_in_process(monkeypatch)
    every = {"speed", "depth", "answers", "quality"}
    assert run(study, tmp_path / "results") == every
    assert "“Peak memory” (probes are switched off)" in capsys.readouterr().out
