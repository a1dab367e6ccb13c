"""Writes the random weights of `random:SIZE` to a file, in the layout of an original checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from harness.runtime.dtypes import NAMES
from harness.runtime.output_file import replacing
from harness.runtime.pth_writer import PthWriter
from harness.runtime.safetensors_writer import SafetensorsWriter
from harness.runtime.shape import ModelShape, original_tensors
from harness.runtime.stored import StoredTensor
from harness.runtime.synthetic import RandomSource

_SLACK_BYTES = 2**20  # for the file's header


def save_random(
    path: Path,
    shape: ModelShape,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.bfloat16,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Write a `.pth`, or a `.safetensors` where the name says so, one tensor at a time.

    `on_progress` hears of the bytes written and of all. Raises `HarnessError` for a full disk.
    """
    source = RandomSource(shape, seed, dtype)
    tensors = {
        name: StoredTensor(dtype=NAMES[dtype], shape=size)
        for name, size in original_tensors(shape).items()
    }
    total = sum(tensor.nbytes for tensor in tensors.values())
    done = 0
    with replacing(path, total + _SLACK_BYTES) as file:
        writer: PthWriter | SafetensorsWriter
        if path.suffix == ".safetensors":
            writer = SafetensorsWriter(file, tensors, {"format": "pt"})
        else:
            writer = PthWriter(file, tensors, {})
        for name, tensor in tensors.items():
            writer.write(name, source.read(name))
            done += tensor.nbytes
            on_progress(done, total)
        writer.finish()
