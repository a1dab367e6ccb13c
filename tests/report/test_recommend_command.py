"""`recommend` as it is typed: limits, exit codes, several runs, JSON, and the end of a report."""

from __future__ import annotations

import json
import os

import fabricate
import msgspec
import pytest

from harness.cli.main import main


@pytest.fixture
def run(capsys):
    """Runs a command line; returns the exit code, what it printed, and its errors."""

    def ran(*words):
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return stop.value.code, out, err

    return ran


@pytest.fixture
def devices(tmp_path):
    """A run with GPUs, all its cells measured."""
    return fabricate.with_devices().write(tmp_path / "server" / "20240501T100000Z")


def test_the_best_the_runner_up_and_the_next_command_are_printed(run, devices):
    code, out, _ = run("recommend", devices, "--vram", "4GiB")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].startswith("raven-3b: run “cuda fp16i8”: ")
    assert "behind it “cuda fp16 *20 -> cpu fp32”" in " ".join(lines[:4])
    assert "takes 6.05 GiB of VRAM, more than 4.00 GiB" in " ".join(out.split())
    assert "Without quality: " in out
    assert lines[-1] == f"Next: python -m harness report {devices}"
    assert max(len(line) for line in lines if not line.startswith("Next:")) <= 80


def test_where_nothing_qualifies_it_exits_with_1_and_the_next_command_finds_one(run, devices):
    code, out, _ = run("recommend", devices, "--ram", "1GiB", "--prefer", "memory")
    assert code == 1
    assert out.startswith("raven-3b: nothing qualifies; nearest is “")
    last = out.splitlines()[-1]
    assert last.startswith("Next: python -m harness recommend ")
    again = last.removeprefix("Next: python -m harness ").split()
    assert "--prefer" in again
    code, out, _ = run(*again)
    assert code == 0
    assert out.startswith("raven-3b: run “")


@pytest.mark.parametrize("written", ["0", "0B", "0GiB"])
def test_none_of_a_gpu_can_be_asked_for(run, devices, written):
    code, out, _ = run("recommend", devices, "--vram", written)
    assert code == 0
    assert out.startswith("raven-3b: run “cpu fp32”")
    assert "raven-3b: no VRAM; fastest decoding first" in out


@pytest.mark.parametrize("option", ["--vram", "--ram"])
def test_a_size_without_its_unit_is_not_taken_for_bytes(run, devices, option):
    code, _, err = run("recommend", devices, option, "8")
    assert code == 2
    assert "'8' has no unit. Do you mean 8GiB?" in " ".join(err.split())


def test_a_limit_is_shown_as_it_was_given(run, tmp_path):
    folder = fabricate.with_quality().write(tmp_path / "here" / "1")
    _, out, _ = run("recommend", folder, "--min-agreement", "99.999%")
    assert "tiny: at least 99.999 % agreement" in out
    assert "less than 99.999 %" in " ".join(out.split())
    _, out, _ = run("recommend", folder, "--min-agreement", "0.00001", "--ram", "512K")
    last = out.splitlines()[-1]
    assert "--min-agreement 0.001% " in last
    assert run(*last.removeprefix("Next: python -m harness ").split())[0] == 0


def later(fabricated, strategies=None):
    """The same run, measured a year after, of some strategies alone."""
    fabricated.records = [
        msgspec.structs.replace(one, started_at=one.started_at.replace("2024", "2025"))
        for one in fabricated.records
        if strategies is None or one.cell.strategy in strategies
    ]
    return fabricated


def test_the_next_command_names_the_run_that_the_best_is_of(run, tmp_path):
    old = fabricate.with_devices().write(tmp_path / "server" / "old")
    slow = ["cpu fp32", "cpu bf16"]
    new = later(fabricate.with_devices(), slow).write(tmp_path / "server" / "new")
    for folders in ((old, new), (new, old)):
        _, out, _ = run("recommend", *folders)
        assert out.splitlines()[-1] == f"Next: python -m harness report {old}"
        _, out, _ = run("recommend", *folders, "--vram", "0")
        assert out.splitlines()[-1] == f"Next: python -m harness report {new}"
        # Where there is no best, the newest; quality was scored in neither.
        _, out, _ = run("recommend", *folders, "--min-agreement", "1%")
        assert out.splitlines()[-1] == f"Next: python -m harness report {new}"


def test_the_next_command_has_the_runs_of_the_machine_that_it_is_about(run, devices, tmp_path):
    laptop = fabricate.Fabricated(["cpu fp32"], {"raven-3b": "w"})
    laptop.speed("cpu fp32", 2, 20_000)
    other = laptop.write(tmp_path / "laptop" / "20240501T100000Z")
    code, out, _ = run("recommend", devices, other, "--ram", "4GiB")
    assert code == 1
    last = out.splitlines()[-1].removeprefix("Next: python -m harness ").split()
    assert str(devices) not in last
    assert run(*last)[0] == 0


