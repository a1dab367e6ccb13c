"""`doctor`: what it prints, within 80 columns, and that it changes and refuses nothing."""

import json

import pytest

from harness.cli import doctor
from harness.cli.main import main
from harness.machine.doctor.moment import Moment
from harness.machine.quiet import Seen


@pytest.fixture
def disturbed(monkeypatch):
    """Let a look last no time, and see others at work."""
    figures = {"other_cpu_cores": 7.5, "battery_share": 1.0, "steal_share": 0.0}
    seen = Seen(seconds=1.5, samples=2, figures=figures, missing={"swap_in_bytes": "not said"})
    monkeypatch.setattr(doctor, "_look", lambda *_: Moment(seen=seen, cpus=8))


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(["doctor", *arguments])
    return stop.value.code


@pytest.mark.usefixtures("disturbed")
def test_it_lists_what_disturbs_within_80_columns(capsys):
    assert run() == 0
    shown = capsys.readouterr().out
    assert "others keep 7.50 of 8 CPUs busy" in shown
    assert "the machine runs on its battery" in shown
    assert "mend:   plug it in" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert shown.splitlines()[-1].startswith("Next: ")


@pytest.mark.usefixtures("disturbed")
def test_json_has_all_of_it(capsys):
    assert run("--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["seconds"] == 1.5
    first = said["findings"][0]
    assert first.keys() == {"name", "severity", "what", "effect", "mend", "is_command"}
    assert first["severity"] == "high"
    assert "stolen time" in said["fine"]
    assert said["not_told"]["swapping"] == "not said"


def test_where_probes_are_off_nothing_is_told(monkeypatch, capsys):
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    monkeypatch.setattr(doctor.time, "sleep", lambda _: None)
    assert run() == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Nothing was found" in shown
    assert "Fine" not in shown
    assert "switched off" in shown
