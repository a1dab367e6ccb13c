"""Text to token ids and back, over the `tokenizers` library.

Knows the JSON files of that library (the 20B tokenizer of the Pile and Raven models, and the
quickstart model's own). Knows nothing of models, prompts or streams; `stream.py` shows text while
tokens come.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import tokenizers

from harness.errors import BadInput, TokenizerError

WANTED = (
    "What is wanted is a JSON file of the `tokenizers` library, such as 20B_tokenizer.json for the "
    "Pile and Raven models; it is published beside the weights."
)
# A model's output may be wider than its vocabulary, to a round number; not by more than this.
MOST_PADDING = 512
_MOST_BYTES = 256 * 2**20  # the largest tokenizers in use are a tenth of this
_WORLD_LINE = re.compile(r"\d+ b?(['\"]).*\1 \d+\s*")


class Tokenizer:
    """A loaded tokenizer file. Make one with `load_tokenizer`.

    `n_vocab` is the highest id plus one; `sha256` identifies the file's content.
    """

    def __init__(self, inner: tokenizers.Tokenizer, *, sha256: str) -> None:
        # A file may ask for truncation or padding, which would change a prompt without a word.
        inner.no_truncation()
        inner.no_padding()
        self._inner = inner
        self.sha256 = sha256
        self.n_vocab: int = 1 + max(inner.get_vocab(with_added_tokens=True).values(), default=-1)

    def encode(self, text: str) -> list[int]:
        """The ids of `text` and nothing else: no token is added at either end.

        Raises BadInput for text that is not Unicode (half of a surrogate pair).
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise BadInput(
                f"The text has a lone surrogate at character {error.start}, which is not "
                "Unicode. Save it as UTF-8 and try again."
            ) from error
        ids: list[int] = self._inner.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special tokens included; broken UTF-8 becomes U+FFFD.

        Raises TokenizerError for an id that is not in the vocabulary (the library leaves such ids
        out without a word).
        """
        for i in (min(ids), max(ids)) if len(ids) else ():
            if not 0 <= i < self.n_vocab:
                raise TokenizerError(
                    f"Token {i} is not in the tokenizer, which has {self.n_vocab:,} tokens. "
                    "Does this tokenizer belong to this model?"
                )
        text: str = self._inner.decode(ids, skip_special_tokens=False)
        return text

    def check_fits(self, n_vocab: int) -> None:
        """Raise TokenizerError unless this can be the tokenizer of a model with `n_vocab` logits.

        The model may be wider by some padding, never narrower.
        """
        if not self.n_vocab <= n_vocab <= self.n_vocab + MOST_PADDING:
            raise TokenizerError(
                f"The tokenizer has {self.n_vocab:,} tokens and the model {n_vocab:,}: they do "
                "not belong together. Pile and Raven models (50,277) take 20B_tokenizer.json."
            )


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read a tokenizer file.

    Raises TokenizerError where it is missing or is something else, saying what it is.
    """
    path = Path(path)
    data = _read(path)
    text = _as_text(path, data)
    _check_is_tokenizer(path, text)
    try:
        inner = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing more exact
        raise TokenizerError(
            f"{path} is not a tokenizer that tokenizers {tokenizers.__version__} can read: "
            f"{error}. If a newer release wrote it, install that one. {WANTED}"
        ) from error
    tokenizer = Tokenizer(inner, sha256=hashlib.sha256(data).hexdigest())
    if tokenizer.n_vocab == 0:
        raise TokenizerError(f"{path} is a tokenizer without a single token. {WANTED}")
    return tokenizer


def _read(path: Path) -> bytes:
    """The bytes of a file that could be a tokenizer; weights are refused by their first bytes."""
    try:
        with path.open("rb") as file:
            kind = _weights_kind(file.read(16))
            if kind is not None:
                raise TokenizerError(f"{path} is {kind}, not a tokenizer. {WANTED}")
            file.seek(0)
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise TokenizerError(f"There is no tokenizer file {path}. {WANTED}") from error
    except OSError as error:
        raise TokenizerError(f"Cannot read {path}: {error.strerror}. {WANTED}") from error
    if len(data) > _MOST_BYTES:
        raise TokenizerError(f"{path} is too large for a tokenizer (over 256 MiB). {WANTED}")
    return data


def _weights_kind(head: bytes) -> str | None:
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return "a model file (PyTorch weights)"
    if head.startswith((b"GGUF", b"fmgg", b"tjgg", b"lmgg")):
        return "a model file (ggml weights)"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32:
        return "a model file (safetensors weights)"
    return None


def _as_text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path} is not JSON: it is not even text. {WANTED}") from error


def _check_is_tokenizer(path: Path, text: str) -> None:
    try:
        spec = json.loads(text)
    except (ValueError, RecursionError) as error:
        if _WORLD_LINE.fullmatch(text.partition("\n")[0]):
            raise TokenizerError(
                f"{path} is a vocabulary of the World models, which cannot be read yet. {WANTED}"
            ) from error
        raise TokenizerError(f"{path} is not JSON: {error}. {WANTED}") from error
    if isinstance(spec, dict) and isinstance(spec.get("model"), dict):
        return
    kind = "JSON, but not a tokenizer: it has no `model`"
    if isinstance(spec, dict) and "tokenizer_class" in spec:
        kind = "the settings that lie beside a tokenizer; the file itself is often tokenizer.json"
    elif isinstance(spec, dict) and spec and all(isinstance(i, int) for i in spec.values()):
        kind = "a bare vocabulary, without the rules that split text"
    raise TokenizerError(f"{path} is {kind}. {WANTED}")
