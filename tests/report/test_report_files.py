from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import fabricate
import pytest
from rich.console import Console

from harness.cli import report as report_command
from harness.cli.main import main
from harness.errors import RecordsError
from harness.report.html import render_html
from harness.report.page import make_page
from harness.report.terminal import result_table
from harness.report.write import write_report


@pytest.fixture
def run_dir(tmp_path):
    return fabricate.with_every_failure().write(tmp_path / "run")


@pytest.fixture
def small_run_dir(tmp_path):
    """A run whose report is quickly drawn."""
    return fabricate.one_trial().write(tmp_path / "small")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The paths of a report that was written once; not to be changed."""
    folder = tmp_path_factory.mktemp("written") / "run"
    return write_report(fabricate.with_every_failure().write(folder))


def report(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(["report", *map(str, arguments)])
    return stop.value.code


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_report_lies_beside_the_records(written):
    run_dir = written.html.parent
    assert written.html == run_dir / "report.html"
    assert written.markdown == run_dir / "summary.md"
    assert {p.suffix for p in written.plots} == {".svg", ".png"}
    assert all(path.is_file() for path in (written.html, written.markdown, *written.plots))


def test_writing_it_twice_changes_no_byte_and_leaves_nothing_behind(small_run_dir):
    before = contents(small_run_dir)
    paths = write_report(small_run_dir)
    first = contents(small_run_dir)
    assert set(first) - set(before) == {
        path.relative_to(small_run_dir) for path in (paths.html, paths.markdown, *paths.plots)
    }
    write_report(small_run_dir)
    assert contents(small_run_dir) == first


def test_the_place_of_the_folder_is_not_in_the_report(run_dir, written):
    write_report(run_dir)
    assert contents(run_dir) == contents(written.html.parent)


def test_a_report_that_cannot_be_written_leaves_the_old_one_whole(small_run_dir, monkeypatch):
    write_report(small_run_dir)
    before = contents(small_run_dir)

    def refuse(self, target):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(RecordsError, match="No space left on device"):
        write_report(small_run_dir)
    assert contents(small_run_dir) == before


def test_the_markdown_links_plots_that_are_there(written):
    text = written.markdown.read_text(encoding="utf-8")
    links = [part.split(")")[0] for part in text.split("](plots/")[1:]]
    assert len(links) == 6
    assert all((written.markdown.parent / "plots" / link).is_file() for link in links)


@pytest.mark.parametrize("name", fabricate.EVERY)
def test_the_table_fits_80_columns_and_cuts_nothing_off(name, summary_of):
    out = io.StringIO()
    Console(file=out, width=80, emoji=False).print(
        result_table(summary_of(fabricate.EVERY[name]()))
    )
    assert max(len(line) for line in out.getvalue().splitlines()) <= 80
    assert "…" not in out.getvalue()


def test_the_last_line_alone_says_where_the_report_is_and_how_to_look_at_it(run_dir, capsys):
    assert report(run_dir) == 0
    lines = capsys.readouterr().out.splitlines()
    html = run_dir / "report.html"
    assert lines[-1] == f"Next: {report_command.next_command(html)}"
    assert [line for line in lines if "report.html" in line and run_dir.name in line] == lines[-1:]
    assert all(len(line) <= 80 for line in lines[:-1])


@pytest.mark.parametrize(
    "system, screen, has_opener, shown",
    [
        ("linux", ":0", True, "xdg-open '{path}'"),
        ("linux", ":0", False, "open {uri} in a browser"),
        ("linux", "", True, "open {uri} in a browser"),  # over ssh
        ("darwin", "", True, "open '{path}'"),
        ("darwin", "", False, "open {uri} in a browser"),
    ],
)
def test_the_report_is_opened_with_what_the_machine_has(
    system, screen, has_opener, shown, tmp_path, monkeypatch
):
    html = tmp_path / "a run's" / "report.html"
    monkeypatch.setattr(report_command.sys, "platform", system)
    monkeypatch.setattr(report_command, "which", lambda name: name if has_opener else None)
    monkeypatch.setenv("DISPLAY", screen)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    quoted = str(html).replace("'", "'\"'\"'")
    assert report_command.next_command(html) == shown.format(path=quoted, uri=html.as_uri())


def test_the_table_has_speed_memory_accuracy_and_outcome_of_every_strategy(summary_of):
    out = io.StringIO()
    Console(file=out, width=80).print(result_table(summary_of(fabricate.plausible())))
    first = out.getvalue().split("random-169m")[0]
    line = next(line for line in first.splitlines() if line.startswith("cpu fp32 (ref)"))
    assert line.split()[-1] == "ok"
    assert "MiB" in line
    assert "3 of 3" in line
    assert "±" in line
    assert "skipped: no CUDA device on this machine" in first


def test_an_interval_that_says_nothing_is_no_figure_on_the_terminal(summary_of):
    run = fabricate.Fabricated(["cpu fp32"])
    cell = run.planned(run.cell("cpu fp32"), trials=2)
    run.add(cell, trial=0, decode_tok_per_s=100.0)
    run.add(cell, trial=1, decode_tok_per_s=400.0)
    file = io.StringIO()
    Console(file=file, width=80).print(result_table(summary_of(run)))
    shown = " ".join(file.getvalue().split())
    assert "250 ± ?¹" in shown
    assert "¹ the trials are too few or too noisy" in shown


def test_a_terminal_narrower_than_the_table_loses_no_column(summary_of):
    summary = summary_of(fabricate.plausible())
    shown = {}
    for width in (40, 80):
        out = io.StringIO()
        Console(file=out, width=width).print(result_table(summary), crop=False)
        shown[width] = [line for line in out.getvalue().splitlines() if line.startswith("cpu ")]
    assert shown[40] == shown[80]


def test_json_is_json_and_nothing_else(run_dir, capsys):
    assert report(run_dir, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["report"]["html"].endswith("report.html")
    assert document["summary"]["models"][0]["rows"][0]["decode_tok_per_s"]["n"] == 3


@pytest.mark.parametrize("damage", ["nothing there", "not a run", "torn in the middle"])
def test_a_folder_that_is_no_run_is_bad_input(damage, tmp_path, run_dir, capsys):
    folder = {"nothing there": tmp_path / "none", "not a run": tmp_path}.get(damage, run_dir)
    if damage == "torn in the middle":
        records = run_dir / "records.jsonl"
        records.write_bytes(b'{"schema": \n' + records.read_bytes())
    assert report(folder) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert str(folder) in captured.err.replace("\n", "")
    assert "Traceback" not in captured.err


def test_a_torn_last_line_is_noted(small_run_dir, capsys):
    with (small_run_dir / "records.jsonl").open("ab") as file:
        file.write(b'{"schema": 1, "ke')
    assert report(small_run_dir) == 0
    assert "cut off" in capsys.readouterr().out
    assert "cut off" in (small_run_dir / "report.html").read_text(encoding="utf-8")


def test_naming_the_command_loads_nothing_heavy():
    heavy = ["matplotlib", "scipy", "pandas", "jinja2", "torch", "numpy"]
    program = f"""
