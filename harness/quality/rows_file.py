"""A file of a reference's log-probabilities: rows [n, V] in float32 of each passage, by its key.

A safetensors file, written chunk after chunk, and read by mapping it: neither side ever holds more
rows than it works on. Knows keys and numbers; nothing of passages, models or caches.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from harness.errors import HarnessError

Rows = npt.NDArray[np.float32]

_ITEM = 4  # bytes of a float32
_MOST_HEADER_BYTES = 2**27
_FORMAT = "rwkv-harness reference rows 1"


class RowsWriter:
    """Takes the rows of all keys one after the other, in the order in which they were announced."""

    def __init__(
        self, file: BinaryIO, rows: Mapping[str, int], n_vocab: int, metadata: Mapping[str, str]
    ) -> None:
        self._file = file
        self._n_vocab = n_vocab
        self._left = sum(rows.values())
        entries: dict[str, object] = {"__metadata__": {**metadata, "format": _FORMAT}}
        start = 0
        for key, n in rows.items():
            end = start + n * n_vocab * _ITEM
            entries[key] = {"dtype": "F32", "shape": [n, n_vocab], "data_offsets": [start, end]}
            start = end
        header = json.dumps(entries, separators=(",", ":")).encode()
        header += b" " * (-len(header) % 8)  # the format wants the data aligned
        file.write(len(header).to_bytes(8, "little") + header)

    def write(self, rows: Rows) -> None:
        """Append rows [n, V]."""
        assert rows.shape[1] == self._n_vocab
        self._left -= len(rows)
        self._file.write(np.ascontiguousarray(rows, dtype="<f4").data)

    def finish(self) -> None:
        """Check that nothing is missing, and nothing too much."""
        assert self._left == 0, self._left


class RowsFile:
    """What such a file holds. Raises `HarnessError` for a file that is none, or not whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = file.read(length) if length <= _MOST_HEADER_BYTES else b""
            entries: dict[str, Any] = json.loads(header.decode("utf-8"))
            self.metadata: dict[str, str] = entries.pop("__metadata__")
            self._places = {
                key: (8 + length + entry["data_offsets"][0], *entry["shape"])
                for key, entry in entries.items()
                if entry["dtype"] == "F32"
            }
            ends = [at + n * n_vocab * _ITEM for at, n, n_vocab in self._places.values()]
            whole = max(ends, default=0) <= path.stat().st_size
        except OSError as error:
            raise HarnessError(f"{path}: cannot be read ({error.strerror or error})") from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise HarnessError(f"{path}: not a file of reference rows; remove it") from error
        if not whole or self.metadata.get("format") != _FORMAT:
            raise HarnessError(f"{path}: not a whole file of reference rows; remove it")

    @property
    def keys(self) -> frozenset[str]:
        """The passages that are in it."""
        return frozenset(self._places)

    def rows(self, key: str) -> Rows:
        """Rows [n, V] of one passage, read from the file as they are looked at."""
        offset, n, n_vocab = self._places[key]
        if not n * n_vocab:
            return np.empty((n, n_vocab), dtype=np.float32)
        return np.memmap(self.path, dtype="<f4", mode="r", offset=offset, shape=(n, n_vocab))


def rows_bytes(rows: Mapping[str, int], n_vocab: int) -> int:
    """Bytes of a file with these passages, its header counted generously."""
    return sum(rows.values()) * n_vocab * _ITEM + 4096 * math.ceil((len(rows) + 1) / 16)
