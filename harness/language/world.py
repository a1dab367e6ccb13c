"""The tokenizer of the World models: the longest match, byte by byte.

A vocabulary is lines of `index literal length`: a Python string or bytes literal, and its length in
bytes as UTF-8. Text becomes the longest token that it begins with, then the longest that the rest
begins with, and so on. Token 0 ends a text; no line names it and no text holds it.

Knows the content of a vocabulary; knows nothing of paths, models or prompts. The vocabulary is not
part of this project: `discover.py` says where it may be.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Sequence

from harness.errors import TokenizerError
from harness.language.base import MOST_PADDING, Tokenizer, as_utf8, check_ids
from harness.language.trie import LongestMatch

END_OF_TEXT = 0
_UNNAMED = b"\xff"  # in no UTF-8, so that an id without a token reads as U+FFFD
_MOST_TOKENS = 2**20

_LINE = re.compile(r"([0-9]{1,9}) (.+) ([0-9]{1,9})", re.DOTALL)
# One literal and nothing else, with escapes that Python knows: what is evaluated is no expression.
_ESCAPE = r"\\[\\'\"abfnrtv0-7xuUN]"
_LITERAL = re.compile(rf"""b?(?:'(?:[^'\\]|{_ESCAPE})*'|"(?:[^"\\]|{_ESCAPE})*")""", re.DOTALL)
_PLAIN = re.compile(r"""'([^'\\]*)'|"([^"\\]*)\"""", re.DOTALL)


class WorldTokenizer(Tokenizer):
    """A loaded vocabulary of the World models.

    `tokens` are the bytes of each id; there may be gaps. Raises TokenizerError where two ids have
    the same bytes or a byte is no token, so that not every text could be encoded.
    """

    def __init__(self, tokens: dict[int, bytes], *, sha256: str) -> None:
        super().__init__(n_vocab=1 + max(tokens, default=-1), sha256=sha256)
        ids = {token: i for i, token in tokens.items() if i != END_OF_TEXT}
        missing = [byte for byte in range(256) if bytes([byte]) not in ids]
        if missing:
            raise TokenizerError(
                f"has no token for the byte {missing[0]:#04x}"
                + (f" and {len(missing) - 1} others" if len(missing) > 1 else "")
                + ": it is incomplete"
            )
        self._longest_match = LongestMatch(ids)
        # Models have some logits more than tokens (65,536), and may draw them.
        self._bytes = [tokens.get(i, _UNNAMED) for i in range(self.n_vocab + MOST_PADDING)]
        self._bytes[END_OF_TEXT] = b""

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, never token 0. Raises BadInput for half of a surrogate pair."""
        return self.encode_bytes(as_utf8(text))

    def encode_bytes(self, data: bytes) -> list[int]:
        """The ids of any bytes, UTF-8 or not."""
        return self._longest_match(data)

    def forget_words(self) -> None:
        """Drop what was remembered of earlier texts, as for a measurement of the first one."""
        self._longest_match.forget_words()

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; each part that is not UTF-8 becomes U+FFFD.

        Token 0 is no text; an id without a token, as a model's padding has, is U+FFFD. (The
        official package gives one U+FFFD for the whole where anything in it is not UTF-8, and for
        token 0.) Raises TokenizerError for an id beyond a model's padding.
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes of `ids`, of which a character's may lie in several tokens."""
        check_ids(ids, len(self._bytes), self.n_vocab)
        return b"".join([self._bytes[i] for i in ids])


def looks_like_world(text: str) -> bool:
    """Whether a file's first line is that of a World vocabulary."""
    return _parts(text.partition("\n")[0]) is not None


def parse_world(data: bytes, text: str) -> WorldTokenizer:
    """The tokenizer of a file of `data`, which reads `text`.

    Raises TokenizerError, whose message goes on after the file's path: "has in line 7 …".
    """
    tokens: dict[int, bytes] = {}
    lines_of: dict[bytes, int] = {}
    # Not splitlines: a literal may hold what that takes for the end of a line.
    for number, line in enumerate(text.rstrip("\r\n").split("\n"), 1):
        parts = _parts(line)
        if parts is None:
            raise TokenizerError(
                f"has in line {number} {_short(line)}, which is not `index literal length`"
            )
        index, token = parts[0], _token(number, *parts[1:])
        if index in tokens:
            raise TokenizerError(f"has in line {number} the index {index} for the second time")
        if index >= _MOST_TOKENS:
            raise TokenizerError(f"has in line {number} the index {index}, which is too large")
        if lines_of.setdefault(token, number) != number:
            raise TokenizerError(
                f"has in line {number} the token of line {lines_of[token]} once more"
            )
        tokens[index] = token
    return WorldTokenizer(tokens, sha256=hashlib.sha256(data).hexdigest())


def _parts(line: str) -> tuple[int, str, int] | None:
    """Index, literal and length of a line; None where it has no such parts."""
    match = _LINE.fullmatch(line.rstrip("\r"))
    return (int(match[1]), match[2], int(match[3])) if match else None


def _token(number: int, literal: str, length: int) -> bytes:
    """The bytes that a literal in line `number` stands for."""
    plain = _PLAIN.fullmatch(literal)  # most are: no need to let Python parse them
    token = (plain[1] or plain[2] or "").encode() if plain else _evaluated(number, literal)
    if not token:
        raise TokenizerError(f"has in line {number} an empty token")
    if len(token) != length:
        raise TokenizerError(
            f"has in line {number} the token {_short(literal)} of {len(token)} bytes, "
            f"but says {length}"
        )
    return token


def _evaluated(number: int, literal: str) -> bytes:
    problem = f"has in line {number} {_short(literal)}, which is not a Python string or bytes"
    if not _LITERAL.fullmatch(literal):
        raise TokenizerError(problem)
    try:
        value = ast.literal_eval(literal)
        return value if isinstance(value, bytes) else value.encode("utf-8")
    except (ValueError, SyntaxError) as error:
        raise TokenizerError(problem) from error


def _short(text: str) -> str:
    """A part of a file, as it may stand in a message."""
    return ascii(text if len(text) <= 60 else text[:59] + "…")
