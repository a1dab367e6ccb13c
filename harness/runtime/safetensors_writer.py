"""Writes a safetensors file tensor by tensor: the header first, since all shapes are known.

The library's own writer wants all tensors in memory at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import BinaryIO

import torch

from harness.runtime.dtypes import NAMES
from harness.runtime.stored import StoredTensor

_WORDS = {"fp32": "F32", "fp16": "F16", "bf16": "BF16", "uint8": "U8"}


class SafetensorsWriter:
    """Takes the tensors in the order in which they were announced."""

    def __init__(
        self, file: BinaryIO, tensors: Mapping[str, StoredTensor], metadata: Mapping[str, str]
    ) -> None:
        self._file = file
        self._pending = iter(tensors.items())
        entries: dict[str, object] = {"__metadata__": dict(metadata)}
        start = 0
        for name, tensor in tensors.items():
            entries[name] = {
                "dtype": _WORDS[tensor.dtype],
                "shape": list(tensor.shape),
                "data_offsets": [start, start + tensor.nbytes],
            }
            start += tensor.nbytes
        header = json.dumps(entries, separators=(",", ":")).encode()
        header += b" " * (-len(header) % 8)  # the format wants the data aligned
        file.write(len(header).to_bytes(8, "little") + header)

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Append one tensor."""
        announced, form = next(self._pending)
        assert (announced, form.dtype, form.shape) == (
            name,
            NAMES[tensor.dtype],
            tuple(tensor.shape),
        )
        self._file.write(raw_bytes(tensor))

    def finish(self) -> None:
        """Check that nothing is missing."""
        assert next(self._pending, None) is None


def raw_bytes(tensor: torch.Tensor) -> memoryview:
    """The numbers of a CPU tensor as they lie in a file, in row-major order."""
    flat = tensor.contiguous().flatten()
    return memoryview(flat.view(torch.uint8).numpy())  # type: ignore[arg-type]
