"""Where a model's original tensors come from: a checkpoint file, read one byte range at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol

import torch

from harness.errors import CheckpointError
from harness.runtime.checkpoint import Header
from harness.runtime.dtypes import TORCH_DTYPES
from harness.runtime.shape import ModelShape
from harness.runtime.strategy import UINT8
from harness.runtime.tensor_info import TensorInfo

Span = tuple[int, int]  # rows of a matrix: the first one, and the one behind the last
_READABLE = {**TORCH_DTYPES, UINT8: torch.uint8}


class TensorSource(Protocol):
    """Original RWKV-4 tensors by their names in an original checkpoint."""

    shape: ModelShape

    def read(self, name: str) -> torch.Tensor:
        """A fresh, contiguous tensor on the CPU, in the dtype of the source."""

    def rows(self, name: str, spans: Iterable[Span]) -> Iterator[torch.Tensor]:
        """Rows of a matrix, for each span in turn: in ascending order, none twice.

        No other rows are held in memory, where the source allows it.
        """

    def close(self) -> None:
        """Release what the source holds open."""


class FileSource:
    """Tensors of a checkpoint file. Holds one at a time in memory, and never the file."""

    def __init__(self, header: Header) -> None:
        self.shape = header.shape
        self._header = header
        self._file = TensorFile(header)

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor; raises `CheckpointError` where it holds no floating-point numbers."""
        self._require_numbers(name)
        return self._file.read(name)

    def rows(self, name: str, spans: Iterable[Span]) -> Iterator[torch.Tensor]:
        """Read rows of a matrix; raises the same."""
        self._require_numbers(name)
        return self._file.rows(name, spans)

    def _require_numbers(self, name: str) -> None:
        info = self._header.tensors[name]
        if info.dtype not in TORCH_DTYPES:
            raise CheckpointError(
                f"{self._header.path}: '{name}' holds {info.dtype} numbers. An original checkpoint "
                f"holds {', '.join(TORCH_DTYPES)}."
            )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorFile:
    """The tensors of a file, each read when it is asked for."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._file: BinaryIO = header.path.open("rb", buffering=0)

    def read(self, name: str, *, transposed: bool = False) -> torch.Tensor:
        """A fresh, contiguous tensor; `transposed` for a matrix that lies the other way round."""
        return self._read(self._header.tensors[name], name, transposed=transposed)

    def rows(self, name: str, spans: Iterable[Span]) -> Iterator[torch.Tensor]:
        """Rows of a matrix, for each span; read whole, once, where they do not lie apart."""
        info = self._header.tensors[name]
        if info.rows_lie_apart:
            yield from (self._read(info.rows(*span), name) for span in spans)
        else:
            whole = self._read(info, name)
            yield from (whole[start:stop] for start, stop in spans)

    def _read(self, info: TensorInfo, name: str, *, transposed: bool = False) -> torch.Tensor:
        flat = torch.empty(info.span, dtype=_READABLE[info.dtype])
        self._fill(flat, info, name)
        shape, stride = info.shape, info.stride
        if transposed:
            shape, stride = shape[::-1], stride[::-1]
        return flat.as_strided(shape, stride).contiguous()

    def _fill(self, flat: torch.Tensor, info: TensorInfo, name: str) -> None:
        buffer = memoryview(flat.view(torch.uint8).numpy())  # type: ignore[arg-type]
        self._file.seek(info.offset)
        filled = 0
        while filled < len(buffer):
            n = self._file.readinto(buffer[filled:])  # type: ignore[attr-defined]
            if not n:
                raise CheckpointError(
                    f"{self._header.path}: '{name}': the file ended while it was read"
                )
            filled += n

    def close(self) -> None:
        """Close the file."""
        self._file.close()
