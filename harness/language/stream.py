"""Text as tokens come, never a broken character.

A character of several bytes may be split over tokens; what is incomplete is held back. Knows ids
and a `decode`; knows nothing of models or stop rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

BROKEN = "\N{REPLACEMENT CHARACTER}"  # what `decode` gives for incomplete or invalid UTF-8
# Of a character of four bytes three may be there, and some decoders show each of them as broken.
MOST_HELD = 3
# Ids that are looked back at, since decoders may need the one before: more than can spell what is
# held (three characters of up to three bytes) and find the beginning of a character before it.
_CONTEXT = 16


class StreamDecoder:
    """Turn ids into text piece by piece.

    The pieces, the one of `finish` included, concatenate to `decode` of all ids: exactly for a
    byte-level tokenizer, and for one whose decoder looks no further back than some tokens. At most
    the last `MOST_HELD` broken characters are held back, so that bytes which never become a
    character are shown too, as broken.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []  # the last ones
        self._given = 0  # characters of their text that were given out

    def push(self, token_id: int) -> str:
        """The text that `token_id` completes; empty while a character is incomplete."""
        self._ids.append(token_id)
        text = self._decode(self._ids)
        # A tail of U+FFFD may be the beginning of a character, or really U+FFFD: later ids tell.
        certain = max(len(text.rstrip(BROKEN)), len(text) - MOST_HELD)
        piece = text[self._given : certain]
        self._given = max(self._given, certain)
        if len(self._ids) >= 2 * _CONTEXT:
            held = len(text) - self._given
            self._ids = self._ids[-_CONTEXT:]
            # Another beginning may read otherwise, the end reads the same.
            self._given = len(self._decode(self._ids)) - held
        return piece

    def finish(self) -> str:
        """What was held back, as it is: no more ids will come. The decoder starts anew."""
        piece = self._decode(self._ids)[self._given :] if self._ids else ""
        self._ids, self._given = [], 0
        return piece
