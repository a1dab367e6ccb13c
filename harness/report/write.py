"""The entry point: a run's folder in, its report's files out.

Each file is written whole or not at all, so that a reader never sees half a report.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from harness.errors import RecordsError
from harness.records.store import Run, read_run
from harness.records.writing import put_whole
from harness.report.html import render_html
from harness.report.markdown import render_markdown
from harness.report.page import make_page
from harness.report.summary import summarise
from harness.report.values import Summary

HTML_NAME = "report.html"
MARKDOWN_NAME = "summary.md"
PLOTS_NAME = "plots"


class ReportPaths(Struct, frozen=True, kw_only=True):
    """Where the files of a report lie."""

    html: Path
    markdown: Path
    plots: tuple[Path, ...]


def write_report(run_dir: Path) -> ReportPaths:
    """Write the report of a run beside its records.

    Raises `RecordsError` where the folder is not a run's, is damaged, or cannot be written to.
    """
    run = read_run(run_dir)
    return write_summary(run, summarise(run))


def write_summary(run: Run, summary: Summary) -> ReportPaths:
    """The same, of a run that is already summarised."""
    page = make_page(summary)
    plots = run.path / PLOTS_NAME
    files: dict[Path, bytes] = {}
    for model in page.models:
        for plot in model.plots:
            files[plots / f"{model.slug}-{plot.kind}.svg"] = plot.svg.encode()
            files[plots / f"{model.slug}-{plot.kind}.png"] = plot.png
    paths = ReportPaths(
        html=run.path / HTML_NAME, markdown=run.path / MARKDOWN_NAME, plots=tuple(files)
    )
    files[paths.markdown] = render_markdown(page).encode()
    files[paths.html] = render_html(page).encode()
    try:
        plots.mkdir(exist_ok=True)
        for path, content in files.items():
            put_whole(path, content)
    except OSError as error:
        raise RecordsError(
            f"{error.filename or run.path}: the report cannot be written "
            f"({error.strerror or error}). Copy the run's folder to where you may write."
        ) from error
    return paths
