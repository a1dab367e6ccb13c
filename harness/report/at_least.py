"""Tables that are never narrower than 80 columns: `rich` would fold words and leave out columns.

Knows nothing of what a table shows. A narrower terminal breaks the lines, but shows all.
"""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

LEAST_WIDTH = 80  # columns


class AtLeast:
    """A table of at least 80 columns; to be printed with `crop=False`."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(LEAST_WIDTH, options.max_width)
        yield from console.render(self._table, options.update(width=width))