def test_a_note_on_several_models_is_printed_once(run, tmp_path):
    old = fabricate.plausible().write(tmp_path / "here" / "1")
    new = later(fabricate.plausible()).write(tmp_path / "here" / "2")
    _, out, _ = run("recommend", old, new)
    notes = [line for line in out.splitlines() if line.startswith("Note")]
    text = " ".join(out.split())
    assert len(notes) == 1
    assert "Note: “cpu fp32”, “cpu bf16”, “cpu fp32i8” and “cpu fp32i8 *3 -> cpu fp32” were" in text
    _, out, _ = run("recommend", old, new, "--model", "quickstart", "--json")
    [ranking] = json.loads(out)["rankings"]
    assert len(ranking["notes"]) == 1


def test_a_note_on_one_model_of_several_says_which(run, tmp_path):
    both = fabricate.plausible()
    both.records = [one for one in both.records if one.cell.model == "quickstart"]
    old = fabricate.plausible().write(tmp_path / "here" / "1")
    new = later(both).write(tmp_path / "here" / "2")
    _, out, _ = run("recommend", old, new)
    assert [line[:20] for line in out.splitlines() if line.startswith("Note")] == [
        "Note on quickstart: "
    ]


@pytest.mark.parametrize("name", [name for name in fabricate.EVERY if name != "empty"])
@pytest.mark.parametrize("limits", [(), ("--vram", "4GiB"), ("--ram", "1MiB", "--vram", "0")])
def test_text_json_and_exit_code_agree(run, tmp_path, name, limits):
    folder = fabricate.EVERY[name]().write(tmp_path / "here" / "1")
    code, out, _ = run("recommend", folder, *limits)
    json_code, document, _ = run("recommend", folder, *limits, "--json")
    rankings = json.loads(document)["rankings"]
    assert json_code == code
    said = " ".join(out.split())
    for ranking in rankings:
        assert " ".join(ranking["sentence"].split()) in said
        assert (ranking["best"] is not None) == (": run “" in ranking["sentence"])
        assert all(text in said for text in ranking["careful"])
        assert all(f"Note: {text}" in said for text in ranking["notes"])
    measured = any(ranking["measured"] for ranking in rankings)
    bests = all(ranking["best"] is not None for ranking in rankings)
    assert code == (4 if not measured else 0 if bests else 1)
    assert ".." not in said.replace("…", "")


@pytest.mark.parametrize("written", ["99%", "0.99", ".99", "99 %", "99.0%"])
def test_a_share_is_written_as_percent_or_as_a_part_of_one(run, devices, written):
    code, out, _ = run("recommend", devices, "--min-agreement", written, "--json")
    assert code == 1  # no quality was scored
    assert json.loads(out)["wishes"]["min_agreement"] == 0.99


@pytest.mark.parametrize("written", ["100%", "1"])
def test_all_tokens_can_be_asked_for(run, devices, written):
    _, out, _ = run("recommend", devices, "--min-agreement", written, "--json")
    assert json.loads(out)["wishes"]["min_agreement"] == 1.0


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("99", "Do you mean 99%?"),
        ("1.5", "more than all tokens"),
        ("101%", "more than all tokens"),
        ("-1", "is not a share"),
        ("99,5%", "Write 99%, 99.5% or 0.995"),
        ("nan", "is not a share"),
        ("most", "is not a share"),
    ],
)
def test_what_is_no_share_is_refused(run, devices, written, says):
    code, _, err = run("recommend", devices, f"--min-agreement={written}")
    assert code == 2
    assert says in " ".join(err.split())


def test_json_has_all_that_is_printed(run, devices):
    code, out, _ = run("recommend", devices, "--vram", "4GiB", "--json")
    found = json.loads(out)
    [ranking] = found["rankings"]
    assert (code, found["qualifies"]) == (0, True)
    assert ranking["best"]["name"] == "cuda fp16i8"
    assert ranking["best"]["vram_bytes"] == 3400 * 2**20
    assert ranking["runner_up"]["name"] == "cuda fp16 *20 -> cpu fp32"
    assert ranking["reference"]["name"] == "cpu fp32"
    assert ranking["sentence"].startswith("raven-3b: run “cuda fp16i8”")
    assert {one["name"] for one in ranking["refused"]} == {
        "cuda fp16",
        "cuda fp16i8 *20 -> cuda fp16",
    }
    assert "quality" in ranking["best"]["why_missing"]["agreement"]
    assert (ranking["machine"], ranking["runs"]) == ("server", ["20240501T100000Z"])
    assert ranking["nearest"] == []


def test_json_says_what_is_nearest_and_what_is_unknown(run, devices):
    _, out, _ = run("recommend", devices, "--ram", "1GiB", "--json")
    [ranking] = json.loads(out)["rankings"]
    assert ranking["best"] is None
    assert ranking["nearest"][0]["needs"] == {
        "ram_bytes": min(one["ram_bytes"] for one in ranking["refused"])
    }
    _, out, _ = run("recommend", devices, "--min-agreement", "1%", "--json")
    [ranking] = json.loads(out)["rankings"]
    assert len(ranking["unknown"]) == 8
    assert ranking["unknown"][0]["why"].startswith("agreement not measured: ")


