"""A real run: its speed trials know how near they came to what the machine can do."""

import math

import pytest
import yaml
from click.testing import CliRunner

from harness.cli.main import cli
from harness.records.store import read_run

pytestmark = pytest.mark.slow

STUDY = {
    "name": "near",
    "models": {"shipped": {"weights": "builtin:quickstart"}},
    "strategies": ["cpu fp32"],
    "workloads": {"speed": {"prompt_tokens": 8, "generate_tokens": 4, "passes": 1, "trials": 1}},
}


def run(tmp_path, **changes):
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump({**STUDY, **changes}), encoding="utf-8")
    arguments = ["run", str(study), "--results", str(tmp_path / "results"), "--machine", "here"]
    CliRunner().invoke(cli, arguments)  # how noisy the machine is decides the exit code
    (folder,) = (tmp_path / "results" / "here").iterdir()
    return read_run(folder)


def test_shares_are_finite_and_the_limits_are_kept(tmp_path, without_report):
    done = run(tmp_path)
    assert [one.when for one in done.limits] == ["begin", "end"]
    for record in done.records:
        found = record.roofline
        assert found.missing == {}
        assert all(math.isfinite(x) and x > 0 for x in (found.decode_share, found.prefill_share))
        assert found.limits_at == done.limits[0].measured_at
        assert record.energy.decode_j_per_token is not None or record.energy.missing


def test_switched_off_in_the_study_the_rest_goes_on(tmp_path, without_report):
    done = run(tmp_path, roofline=False)
    assert done.limits == ()
    for record in done.records:
        assert record.decode_tok_per_s > 0
        assert record.roofline.step_bytes["cpu"] > 0
        assert "roofline: false" in record.roofline.missing["decode_share"]
