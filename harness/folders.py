"""Where the harness keeps what is not a result: its cache, and the user's settings.

Knows names of folders only; nothing is created here.
"""

from __future__ import annotations

import os
from pathlib import Path

_NAME = "rwkv-harness"


def cache_folder() -> Path:
    """`$HARNESS_CACHE`, else `rwkv-harness` in `$XDG_CACHE_HOME` or `~/.cache`.

    All that lies there can be made again: hashes of files, converted weights.
    """
    own = os.environ.get("HARNESS_CACHE")
    return Path(own).expanduser() if own else _base("XDG_CACHE_HOME", ".cache") / _NAME


def config_folder() -> Path:
    """`rwkv-harness` in `$XDG_CONFIG_HOME` or `~/.config`: what the user wrote."""
    return _base("XDG_CONFIG_HOME", ".config") / _NAME


def _base(variable: str, default: str) -> Path:
    given = os.environ.get(variable)
    # As the XDG specification has it: a relative path is to be ignored.
    if given and Path(given).is_absolute():
        return Path(given)
    return Path.home() / default
