"""Random weights of a given shape: every tensor live, deterministic from a seed and its name.

For speed, where only shapes count, and for tests, where every part must matter. The scales keep
activations near 1, so that no format over- or underflows. Knows nothing of trained models.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator
from math import prod

import numpy as np
import torch

from harness.errors import BadInput
from harness.runtime.shape import RANDOM_SHAPES, ModelShape, original_tensors
from harness.runtime.tensors import Span

PREFIX = "random:"
_DRAWN_AT_ONCE = 2**20  # numbers; bounds the float32 copy


def parse_random(weights: str) -> ModelShape | None:
    """The shape that `random:SIZE` names; None for anything else.

    Raises `BadInput` for an unknown size.
    """
    if not weights.startswith(PREFIX):
        return None
    size = weights[len(PREFIX) :]
    if size not in RANDOM_SHAPES:
        raise BadInput(
            f"'{weights}' names no size; allowed are {', '.join(PREFIX + s for s in RANDOM_SHAPES)}"
        )
    return RANDOM_SHAPES[size]


class RandomSource:
    """A `TensorSource` of random tensors, made when they are asked for."""

    def __init__(
        self, shape: ModelShape, seed: int = 0, dtype: torch.dtype = torch.bfloat16
    ) -> None:
        self.shape = shape
        self._sizes = original_tensors(shape)
        self._seed = seed
        self._dtype = dtype

    def read(self, name: str) -> torch.Tensor:
        """One tensor; the same for the same seed, whatever was read before."""
        size = self._sizes[name]
        return _scale_(name, self._draw(self._generator(name), prod(size)).view(size))

    def rows(self, name: str, spans: Iterable[Span]) -> Iterator[torch.Tensor]:
        """The same rows as of `read`; what lies before and between them is drawn and dropped."""
        width = self._sizes[name][1]
        generator = self._generator(name)
        drawn = 0  # rows
        for start, stop in spans:
            for skipped in range(drawn * width, start * width, _DRAWN_AT_ONCE):
                left = start * width - skipped
                generator.random(min(left, _DRAWN_AT_ONCE), dtype=np.float32)
            yield _scale_(name, self._draw(generator, (stop - start) * width).view(-1, width))
            drawn = stop

    def _generator(self, name: str) -> np.random.Generator:
        # numpy's generator, because torch's draws other numbers in other releases.
        return np.random.Generator(np.random.PCG64([self._seed, zlib.crc32(name.encode())]))

    def _draw(self, generator: np.random.Generator, n: int) -> torch.Tensor:
        """The next n numbers in (-1, 1)."""
        flat = torch.empty(n, dtype=self._dtype)
        for start in range(0, n, _DRAWN_AT_ONCE):
            part = flat[start : start + _DRAWN_AT_ONCE]
            part.copy_(torch.from_numpy(generator.random(len(part), dtype=np.float32) * 2 - 1))
        return flat

    def close(self) -> None:
        """Nothing is held."""


def _scale_(name: str, noise: torch.Tensor) -> torch.Tensor:
    """Uniform noise in (-1, 1) -> plausible values for the tensor of this name, in place."""
    if name.endswith("time_decay"):
        return noise.mul_(3).sub_(1)  # decays per token from exp(-0.02) to exp(-7.4)
    if name.endswith("time_first"):
        return noise
    if "time_mix" in name:
        return noise.mul_(0.5).add_(0.5)
    if name.endswith("bias"):
        return noise.mul_(0.1)
    if noise.dim() == 1:
        return noise.mul_(0.3).add_(1)
    if name == "emb.weight":
        return noise
    # variance 1/in for unit variance out; doubled for a signal that survives many blocks
    return noise.mul_(math.sqrt(6 / noise.shape[1]))
