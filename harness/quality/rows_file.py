"""A file of a reference's log-probabilities: rows [n, V] in float32 of each passage, by its key.

A safetensors file, written chunk after chunk, and read by mapping parts of it: neither side ever
holds more rows than it works on. Only log-probabilities go in, so what comes out otherwise is
damaged. A checksum of each passage finds all other damage when that is read as a whole; files of
earlier releases have none. That the file is whole is seen when it is opened, and again whenever a
part is mapped. One that is cut short while a part is looked at would end the process, as mapped
files do: so files are only ever replaced or removed whole. Knows keys and numbers; nothing of
passages, models or caches.
"""

from __future__ import annotations

import json
import math
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import index
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from harness.errors import ReferenceUnusable
from harness.quality.tokens import check_reference

Rows = npt.NDArray[np.float32]

CHUNK = 64  # rows that are mapped at once
_ITEM = 4  # bytes of a float32
_NEAR = 1e-3  # to a sum of 1, to which float32 comes a hundred times as near
_MOST_HEADER_BYTES = 2**27
_FORMAT = "rwkv-harness reference rows 1"
_CHECKSUMS = "crc32"  # in the metadata: eight digits for each passage, in their order


class RowsWriter:
    """Takes the rows of all keys one after the other, in the order in which they were announced."""

    def __init__(
        self, file: BinaryIO, rows: Mapping[str, int], n_vocab: int, metadata: Mapping[str, str]
    ) -> None:
        self._file, self._begin = file, file.tell()
        self._n_vocab = n_vocab
        self._rows, self._metadata = dict(rows), metadata
        self._sums = dict.fromkeys(rows, 0)
        self._left = sum(rows.values())
        self._coming = deque((key, n) for key, n in rows.items() if n)
        file.write(self._header())

    def _header(self) -> bytes:
        """As long with any checksums as with those that are known at the end."""
        sums = "".join(f"{one:08x}" for one in self._sums.values())
        entries: dict[str, object] = {
            "__metadata__": {**self._metadata, "format": _FORMAT, _CHECKSUMS: sums}
        }
        start = 0
        for key, n in self._rows.items():
            end = start + n * self._n_vocab * _ITEM
            shape = [n, self._n_vocab]
            entries[key] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
            start = end
        header = json.dumps(entries, separators=(",", ":")).encode()
        header += b" " * (-len(header) % 8)  # the format wants the data aligned
        return len(header).to_bytes(8, "little") + header

    def write(self, rows: Rows) -> None:
        """Append rows [n, V]; raises `ReferenceUnusable` for what is not finite."""
        assert rows.shape[1] == self._n_vocab
        check_reference(rows)
        data = np.ascontiguousarray(rows, dtype="<f4")
        self._file.write(data.data)
        self._left -= len(data)
        while len(data) and self._coming:
            key, left = self._coming.popleft()
            part, data = data[:left], data[left:]
            self._sums[key] = zlib.crc32(part.data, self._sums[key])
            if len(part) < left:
                self._coming.appendleft((key, left - len(part)))

    def finish(self) -> None:
        """Check that nothing is missing, and nothing too much; put down the checksums."""
        assert self._left == 0, self._left
        end = self._file.tell()
        self._file.seek(self._begin)
        self._file.write(self._header())
        self._file.seek(end)


