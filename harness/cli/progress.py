"""A named progress line for work that is counted in bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from harness.cli.console import console

OnBytes = Callable[[int, int], None]  # done, of all
_QUIET_S = 2.0  # between two lines where there is no terminal


@contextmanager
def byte_progress(title: str, *, quiet: bool = False) -> Iterator[OnBytes]:
    """A bar on stderr; where that is no terminal, a line every now and then; else nothing."""
    out = console(stderr=True)
    if quiet:
        yield lambda _done, _total: None
    elif out.is_terminal:
        yield from _bar(title, out)
    else:
        yield _lines(title, out)


def _bar(title: str, out: Console) -> Iterator[OnBytes]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _lines(title: str, out: Console) -> OnBytes:
    last = time.monotonic()

    def say(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _QUIET_S and done < total:
            last = time.monotonic()
            out.print(f"{title}: {100 * done / max(1, total):.0f} %", markup=False, soft_wrap=True)

    return say
