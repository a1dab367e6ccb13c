"""What really was loaded into one slot: the proof that a strategy ran as asked. Knows no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EffectiveSlot:
    """Where one slot lies and what runs it, read back from its tensors."""

    slot: int
    device: str
    dtype: str  # of activations: fp32, fp16, bf16
    weight_dtype: str  # of matrices: the same, or uint8
    streamed: bool
    bytes: int  # of all its weights, those in host memory included
    kernels: Mapping[str, str]  # operation -> implementation