import sys
import harness.cli.report
print([name for name in {heavy!r} if name in sys.modules])
import harness.report.write, harness.report.terminal
print([name for name in ("torch", "harness.measure", "matplotlib.pyplot") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]


def test_commands_are_shown_as_the_user_types_them_and_kept_alike(tmp_path, monkeypatch, capsys):
    reason = "needs 9 GiB; python -m harness fit random:14b names a plan"
    run = fabricate.skips_only()
    for planned in run.plan:
        planned["skip_reason"] = reason
    folder = run.write(tmp_path / "run")
    monkeypatch.setenv("RWKV_HARNESS_COMMAND", "harness-of-mine")
    assert report(folder) == 0
    shown = capsys.readouterr().out
    assert "; harness-of-mine fit random:14b names" in " ".join(shown.split())
    assert "python -m harness" not in shown
    for name in ("summary.md", "report.html"):
        text = (folder / name).read_text(encoding="utf-8")
        assert "python -m harness fit random:14b" in text
        assert "harness-of-mine" not in text


def test_an_arrow_of_a_strategy_is_never_broken_and_is_copied_as_it_is_typed(summary_of):
    html = render_html(make_page(summary_of(fabricate.plausible())))
    arrow = '<span class="arrow">-&gt;</span>'
    assert f"<code>cpu fp32i8 *3 {arrow} cpu fp32</code>" in html
    assert ".arrow { white-space: nowrap; }" in html
