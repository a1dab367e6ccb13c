"""On a machine that lets nothing be found out, everything still runs and says what it lacks."""

import subprocess
import sys

from harness.records.store import read_run

STUDY = """\
name: blind
extends: builtin:quickstart
strategies: [cpu fp32]
reference: cpu fp32
workloads:
  speed: {prompt_tokens: 4, generate_tokens: 2, passes: 1, trials: 1}
  depth: {at: [0, 8], generate_tokens: 2, passes: 1, trials: 1}
  answers: {trials: 1}
include: []
exclude:
  - {model: random-169m}
"""


def test_the_quickstart_runs_with_all_probes_off(tmp_path, monkeypatch):
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "harness", "run", str(tmp_path / "study.yaml")),
            *("--results", str(tmp_path / "results")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (records,) = tmp_path.glob("results/*/*/records.jsonl")
    run = read_run(records.parent)
    assert {r.outcome.kind for r in run.records} == {"ok"}
    assert {r.cell.workload for r in run.records} == {"speed", "depth", "answers", "quality"}
    for record in run.records:
        assert record.memory.peak_rss_bytes is None
        assert record.memory.missing["peak_rss_bytes"]
        assert record.facts["cpu_model"]["unavailable"]
    assert "–" in done.stdout
