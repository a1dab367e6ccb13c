"""What a fact is, and how one that is missing looks: a JSON value, or `{"unavailable": why}`.

Which facts there are stands in `declared.py`; the probes of this package find them out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Facts = dict[str, Any]


class NotKnown(Exception):
    """A fact cannot be known here; the message says why."""


def unavailable(reason: str) -> dict[str, str]:
    """What stands in place of a fact."""
    return {"unavailable": reason}


def text(facts: Facts, name: str) -> str | None:
    """A fact that is a text, or None where it is unavailable."""
    value = facts.get(name)
    return str(value) if isinstance(value, str) else None


def number(facts: Facts, name: str) -> int | None:
    """A fact that is a whole number, or None where it is unavailable."""
    value = facts.get(name)
    return int(value) if isinstance(value, int) else None


def collect(probes: Mapping[str, Callable[[], Any]]) -> Facts:
    """Ask each probe for its fact; one that fails leaves the reason, and the rest goes on."""
    return {name: _ask(probe) for name, probe in probes.items()}


def read(root: Path, path: str) -> str:
    """The text of `path` under `root`, stripped; raises `NotKnown` where it cannot be read."""
    try:
        return (root / path).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError as error:
        raise NotKnown(f"/{path}: {error.strerror or type(error).__name__}") from error


def _ask(probe: Callable[[], Any]) -> Any:
    try:
        return probe()
    except NotKnown as error:
        return unavailable(str(error))
    except (OSError, LookupError, ValueError) as error:
        # A kernel, or a platform, that writes something we have not seen.
        return unavailable(f"not understood ({type(error).__name__})")
