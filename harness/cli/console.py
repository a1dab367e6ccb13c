"""The one way to write to the terminal: 80 columns suffice, NO_COLOR is honoured, no emoji."""

from __future__ import annotations

import os
import re
import sys
import textwrap

from rich.console import Console

from harness.invocation import command_line

_NO_BREAK = "\u00a0"
_A_COMMAND = r"{} .*?(?=[,;.]? \(|[,;.:] |[.;)]?$)"  # up to where the sentence goes on
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


def _bind(found: re.Match[str]) -> str:
    return found[0].replace(" ", _NO_BREAK)


def say(out: Console, text: str, *, indent: str = "") -> None:
    """A line, whole in a log; on a terminal as many as its words need, all but the first indented.

    Paths and commands stay in one piece, to be copied, and numbers with their units.
    """
    if out.is_terminal:
        bound = re.sub(r"(?<=\d) (?=[^\W\d]|%)", _NO_BREAK, text)
        bound = re.sub(_A_COMMAND.format(re.escape(command_line())), _bind, bound)
        text = textwrap.fill(
            bound,
            out.width,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        ).replace(_NO_BREAK, " ")
    out.print(text, markup=False, soft_wrap=True)
