"""Reads a tokenizer file, of whichever kind it is.

Knows files and how the kinds are told apart: by content, never by name. What a kind says is for
`json_tokenizer.py` and `world.py`; what all can do is in `base.py`.
"""

from __future__ import annotations

from pathlib import Path

from harness.errors import TokenizerError
from harness.language.base import Tokenizer
from harness.language.json_tokenizer import parse_json
from harness.language.world import looks_like_world, parse_world

__all__ = ["Tokenizer", "load_tokenizer"]

WANTED = (
    "What is wanted is 20B_tokenizer.json for Pile and Raven models, or another JSON file of the "
    "`tokenizers` library; for World models rwkv_vocab_v20230424.txt. They are published beside "
    "the weights."
)
_MOST_BYTES = 256 * 2**20  # the largest tokenizers in use are a tenth of this


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read a tokenizer file: JSON of the `tokenizers` library, or a vocabulary of World models.

    Raises TokenizerError where it is missing or is something else, saying what it is.
    """
    path = Path(path)
    data = _read(path)
    text = _as_text(path, data)
    parse = parse_world if looks_like_world(text) else parse_json
    try:
        return parse(data, text)
    except TokenizerError as error:
        raise TokenizerError(f"{path} {error}. {WANTED}") from error


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
        raise TokenizerError(f"{path} is not a tokenizer: it is not even text. {WANTED}") from error
