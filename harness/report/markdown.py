"""The report as Markdown, for terminals, issues and diffs.

Knows markup; what the report says is in `page.py`. Everything that comes from records is escaped:
an answer cannot open a table cell, a link or a tag.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from harness.report.page import ModelPage, Page
from harness.report.plots import Plot
from harness.report.table import Cell, Table

_SPECIAL = re.compile(r"([\\`*_\[\]|~#$])")


def render_markdown(page: Page) -> str:
    """The whole summary; plots are linked as files beside it."""
    return "\n".join(_lines(page)) + "\n"


def escape(text: str) -> str:
    """Text that Markdown shows as it is, in one line: line breaks become `<br>`."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;")
    escaped = _SPECIAL.sub(r"\\\1", re.sub(r"^>", "&gt;", safe))
    return "<br>".join(escaped.splitlines())


def table_lines(table: Table) -> Iterator[str]:
    """A table with its caption above, and its footnotes and remarks below."""
    yield f"**{escape(table.caption)}**"
    yield ""
    yield _row(escape(column.title) for column in table.columns)
    yield _row("--:" if column.numeric else "---" for column in table.columns)
    for row in table.rows:
        yield _row(_cell(table, one) for one in row)
    yield ""
    for number, why in enumerate(table.footnotes, start=1):
        yield f"<sup>{number}</sup> {escape(why)}  "
    if table.footnotes:
        yield ""
    for remark in table.remarks:
        yield escape(remark)
        yield ""


def _lines(page: Page) -> Iterator[str]:
    yield f"# {escape(page.title)}"
    yield ""
    if page.description:
        yield escape(page.description)
        yield ""
    yield from (f"- {escape(term)}: {escape(text)}" for term, text in page.about)
    yield ""
    yield "## Which strategy should I run?"
    yield ""
    if not page.models:
        yield "Nothing was planned, and nothing was measured."
        yield ""
    for model in page.models:
        yield f"**{escape(model.name)}**: {escape(model.sentence)}"
        yield ""
        yield from _tables(model.choices)
    yield from _list("Before you believe a number", page.warnings)
    for model in page.models:
        yield from _model_lines(model)
    if page.problems is not None:
        yield "## Failed and skipped"
        yield ""
        yield from _tables(page.problems)
    if page.quiet:
        yield "## Was the machine quiet?"
        yield ""
        yield from _tables(*page.quiet)
    yield "## What really ran"
    yield ""
    for model in page.models:
        yield from _tables(model.placement, model.loading, model.planned)
    yield "## Facts"
    yield ""
    yield from _tables(page.differences, *page.facts)
    if page.distributions:
        yield "<details><summary>The installed distributions</summary>"
        yield ""
        yield escape(", ".join(page.distributions))
        yield ""
        yield "</details>"
        yield ""
    yield from _list("Notes", page.notes)
    yield "The same with all plots in one page: [report.html](report.html)"


def _model_lines(model: ModelPage) -> Iterator[str]:
    yield f"## {escape(model.name)}"
    yield ""
    yield from _tables(model.results)
    if model.about_quality or model.quality:
        yield f"### Quality of {escape(model.name)}"
        yield ""
        for text in model.about_quality:
            yield escape(text)
            yield ""
        yield from _tables(*model.quality)
        # A page tells them to whoever points at a title.
        what = {one.title: one.what for table in model.quality for one in table.columns if one.what}
        yield from (f"- {escape(title)}: {escape(text)}" for title, text in what.items())
        if what:
            yield ""
        yield from _plot_lines(model, _of_part(model, "quality"))
    yield from _part_lines(model, "speed", [model.roofline])
    yield from _part_lines(model, "latency", model.latency)
    yield from _part_lines(model, "memory", [])
    if model.about_answers is not None:
        yield f"### Answers of {escape(model.name)}"
        yield ""
        yield escape(model.about_answers) + (
            " It looks like <b>this</b>." if model.differing else ""
        )
        yield ""
        yield from _tables(model.categories, *model.differing)
    if model.agreeing:
        yield f"#### {escape(model.agreeing_title)}"
        yield ""
        yield from _tables(*model.agreeing)


def _part_lines(model: ModelPage, part: str, tables: Sequence[Table | None]) -> Iterator[str]:
    """Tables and plots below a heading of their own; nothing where there are none."""
    plots = _of_part(model, part)
    if plots or any(tables):
        yield f"### {part.capitalize()} of {escape(model.name)}"
        yield ""
        yield from _tables(*tables)
        yield from _plot_lines(model, plots)


def _of_part(model: ModelPage, part: str) -> list[Plot]:
    return [plot for plot in model.plots if plot.part == part]


def _plot_lines(model: ModelPage, plots: Sequence[Plot]) -> Iterator[str]:
    for plot in plots:
        yield f"![{escape(plot.says)}](plots/{model.slug}-{plot.kind}.svg)"
        yield ""
        yield "<details><summary>The numbers of this plot</summary>"
        yield ""
        yield from _tables(*plot.tables)
        yield "</details>"
        yield ""


def _tables(*tables: Table | None) -> Iterator[str]:
    for table in tables:
        if table is not None:
            yield from table_lines(table)


def _list(heading: str, items: tuple[str, ...]) -> Iterator[str]:
    if items:
        yield f"## {heading}"
        yield ""
        yield from (f"- {escape(item)}" for item in items)
        yield ""


def _row(cells: Iterator[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(table: Table, cell: Cell) -> str:
    text = escape(cell.text)
    if cell.mark_from is not None and cell.text[cell.mark_from :]:
        same, marked = cell.text[: cell.mark_from], cell.text[cell.mark_from :]
        text = f"{escape(same)}<b>{escape(marked)}</b>"
    elif cell.code and not _SPECIAL.search(cell.text.replace("*", "")):
        text = f"`{cell.text}`"
    number = table.footnote_of(cell)
    note = "" if number is None else f"<sup>{number}</sup>"
    tag = "" if cell.tag is None else f" ({escape(cell.tag.replace(chr(10), ', '))})"
    return text + note + tag
