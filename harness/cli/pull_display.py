"""What a pull shows: one live bar with the file's name on a terminal, sparse lines otherwise."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column

from harness.report.format import size as shown_size

_FIRST_SIGN_S, _SLOWEST_SIGN_S = 2.0, 30.0  # between two signs of life without a terminal


class PullDisplay:
    """Is told how a pull goes, and shows it on `out`, which is stderr."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._task: TaskID | None = None
        self._label = ""
        self._bar = Progress(
            TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True)),
            BarColumn(bar_width=12),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=out,
            transient=True,
            expand=True,
            refresh_per_second=4,
        )
        self._said_at = self._wait_s = 0.0

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the bar on the terminal."""
        if not self._out.is_terminal:
            yield
            return
        with self._bar:
            yield

    def begin(self, what: str, name: str, size: int | None) -> None:
        """A part of the work begins."""
        self._label = f"{what} {name}"
        if self._out.is_terminal:
            if self._task is not None:
                self._bar.remove_task(self._task)
            # A file's name is no markup.
            label = self._label.replace("[", r"\[")
            self._task = self._bar.add_task(label, total=size)
            return
        self._said_at, self._wait_s = time.monotonic(), _FIRST_SIGN_S
        if size is None or size > 2**24 or what == "Downloading":
            self._say("" if size is None else f", {shown_size(size)}")

    def move(self, done: int, total: int) -> None:
        """So many bytes are done."""
        if self._out.is_terminal:
            if self._task is not None:
                self._bar.update(self._task, completed=done, total=total or None)
        elif time.monotonic() - self._said_at > self._wait_s:
            self._said_at = time.monotonic()
            self._wait_s = min(2 * self._wait_s, _SLOWEST_SIGN_S)
            of = f" of {shown_size(total)}" if total else ""
            self._say(f": {shown_size(done)}{of}")

    def _say(self, more: str) -> None:
        self._out.print(f"{self._label}{more} …", markup=False, soft_wrap=True)
