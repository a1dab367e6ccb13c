"""Where an answer ends.

Knows text and stop strings; knows nothing of tokens' text, models or sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import BadInput


@dataclass(frozen=True)
class StopRules:
    """An answer ends before any of `strings`, and at any of `tokens` (ids).

    Raises BadInput for an empty string, which would end every answer before it began.
    """

    strings: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if "" in self.strings:
            raise BadInput("A stop string is empty; write its text, or leave it out.")


class StopMatcher:
    """Lets text through up to the first stop string, however the text is cut into pieces.

    First is the one that is complete first; of two that end together, the longer.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = tuple(strings)
        self._held = ""  # may be the beginning of a stop string
        self.found: str | None = None

    def push(self, piece: str) -> str:
        """The text that is certain now. Once `found` is set, nothing more comes through."""
        if self.found is not None:
            return ""
        text = self._held + piece
        ends = [(text.find(s) + len(s), -len(s), s) for s in self._strings if s in text]
        if ends:
            end, _, self.found = min(ends)
            self._held = ""
            return text[: end - len(self.found)]
        held = max((_overlap(text, s) for s in self._strings), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def finish(self) -> str:
        """What was held back: no more text will come, so it is no stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """How many of the last characters of `text` may be the beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