def test_machines_are_named_and_not_mixed(run, devices, tmp_path):
    other = fabricate.with_devices().write(tmp_path / "laptop" / "20240501T100000Z")
    code, out, _ = run("recommend", devices, other)
    assert code == 0
    assert "raven-3b on server: run “" in out
    assert "raven-3b on laptop: run “" in out


def test_a_run_that_is_named_twice_is_one(run, devices):
    _, out, _ = run("recommend", devices, devices, "--json")
    [ranking] = json.loads(out)["rankings"]
    assert (ranking["notes"], ranking["runs"]) == ([], ["20240501T100000Z"])


def test_a_model_of_several_is_named(run, tmp_path):
    folder = fabricate.plausible().write(tmp_path / "here" / "1")
    code, out, _ = run("recommend", folder, "--model", "random-169m")
    assert code == 0
    assert "random-169m: run “cpu fp32”" in out
    assert "quickstart:" not in out
    code, _, err = run("recommend", folder, "--model", "raven")
    assert code == 2
    assert "raven: not in these runs. They have: quickstart, random-169m" in err


def test_one_model_that_qualifies_does_not_hide_that_another_does_not(run, tmp_path):
    folder = fabricate.plausible().write(tmp_path / "here" / "1")
    code, out, _ = run("recommend", folder, "--ram", "300MiB")
    assert code == 1
    assert "quickstart: run “cpu fp32”" in out
    assert "random-169m: nothing qualifies" in out
    assert out.splitlines()[-1].endswith("--model random-169m")


def test_the_next_command_is_about_the_model_that_was_asked_for(run, tmp_path):
    folder = fabricate.plausible().write(tmp_path / "here" / "1")
    for model in ("quickstart", "random-169m"):
        code, out, _ = run("recommend", folder, "--ram", "200MiB", "--model", model)
        assert code == 1
        again = out.splitlines()[-1].removeprefix("Next: python -m harness ").split()
        assert again[-2:] == ["--model", model]
        code, out, _ = run(*again)
        assert code == 0
        assert out.startswith(f"{model}: run “")


def test_what_was_not_tried_is_named_with_its_reason(run, tmp_path):
    folder = fabricate.plausible().write(tmp_path / "here" / "1")
    _, out, _ = run("recommend", folder, "--model", "quickstart")
    assert (
        "Not known: “cuda fp16” and “cuda fp16i8”: decode speed not measured: skipped: no CUDA "
        "device on this machine."
    ) in " ".join(out.split())


@pytest.mark.parametrize("name", ["skips only", "failures only"])
def test_where_nothing_was_measured_it_exits_with_4(run, tmp_path, name):
    folder = fabricate.EVERY[name]().write(tmp_path / "here" / "1")
    code, out, _ = run("recommend", folder)
    assert code == 4
    assert "nothing to recommend, as no strategy was measured: " in out
    assert out.splitlines()[-1].startswith("Next: ")


@pytest.mark.parametrize("name", list(fabricate.EVERY))
@pytest.mark.parametrize("prefer", ["decode", "prefill", "memory"])
def test_every_run_can_be_asked(run, tmp_path, name, prefer):
    folder = fabricate.EVERY[name]().write(tmp_path / "here" / "1")
    words = ("recommend", folder, "--prefer", prefer, "--min-agreement", "99%", "--ram", "1GiB")
    code, out, err = run(*words)
    assert "Traceback" not in out + err
    if name == "empty":
        assert code == 2
        return
    as_json = run(*words, "--json")
    assert as_json[0] == code
    assert json.loads(as_json[1])["qualifies"] == (code == 0)
    assert ("nothing" in out) == (code in (1, 4)) == (code != 0)


def test_what_is_no_run_is_bad_input(run, tmp_path):
    code, _, err = run("recommend", tmp_path)
    assert code == 2
    assert "not a run folder" in err
    assert run("recommend")[0] == 2


def test_colours_are_left_out_where_nobody_wants_them(run, devices, monkeypatch):
    monkeypatch.setitem(os.environ, "NO_COLOR", "1")
    assert "\x1b[3" not in run("recommend", devices)[1]


def test_a_report_closes_with_the_same_sentence(run, tmp_path):
    folder = fabricate.plausible().write(tmp_path / "here" / "1")
    asked = " ".join(run("recommend", folder)[1].split())
    lines = run("report", folder)[1].splitlines()
    shown = " ".join(" ".join(lines).split())
    for model in ("quickstart", "random-169m"):
        sentence = asked[asked.index(f"{model}: run “") :].split(").")[0]
        assert sentence in shown
    assert lines[-1].startswith("Next: ")
    said = json.loads(run("report", folder, "--json")[1])["recommended"]
    assert [line.split(":")[0] for line in said] == ["quickstart", "random-169m"]
