"""One problem of a study or question file, and the words that help to mend it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """`file:line: key: text`, each part as the user knows it."""

    file: str
    line: int | None
    key: str  # models.raven.weights, strategies[2]; empty for the file as a whole
    text: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.key}: {self.text}" if self.key else f"{place}: {self.text}"


def nearest(word: str, allowed: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the closest of `allowed`, or nothing when none is close."""
    name = closest(word, allowed)
    return "" if name is None else f" Did you mean '{name}'?"


def closest(word: str, allowed: Iterable[str]) -> str | None:
    """The one of `allowed` that is the most like `word`; None when none is close."""
    folded = {name.lower(): name for name in allowed}
    close = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def listed(names: Iterable[str]) -> str:
    """The names, joined by commas."""
    return ", ".join(names)


def shown(value: Any) -> str:
    """A value of a YAML file in one short line."""
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if value is None:
        return "nothing"
    if isinstance(value, str):
        if not value:
            return "an empty text"
        short = value if len(value) <= _LONGEST else value[: _LONGEST - 1] + "…"
        return "'" + "".join(_visible(character) for character in short) + "'"
    return json.dumps(value)


def _visible(character: str) -> str:
    """Line breaks, control characters and halves of surrogate pairs as their escapes."""
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
