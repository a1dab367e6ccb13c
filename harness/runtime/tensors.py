"""Where a model's original tensors come from: a checkpoint file, read one byte range at a time."""

from __future__ import annotations

from typing import BinaryIO, Protocol

import torch

from harness.errors import CheckpointError
from harness.runtime.checkpoint import Header
from harness.runtime.dtypes import TORCH_DTYPES
from harness.runtime.shape import ModelShape
from harness.runtime.strategy import UINT8
from harness.runtime.tensor_info import TensorInfo

_READABLE = {**TORCH_DTYPES, UINT8: torch.uint8}


class TensorSource(Protocol):
    """Original RWKV-4 tensors by their names in an original checkpoint."""

    shape: ModelShape

    def read(self, name: str) -> torch.Tensor:
        """A fresh, contiguous tensor on the CPU, in the dtype of the source."""

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
        info = self._header.tensors[name]
        if info.dtype not in TORCH_DTYPES:
            raise CheckpointError(
                f"{self._header.path}: '{name}' holds {info.dtype} numbers. An original checkpoint "
                f"holds {', '.join(TORCH_DTYPES)}."
            )
        return self._file.read(name)

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
        info = self._header.tensors[name]
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