class RowsFile:
    """What such a file holds. Raises `ReferenceUnusable` for one that is none, or not whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = file.read(length) if length <= _MOST_HEADER_BYTES else b""
            entries: dict[str, Any] = json.loads(header.decode("utf-8"))
            self.metadata: dict[str, str] = entries.pop("__metadata__")
            self._places: dict[str, tuple[int, int, int]] = {}
            end = 8 + length
            is_whole = self.metadata.get("format") == _FORMAT
            for key, entry in entries.items():
                n, n_vocab = map(index, entry["shape"])
                start, end = end, end + n * n_vocab * _ITEM
                offsets = [8 + length + index(offset) for offset in entry["data_offsets"]]
                is_whole &= entry["dtype"] == "F32" and offsets == [start, end] and n_vocab > 0 <= n
                self._places[key] = (start, n, n_vocab)
            is_whole &= path.stat().st_size == end
            self._sums = _checksums(self.metadata.get(_CHECKSUMS), list(self._places))
        except OSError as error:
            raise ReferenceUnusable(
                f"{path}: cannot be read ({error.strerror or error})"
            ) from error
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ReferenceUnusable(f"{path}: not a file of reference rows; remove it") from error
        if not is_whole:
            raise ReferenceUnusable(f"{path}: not a whole file of reference rows; remove it")

    @property
    def keys(self) -> frozenset[str]:
        """The passages that are in it."""
        return frozenset(self._places)

    @property
    def n_rows(self) -> int:
        """How many rows all of them have together."""
        return sum(n for _, n, _ in self._places.values())

    def has(self, key: str, n: int, n_vocab: int) -> bool:
        """Whether rows [n, V] of a passage are in it."""
        return self._places.get(key, ())[1:] == (n, n_vocab)

    def rows(self, key: str) -> StoredRows:
        """Rows [n, V] of one passage, in the file. Raises `ReferenceUnusable` where it has none."""
        if key not in self._places:
            raise ReferenceUnusable(f"{self.path}: has not the rows that were looked for in it")
        return StoredRows(self.path, *self._places[key], checksum=self._sums.get(key))


class StoredRows:
    """Rows [n, V] in a file, mapped a few at a time: what was looked at does not stay in memory."""

    def __init__(
        self, path: Path, offset: int, n: int, n_vocab: int, *, checksum: int | None = None
    ) -> None:
        self.shape = (n, n_vocab)
        self._path = path
        self._offset = offset
        self._checksum = checksum

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, wanted: slice) -> Rows:
        """Some of the rows, one after the other.

        Raises `ReferenceUnusable` where the file has gone, was cut short or is damaged.
        """
        n_vocab = self.shape[1]
        start, end, step = wanted.indices(len(self))
        assert step == 1
        shape = (max(0, end - start), n_vocab)
        if not shape[0]:
            return np.empty(shape, dtype=np.float32)
        offset = self._offset + start * n_vocab * _ITEM
        try:
            rows = np.memmap(self._path, dtype="<f4", mode="r", offset=offset, shape=shape)
        except (OSError, ValueError) as error:  # ValueError: shorter than it was
            raise ReferenceUnusable(
                f"{self._path}: cannot be read any more ({getattr(error, 'strerror', 0) or error})"
            ) from error
        bad = _damaged(rows)
        if bad:
            raise ReferenceUnusable(
                f"{self._path}: damaged, {bad:,} of {len(rows):,} rows hold no probabilities. "
                "Remove it; it is computed again."
            )
        return rows

    def check(self, on_wait: Callable[[], None] | None = None) -> None:
        """Read all rows; raises `ReferenceUnusable` where they are not those that were written."""
        found = 0
        for start in range(0, len(self), CHUNK):
            found = zlib.crc32(self[start : start + CHUNK].data, found)
            if on_wait is not None:
                on_wait()
        if self._checksum is not None and found != self._checksum:
            raise ReferenceUnusable(
                f"{self._path}: damaged, its numbers are others than were written. Remove it; it "
                "is computed again."
            )

    def __iter__(self) -> Iterator[Rows]:
        """Row by row."""
        for start in range(0, len(self), CHUNK):
            yield from self[start : start + CHUNK]


def _damaged(rows: Rows) -> int:
    """How many rows are no log-probabilities: not finite, zeros, or other bytes."""
    with np.errstate(over="ignore"):
        total = np.exp(rows).sum(axis=1, dtype=np.float64)
    return int((~(np.abs(total - 1) < _NEAR) | ~np.isfinite(rows).all(axis=1)).sum())


def _checksums(digits: str | None, keys: Sequence[str]) -> dict[str, int]:
    """Of each passage, where the file has them. Raises `ValueError` where they are none."""
    if digits is None:
        return {}
    sums = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    return dict(zip(keys, sums, strict=True))


def rows_bytes(rows: Mapping[str, int], n_vocab: int) -> int:
    """Bytes of a file with these passages, its header counted generously."""
    return sum(rows.values()) * n_vocab * _ITEM + 4096 * math.ceil((len(rows) + 1) / 16)
