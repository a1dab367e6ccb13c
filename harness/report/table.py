"""A table of texts: what HTML, Markdown and the terminal all show, each in its own way.

Knows neither what is in it nor how it looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from harness.report.format import MISSING


class Column(Struct, frozen=True):
    """A column's title, and whether it holds numbers (which line up on the right)."""

    title: str
    numeric: bool = False
    what: str | None = None  # what its figures are, for whoever points at the title


class Cell(Struct, frozen=True, kw_only=True):
    """One cell of a table."""

    text: str
    why: str | None = None  # of a missing figure: the footnote
    tag: str | None = None  # a remark in small print below the text; its lines are kept
    mark_from: int | None = None  # the text is marked from this character on
    code: bool = False  # a strategy, or another thing to be typed as it is


class Table(Struct, frozen=True, kw_only=True):
    """A caption, columns, and rows whose first cell is the row's heading."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    remarks: tuple[str, ...] = field(default=())  # sentences below the table

    @property
    def footnotes(self) -> tuple[str, ...]:
        """The reasons of all missing figures, each once; the first is number 1."""
        reasons = (cell.why for row in self.rows for cell in row if cell.why is not None)
        return tuple(dict.fromkeys(reasons))

    def footnote_of(self, cell: Cell) -> int | None:
        """The number of the footnote that belongs to a cell."""
        return None if cell.why is None else self.footnotes.index(cell.why) + 1


def words(content: str, tag: str | None = None) -> Cell:
    """A cell of words."""
    return Cell(text=content, tag=tag)


def code(content: str, tag: str | None = None) -> Cell:
    """A cell with something to be typed as it is."""
    return Cell(text=content, tag=tag, code=True)


def figure(content: str | None, why: str | None = None, tag: str | None = None) -> Cell:
    """A cell with a figure, or with the sign for a missing one and the reason."""
    if content is None:
        return Cell(text=MISSING, why=why or "not recorded")
    return Cell(text=content, tag=tag)


def columns(
    *titles: str, numeric: Iterable[str] = (), what: Mapping[str, str] | None = None
) -> tuple[Column, ...]:
    """Columns by their titles; those in `numeric` hold numbers, `what` says what some are."""
    numbers, said = set(numeric), what or {}
    return tuple(Column(title, title in numbers, said.get(title)) for title in titles)
