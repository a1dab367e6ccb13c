"""Cuts bytes into tokens, always the longest that fits.

Knows tokens as bytes with their ids; knows nothing of text, files or models.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

_HEAD = 3  # bytes that are looked up at once; a character of most scripts
_OTHER_HEADS = 100_000  # kept, of those that begin no token
# Where text is cut into words, see `_may_be_cut`.
_ENDS_A_WORD = re.compile(rb"[A-Za-z][\x00-@\[-`{-\x7f]")
_SPACE_INSIDE = re.compile(rb"[^\t\n ] ")
_WORDS = re.compile(
    rb"[\t\n ]*[^A-Za-z\t\n ]+(?= )"
    rb"|[^A-Za-z]*[A-Za-z]+(?:[\x80-\xff][^A-Za-z]*[A-Za-z]*)*"
    rb"|[^A-Za-z]+"
)
_REMEMBERED_WORDS = 50_000
_REMEMBERED_BYTES = 64  # of the longest word that is remembered

# A node is [the id of the token that ends here or None, {next byte: node}].
_Node = list[Any]


class LongestMatch:
    """Call it with bytes for their ids; `ids` must have every single byte.

    Three things make it fast, none of which changes what comes out (`longest_match_ref` says what
    that is): three bytes are looked up at once before the trie goes on byte by byte; bytes are cut
    first where no token can lie across, and such a piece is often a token itself; and pieces are
    remembered.
    """

    def __init__(self, ids: Mapping[bytes, int]) -> None:
        self._ids = dict(ids)
        self._long: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for token in self._ids:
            if len(token) > _HEAD:
                self._long[token[:_HEAD]].append(token)
        # By the next bytes: the id and length of the longest token in them, and the trie of longer
        # ones. Made when it is first needed, so that a vocabulary loads at once.
        self._heads: dict[bytes, tuple[int, int, _Node | None]] = {}
        self._words: dict[bytes, list[int]] = {}
        self._cuttable = _may_be_cut(self._ids)

    def __call__(self, data: bytes) -> list[int]:
        """The ids of `data`, whose tokens concatenate to it."""
        found: list[int] = []
        for word in _WORDS.findall(data) if self._cuttable else [data]:
            token = self._ids.get(word)
            if token is not None:
                found.append(token)
            else:
                found.extend(self._words.get(word) or self._remembered(word))
        return found

    def forget_words(self) -> None:
        """Drop what was remembered of earlier texts, as for a measurement of the first one."""
        self._words.clear()

    def _remembered(self, word: bytes) -> list[int]:
        found = self._walk(word)
        if len(word) <= _REMEMBERED_BYTES:
            if len(self._words) == _REMEMBERED_WORDS:
                self._words.clear()
            self._words[word] = found
        return found

    def _walk(self, data: bytes) -> list[int]:
        found: list[int] = []
        heads, start, end = self._heads, 0, len(data)
        while start < end:
            head = data[start : start + _HEAD]
            token, length, node = heads.get(head) or self._head(head)
            at = start + _HEAD
            start += length
            while node is not None and at < end:
                node = node[1].get(data[at])
                at += 1
                if node is not None and node[0] is not None:
                    token, start = node[0], at
            found.append(token)
        return found

    def _head(self, head: bytes) -> tuple[int, int, _Node | None]:
        """What `_heads` has, or will have, for these 1 to 3 bytes."""
        token, longer = self._ids.get(head), self._long.get(head)
        if longer is None and token is None:
            entry = self._heads.get(head[:-1]) or self._head(head[:-1])
            if len(self._heads) > _OTHER_HEADS:  # there may be 16 million
                return entry
        else:
            shorter = (token, len(head), None) if token is not None else self._head(head[:-1])
            entry = (shorter[0], shorter[1], self._trie(longer) if longer else None)
        self._heads[head] = entry
        return entry

    def _trie(self, tokens: list[bytes]) -> _Node:
        """The trie of tokens that share a head, from behind it on."""
        root: _Node = [None, {}]
        for token in tokens:
            node = root
            for byte in token[_HEAD:]:
                node = node[1].setdefault(byte, [None, {}])
            node[0] = self._ids[token]
        return root


def longest_match_ref(ids: Mapping[bytes, int], data: bytes) -> list[int]:
    """The slow twin of `LongestMatch`, read aloud."""
    longest = max(map(len, ids))
    found = []
    while data:
        length = next(n for n in range(longest, 0, -1) if n <= len(data) and data[:n] in ids)
        found.append(ids[data[:length]])
        data = data[length:]
    return found


def _may_be_cut(ids: Mapping[bytes, int]) -> bool:
    """Whether no token lies across a place where `_WORDS` cuts.

    It cuts between a letter and what is neither a letter nor a byte of a longer character, and
    before a space behind anything but a space, tab or newline. In the published vocabulary no
    token holds either.
    """
    joined = b"\x80\n".join(ids)  # where two tokens meet, neither pattern can match
    return not _ENDS_A_WORD.search(joined) and not _SPACE_INSIDE.search(joined)
