"""How the user started the harness, so that a message can give a command that works when pasted.

Knows how the command line can be started, and nothing of its commands. What is kept in files says
`python -m harness` however it was started: equal runs leave equal files.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

VARIABLE = "RWKV_HARNESS_COMMAND"  # set by who starts the harness in a way that it cannot see
_KEPT = "python -m harness"
_INSTALLED = "rwkv-harness"
_SCRIPTS = (_INSTALLED, "convert_model")  # of pyproject.toml


def command_line(*words: str | Path) -> str:
    """The command of these words, quoted for a shell, as this user types it.

    `$RWKV_HARNESS_COMMAND`, `rwkv-harness` or `python -m harness` stands before them.
    """
    return " ".join([_beginning(), *(shlex.quote(str(word)) for word in words)])


def as_typed(text: str) -> str:
    """A text that is kept in files, for the terminal: with its commands as this user types them."""
    return text.replace(f"{_KEPT} ", f"{_beginning()} ")


def _beginning() -> str:
    given = os.environ.get(VARIABLE, "").strip()
    if given:
        return given
    return _INSTALLED if Path(sys.argv[0]).name in _SCRIPTS else _KEPT
