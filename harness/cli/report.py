"""`report`: makes a run's report again from its records."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

import click

from harness.cli.console import console
from harness.invocation import as_typed

if TYPE_CHECKING:
    from harness.report.values import Summary

_SCREENS = ("DISPLAY", "WAYLAND_DISPLAY")  # set where programs can open windows


@click.command(short_help="Make a run's report again from its records.")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(run_dir: Path, *, as_json: bool) -> None:
    """Make the report of the run in RUN_DIR again from its records.

    RUN_DIR is results/<machine>/<run>, as 'run' prints it at the end. Writes report.html,
    summary.md and plots/ there, and prints the table of results.
    """
    from harness.errors import BadInput, RecordsError

    try:
        show_report(run_dir, as_json=as_json)
    except RecordsError as error:
        # The folder is what the user named: theirs to correct.
        raise BadInput(str(error)) from error


def show_report(run_dir: Path, *, as_json: bool, is_last: bool = True) -> None:
    """Write the report of a run and print its table, and last how to look at the report.

    Where the caller has another last line (this `is_last` not), only where the report lies.
    Raises `RecordsError` where the folder is not a run's, is damaged, or cannot be written to.
    """
    from harness.records.store import read_run
    from harness.report.summary import summarise
    from harness.report.terminal import result_table
    from harness.report.write import write_summary

    run = read_run(run_dir)
    summary = summarise(run)
    paths = write_summary(run, summary)
    if as_json:
        import msgspec

        files = {
            "html": str(paths.html),
            "markdown": str(paths.markdown),
            "plots": [str(path) for path in paths.plots],
        }
        # Through msgspec, which writes what is not a number as null.
        said = _recommendations(summary)
        document = msgspec.json.encode({"report": files, "recommended": said, "summary": summary})
        click.echo(json.dumps(json.loads(document), indent=2, ensure_ascii=False))
        return
    out = console()
    out.print(result_table(summary), crop=False)
    for note in (*summary.notes, *summary.warnings):
        out.print(f"Note: {note}", markup=False)
    for line in _recommendations(summary):
        out.print(line, markup=False)
    # Paths and commands stay in one piece, to be copied.
    last = f"Next: {next_command(paths.html)}" if is_last else f"Report: {paths.html}"
    out.print(last, markup=False, soft_wrap=True)


def _recommendations(summary: Summary) -> list[str]:
    """What `recommend` says of the run without limits, a sentence for each model."""
    from harness.report.ranking import rank_model
    from harness.report.recommend import Wishes
    from harness.report.recommended import ranking_sentence

    rankings = [rank_model(one, Wishes(), run=summary.run) for one in summary.models]
    return [as_typed(f"{ranking.model}: {ranking_sentence(ranking)}") for ranking in rankings]


def next_command(html: Path) -> str:
    """How to look at the report: the system's own command, or else an address for any browser.

    Not Python's `webbrowser`: who started the harness by its own name may have no Python to call.
    """
    where = html.resolve()
    # A viewer without a screen, as over ssh, would open nothing, or itself in this terminal.
    on_screen = sys.platform == "darwin" or any(map(os.environ.get, _SCREENS))
    opener = "open" if sys.platform == "darwin" else "xdg-open"
    if on_screen and which(opener):
        return f"{opener} {shlex.quote(str(where))}"
    return f"open {where.as_uri()} in a browser"
