"""Where a model's original tensors come from: a checkpoint file, read one byte range at a time."""

from __future__ import annotations

from typing import BinaryIO, Protocol

import torch

from harness.errors import CheckpointError
from harness.runtime.checkpoint import Header
from harness.runtime.dtypes import TORCH_DTYPES
from harness.runtime.shape import ModelShape
from harness.runtime.tensor_info import TensorInfo


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
        self._file: BinaryIO = header.path.open("rb", buffering=0)

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor; raises `CheckpointError` where it holds no floating-point numbers."""
        info = self._header.tensors[name]
        if info.dtype not in TORCH_DTYPES:
            raise CheckpointError(
                f"{self._header.path}: '{name}' holds {info.dtype} numbers. An original checkpoint "
                f"holds {', '.join(TORCH_DTYPES)}."
            )
        return _read_strided(self._file, info, f"{self._header.path}: '{name}'")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _read_strided(file: BinaryIO, info: TensorInfo, what: str) -> torch.Tensor:
    dtype = TORCH_DTYPES[info.dtype]
    flat = torch.empty(info.span, dtype=dtype)
    buffer = memoryview(flat.view(torch.uint8).numpy())  # type: ignore[arg-type]
    file.seek(info.offset)
    filled = 0
    while filled < len(buffer):
        n = file.readinto(buffer[filled:])  # type: ignore[attr-defined]
        if not n:
            raise CheckpointError(f"{what}: the file ended while it was read")
        filled += n
    return flat.as_strided(info.shape, info.stride).contiguous()
