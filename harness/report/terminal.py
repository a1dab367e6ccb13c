"""The result table for a terminal: one per model, within 80 columns.

Builds what `rich` can print; printing is the command's business.
"""

from __future__ import annotations

from collections.abc import Callable

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from harness.invocation import as_typed
from harness.report.at_least import AtLeast
from harness.report.format import number, size, too_wide
from harness.report.latency_tables import terminal_depth_table, terminal_table
from harness.report.quiet_tables import outcome_cell
from harness.report.results import outcome_text, quality_columns, right, trials_text
from harness.report.roofline_tables import short_table
from harness.report.table import Cell, Table, columns, figure, words
from harness.report.values import ModelSummary, Row, Summary
from harness.stats import Estimate

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_UNKNOWN = "the trials are too few or too noisy for an interval that says anything"


def result_table(summary: Summary) -> Group:
    """Speed, memory, accuracy and outcome of every strategy: one table per model.

    Print it with `crop=False`: it is at least 80 columns wide.
    """
    parts: list[RenderableType] = []
    for model in summary.models:
        parts.extend(printable(_short_table(model)))
        for more in (terminal_table(model), terminal_depth_table(model), short_table(model)):
            if more is not None:
                parts.extend(printable(more))
    if not parts:
        parts.append(Text("Nothing was planned, and nothing was measured."))
    return Group(*parts)


def printable(table: Table) -> list[RenderableType]:
    """A table with its caption, its footnotes, and an empty line, to be printed one by one."""
    return [
        Text(table.caption, style="bold"),
        AtLeast(_rich(table)),
        *(
            Text(f"{str(at).translate(_RAISED)} {as_typed(why)}", style="dim")
            for at, why in enumerate(table.footnotes, start=1)
        ),
        Text(""),
    ]


def _short_table(model: ModelSummary) -> Table:
    shown: list[tuple[str, Callable[[Row], Cell]]] = [
        ("Decode\ntok/s", lambda row: _speed(row, row.decode_tok_per_s, "decode_tok_per_s")),
        ("Prefill\ntok/s", lambda row: _speed(row, row.prefill_tok_per_s, "prefill_tok_per_s")),
        ("Peak\nmemory", _memory),
    ]
    if quality_columns(model):
        shown.append(("Right\nanswers", right))
    titles = [title for title, _ in shown]
    decode = [row.decode_tok_per_s for row in model.rows if row.decode_tok_per_s is not None]
    how = ", ± half the 95 % interval" if any(one.low is not None for one in decode) else ""
    return Table(
        caption=f"{model.name}: median of {trials_text(model.rows)}{how}",
        columns=columns("Strategy", *titles, "Outcome", numeric=titles),
        rows=tuple(
            (
                words(f"{row.label} (ref)" if row.is_reference else row.label),
                *(cell(row) for _, cell in shown),
                outcome_cell(row, outcome_text(row)),
            )
            for row in model.rows
        ),
    )


def _rich(table: Table) -> RichTable:
    shown = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for at, column in enumerate(table.columns):
        shown.add_column(
            Text(column.title),
            justify="right" if column.numeric else "left",
            overflow="fold",
            no_wrap=column.numeric,
            min_width=12 if at == 0 else None,
        )
    for row in table.rows:
        shown.add_row(*(Text(_text(table, cell)) for cell in row))
    return shown


def _text(table: Table, cell: Cell) -> str:
    note = table.footnote_of(cell)
    return cell.text if note is None else cell.text + str(note).translate(_RAISED)


def _speed(row: Row, value: Estimate | None, name: str) -> Cell:
    if value is None:
        return figure(None, row.missing.get(name))
    text = number(value.value)
    if value.low is not None and value.high is not None:
        if too_wide(value.low, value.high):
            return Cell(text=f"{text} ± ?", why=_UNKNOWN)
        text += f" ± {number((value.high - value.low) / 2, value.value)}"
    return figure(text)


def _memory(row: Row) -> Cell:
    peak = row.memory.peak_rss_bytes
    if peak is None:
        return figure(None, row.missing.get("peak_rss_bytes"))
    devices = [f"{name} {size(n)}" for name, n in row.memory.device_peak_bytes.items()]
    return figure("\n".join([size(peak), *devices]))
