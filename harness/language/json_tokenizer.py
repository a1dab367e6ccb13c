"""The JSON files of the `tokenizers` library.

Those are the 20B tokenizer of the Pile and Raven models, and the quickstart model's own. Knows
nothing of paths; `tokenizer.py` reads the file and says where it lies.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import tokenizers

from harness.errors import TokenizerError
from harness.language.base import Tokenizer, as_utf8, check_ids


class JsonTokenizer(Tokenizer):
    """A tokenizer of the `tokenizers` library. Special tokens in a text become their ids."""

    def __init__(self, inner: tokenizers.Tokenizer, *, sha256: str) -> None:
        # A file may ask for truncation or padding, which would change a prompt without a word.
        inner.no_truncation()
        inner.no_padding()
        self._inner = inner
        highest = max(inner.get_vocab(with_added_tokens=True).values(), default=-1)
        super().__init__(n_vocab=1 + highest, sha256=sha256)

    def encode(self, text: str) -> list[int]:
        """The ids of `text` and nothing else. Raises BadInput for half of a surrogate pair."""
        as_utf8(text)  # only to refuse what the library would not
        ids: list[int] = self._inner.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special tokens included; broken UTF-8 becomes U+FFFD.

        Raises TokenizerError for an id that is not in the vocabulary (the library leaves such ids
        out without a word).
        """
        check_ids(ids, self.n_vocab, self.n_vocab)
        text: str = self._inner.decode(ids, skip_special_tokens=False)
        return text


def parse_json(data: bytes, text: str) -> JsonTokenizer:
    """The tokenizer of a file of `data`, which reads `text`.

    Raises TokenizerError, whose message goes on after the file's path: "is not JSON".
    """
    try:
        spec = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"is not JSON: {error}") from error
    if not isinstance(spec, dict) or not isinstance(spec.get("model"), dict):
        raise TokenizerError(f"is {_other_json(spec)}")
    try:
        inner = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing more exact
        raise TokenizerError(
            f"is not a tokenizer that tokenizers {tokenizers.__version__} can read: "
            f"{error}. If a newer release wrote it, install that one"
        ) from error
    tokenizer = JsonTokenizer(inner, sha256=hashlib.sha256(data).hexdigest())
    if tokenizer.n_vocab == 0:
        raise TokenizerError("is a tokenizer without a single token")
    return tokenizer


def _other_json(spec: object) -> str:
    if isinstance(spec, dict) and "tokenizer_class" in spec:
        return "the settings that lie beside a tokenizer; the file itself is often tokenizer.json"
    if isinstance(spec, dict) and spec and all(isinstance(i, int) for i in spec.values()):
        return "a bare vocabulary, without the rules that split text"
    return "JSON, but not a tokenizer: it has no `model`"
