"""The one way to write to the terminal: 80 columns suffice, NO_COLOR is honoured, no emoji."""

from __future__ import annotations

import os
import sys

from rich.console import Console

PIPE_WIDTH = 80  # where there is no terminal to ask, as in a log or a pipe


class _Console(Console):
    """Lets a broken pipe be what it is, for `main` to judge."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """A console on stdout (results) or stderr (progress and errors)."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return _Console(stderr=stderr, width=width, highlight=False, emoji=False, soft_wrap=False)
