"""A table with less in it that says the same: fewer notes, and no column of dashes.

Knows tables; knows nothing of where their texts come from, but for how a reason names another row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import structs

from harness.report.format import MISSING, listing
from harness.report.table import Cell, Table

_ELSEWHERE = re.compile(r"(?P<why>.+): see “.+”")  # as `missing.py` writes it


def with_fewer_notes(table: Table) -> Table:
    """One note for all reasons that differ only by the row that they name.

    That row is of the same strategy, and the only one of its rows that has the figure.
    """
    named: dict[str, set[str]] = {}
    for note in table.footnotes:
        found = _ELSEWHERE.fullmatch(note)
        if found is not None:
            named.setdefault(found["why"], set()).add(note)
    one_for = {
        note: f"{why}: see the strategy’s row that has it"
        for why, notes in named.items()
        if len(notes) > 1
        for note in notes
    }
    return structs.replace(
        table,
        rows=tuple(
            tuple(structs.replace(cell, why=one_for.get(cell.why or "", cell.why)) for cell in row)
            for row in table.rows
        ),
    )


def without_empty_columns(table: Table) -> Table:
    """Without columns of figures that no row has; a remark names them and says why.

    Reasons that stand in a note of what is left are not said again. A table of nothing but dashes
    stays as it is: they are all that it has to say.
    """
    figures = [at for at, column in enumerate(table.columns) if column.numeric]
    empty = [at for at in figures if table.rows and all(_is_dash(row[at]) for row in table.rows)]
    if not empty or len(empty) == len(figures):
        return table
    left = structs.replace(
        table,
        columns=tuple(one for at, one in enumerate(table.columns) if at not in empty),
        rows=tuple(
            tuple(cell for at, cell in enumerate(row) if at not in empty) for row in table.rows
        ),
    )
    titles_by_why: dict[str, list[str]] = {}
    for at in empty:
        why = _why_empty([row[at].why or "" for row in table.rows], left.footnotes)
        title = table.columns[at].title.replace("\n", " ")
        titles_by_why.setdefault(why, []).append(f"“{title}”")
    said = "; ".join(f"{listing(titles)} ({why})" for why, titles in titles_by_why.items())
    remark = f"Left out, as no row has a figure there: {said}."
    return structs.replace(left, remarks=(remark, *left.remarks))


def _why_empty(reasons: Sequence[str], noted: Sequence[str]) -> str:
    """The reasons that are not noted; no other row is pointed to, as none has the figure."""
    own = dict.fromkeys(why for why in reasons if not _ELSEWHERE.fullmatch(why))
    new = [why for why in own if why not in noted]
    if own:
        return "; ".join(new) or "see the notes above"
    return "; ".join(dict.fromkeys(_ELSEWHERE.sub(r"\g<why>", why) for why in reasons))


def _is_dash(cell: Cell) -> bool:
    return cell.text == MISSING
