"""The questions that are asked of a machine's limits, and their answers. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# read: bytes of the device's memory. product: bytes of a matrix applied to one token.
# multiply: operations of square matrices. bus: bytes from host memory to the device.
INT8 = "i8"  # behind a format, as in a strategy: int8 weights, activations in that format
LimitKind = Literal["read", "product", "multiply", "bus"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitQuestion:
    """One limit to measure."""

    kind: LimitKind
    device: str  # as a strategy names it
    dtype: str | None = None  # of multiply: fp32, fp16 or bf16; of product also fp32i8 and so on
    n_bytes: int = 2**28  # of the buffer; much more than the caches hold
    side: int | None = None  # of the square matrices; None: what suits the device


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredLimit:
    """The answer: one of the two figures, how it was had, and its samples."""

    bytes_per_s: float | None = None
    flop_per_s: float | None = None
    method: str
    samples_s: tuple[float, ...]
