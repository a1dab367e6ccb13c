"""The result table for a terminal: one per model, within 80 columns.

Builds what `rich` can print; printing is the command's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import structs
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from harness.invocation import as_typed
from harness.report.at_least import LEAST_WIDTH, AtLeast
from harness.report.format import columns_of, number, size, too_wide
from harness.report.latency_tables import terminal_depth_table, terminal_table
from harness.report.missing import why
from harness.report.quality_cells import (
    SMALL_FORM,
    agreement_alone,
    divergence,
    is_scored,
    right,
    scored_on,
)
from harness.report.quality_tables import terminal_lambada_table
from harness.report.quiet_tables import outcome_cell
from harness.report.results import outcome_text, trials_text
from harness.report.roofline_tables import short_table
from harness.report.shorter import with_fewer_notes, without_empty_columns
from harness.report.table import Cell, Table, columns, figure, words
from harness.report.values import ModelSummary, Row, Summary
from harness.stats import Estimate

GAP = 2  # blanks between two columns; 1 where a table would be too wide
NAME_WIDTH = 12  # the least for a strategy: `cpu fp32i8` and what follows it
MOST_WAYS = 3  # of having been disturbed that are named; more would be as many notes
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_UNKNOWN = "the trials are too few or too noisy for an interval that says anything"


def result_table(summary: Summary) -> Group:
    """Speed, memory, accuracy and outcome of every strategy: one table per model.

    Print it with `crop=False`: it is at least 80 columns wide.
    """
    parts: list[RenderableType] = []
    for model in summary.models:
        parts.extend(printable(_short_table(model)))
        more_tables = (
            terminal_lambada_table(model),
            terminal_table(model),
            terminal_depth_table(model),
            short_table(model),
        )
        for more in more_tables:
            if more is not None:
                parts.extend(printable(more))
    if not parts:
        parts.append(Text("Nothing was planned, and nothing was measured."))
    return Group(*parts)


def printable(table: Table) -> list[RenderableType]:
    """A table with its caption, its footnotes, and an empty line, to be printed one by one."""
    table = with_fewer_notes(without_empty_columns(table))
    return [
        Text(table.caption, style="bold"),
        AtLeast(_rich(table)),
        *(
            Text(f"{str(at).translate(_RAISED)} {as_typed(why)}", style="dim")
            for at, why in enumerate(table.footnotes, start=1)
        ),
        *(Text(remark, style="dim") for remark in table.remarks),
        Text(""),
    ]


def _short_table(model: ModelSummary) -> Table:
    scored = is_scored(model)
    shown: list[tuple[str, Callable[[Row], Cell]]] = [
        ("Decode\ntok/s", lambda row: _speed(row, row.decode_tok_per_s, "decode_tok_per_s")),
        ("Prefill\ntok/s", lambda row: _prefill(row, in_full=not scored)),
        ("Peak\nmemory", lambda row: _memory(row, in_full=not scored)),
    ]
    if scored:
        shown += [("Agrees", agreement_alone), ("KL,\nnats", _divergence)]
    if any(outcome.workload == "answers" for row in model.rows for outcome in row.outcomes):
        shown.append(("Right\nanswers", right) if not scored else ("Right", _right))
    titles = [title for title, _ in shown]
    disturbed_by = {row.quiet.causes for row in model.rows if row.quiet and row.quiet.causes}
    decode = [row.decode_tok_per_s for row in model.rows if row.decode_tok_per_s is not None]
    how = ", ± half the 95 % interval" if any(one.low is not None for one in decode) else ""
    return Table(
        caption=f"{model.name}: median of {trials_text(model.rows)}{how}"
        if decode
        else f"{model.name}: without speeds",
        columns=columns("Strategy", *titles, "Outcome", numeric=titles),
        rows=tuple(
            (
                words(f"{row.label} (ref)" if row.is_reference else row.label),
                *(cell(row) for _, cell in shown),
                _outcome_in_brief(row, in_full=len(disturbed_by) <= MOST_WAYS),
            )
            for row in model.rows
        ),
        remarks=tuple(_what_quality_is(model)) if scored else (),
    )


def _what_quality_is(model: ModelSummary) -> Iterator[str]:
    """What stands in a table of the report for whoever points at it, in as few words as may be."""
    yield (
        "Agrees: holds the same next token for the likeliest as the exact float32 model. "
        f"KL: mean divergence from it per token. Both {scored_on(model)}."
        + (
            " Right: answers that match the pattern of a right one."
            if any(row.score is not None for row in model.rows)
            else ""
        )
        # Which need not be exact: others' speed is compared with it, and nobody's quality.
        + (" (ref): its speed is what others’ is compared with." if _has_reference(model) else "")
    )


def _has_reference(model: ModelSummary) -> bool:
    return any(row.is_reference for row in model.rows)


def _rich(table: Table) -> RichTable:
    texts = [[_text(table, cell) for cell in row] for row in table.rows]
    columns = [(one.title, *(row[at] for row in texts)) for at, one in enumerate(table.columns)]
    whole = [_widest(line for text in column for line in text.split("\n")) for column in columns]
    words = [_widest(word for text in column for word in text.split()) for column in columns]
    least = [
        NAME_WIDTH if at == 0 else whole[at] if one.numeric else words[at]
        for at, one in enumerate(table.columns)
    ]
    is_wide = _with_gaps(whole, GAP) > LEAST_WIDTH
    gap = GAP if _with_gaps(least, GAP) <= LEAST_WIDTH else 1
    # The box has one blank between two columns; the rest of the gap is padding.
    shown = RichTable(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap - 1, 0, 0)
    )
    for at, column in enumerate(table.columns):
        # `rich` takes from all that may be wrapped alike; a name should stay whole before words do.
        is_words = at > 0 and not column.numeric
        shown.add_column(
            Text(column.title),
            justify="right" if column.numeric else "left",
            overflow="fold",
            no_wrap=column.numeric,
            min_width=None if column.numeric else least[at],
            max_width=least[at] if is_wide and is_words else None,
        )
    for row in texts:
        shown.add_row(*map(Text, row))
    return shown


def _widest(texts: Iterable[str]) -> int:
    return max(map(columns_of, texts), default=0)


def _with_gaps(widths: Sequence[int], gap: int) -> int:
    """How wide a table is whose columns have these widths."""
    return sum(widths) + gap * (len(widths) - 1)


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


def _prefill(row: Row, *, in_full: bool) -> Cell:
    """With its interval where there is room for that."""
    value = row.prefill_tok_per_s
    if in_full or value is None:
        return _speed(row, value, "prefill_tok_per_s")
    return figure(number(value.value))


def _divergence(row: Row) -> Cell:
    """What stands below it in a report is a footnote here."""
    cell = divergence(row)
    if cell.text[0] not in "≥≤":
        return cell
    return Cell(text=cell.text, why=": ".join(filter(None, (SMALL_FORM, cell.tag))))


def _right(row: Row) -> Cell:
    cell = right(row)
    return structs.replace(cell, text=cell.text.replace(" of ", "/"))


def _outcome_in_brief(row: Row, *, in_full: bool) -> Cell:
    """One word, as there is no room for more, with the whole as a footnote."""
    text = outcome_text(structs.replace(row, unsteady=None))
    states = {outcome.state for outcome in row.outcomes}
    if states == {"failed"} and len({why(outcome) for outcome in row.outcomes}) == 1:
        word, note = "failed", why(row.outcomes[0])  # as below the figures that it lacks
    elif " " in text and text not in ("not run", "not finished"):
        word, note = "failed" if states == {"failed"} else "partly", text
    else:
        word, note = text, None
    if row.unsteady and word == "ok":
        word = "varies"
    cell = outcome_cell(row, word, in_full=in_full)
    return structs.replace(cell, why="; ".join(filter(None, (note, cell.why))) or None)


def _memory(row: Row, *, in_full: bool) -> Cell:
    """Of the host, then of each device, in the same line as its name where there is room."""
    peak = row.memory.peak_rss_bytes
    if peak is None:
        return figure(None, row.missing.get("peak_rss_bytes"))
    between = " " if in_full else "\n"
    devices = [f"{name}{between}{size(n)}" for name, n in row.memory.device_peak_bytes.items()]
    return figure("\n".join([size(peak), *devices]))
