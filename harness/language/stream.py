"""Text as tokens come, never a broken character.

A character of several bytes may be split over tokens; what is incomplete is held back. Knows ids
and a `decode`; knows nothing of models or stop rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

BROKEN = "\N{REPLACEMENT CHARACTER}"  # what `decode` gives for incomplete or invalid UTF-8


class StreamDecoder:
    """Turn ids into text piece by piece.

    The pieces, the one of `finish` included, concatenate to `decode` of all ids: exactly for a
    byte-level tokenizer, and for one whose decoder looks no further back than the last token that
    ended in a whole character.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._context: list[int] = []  # whole characters, given out; decoders may look back at it
        self._window: list[int] = []  # ids since then
        self._given = 0  # characters of the window's text that were given out

    def push(self, token_id: int) -> str:
        """The text that `token_id` completes; empty while a character is incomplete."""
        self._window.append(token_id)
        text = self._window_text()
        # A tail of U+FFFD may be the beginning of a character, or really U+FFFD: later ids tell.
        whole = text.rstrip(BROKEN)
        piece = whole[self._given :]
        if len(whole) == len(text):
            self._context, self._window, self._given = self._window, [], 0
        else:
            self._given = max(self._given, len(whole))
        return piece

    def finish(self) -> str:
        """What was held back, as it is: no more ids will come. The decoder starts anew."""
        piece = self._window_text()[self._given :]
        self._context, self._window, self._given = [], [], 0
        return piece

    def _window_text(self) -> str:
        if not self._window:
            return ""
        before = self._decode(self._context) if self._context else ""
        return self._decode(self._context + self._window)[len(before) :]
