"""A weight matrix that can be applied to activations: dense, or int8 (mm8).

This is where int8 is applied. Knows nothing of blocks or checkpoints. Matrices are [out, in], as in
the checkpoint.
"""

from __future__ import annotations

import copy
import functools
import threading
from collections.abc import Sequence
from typing import Protocol

import torch

from harness.runtime import ops
from harness.runtime.dtypes import NAMES
from harness.runtime.quantise import Mm8

_TILE_ITEMS = 2**18  # int8 weights cast at a time: 1 MiB as float32, which a core's cache holds
_DEVICE_TILE_ITEMS = 2**24  # the same on an accelerator, where each tile costs a launch
_TURNED_ROWS = 64
_MOVED_ITEMS = 2**24
_PACKED_ROWS = 4  # up to here torch's packed int8 kernel beats casting tiles
_PACKED_MULTIPLE = 64  # of inputs: it reads whole vector registers, beyond the end of odd rows

_tiles = threading.local()  # each thread's own, by the name of their format


class Matrix(Protocol):
    """A linear map without bias."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., in] -> [..., out], in the dtype of x."""

    def with_weight(self, weight: torch.Tensor) -> Matrix:
        """The same matrix, whose stored numbers lie in `weight` [out, in] instead."""

    @property
    def weight(self) -> torch.Tensor:
        """The stored numbers [out, in]."""

    @property
    def others(self) -> tuple[torch.Tensor, ...]:
        """What is stored beside them: the vectors of int8."""

    @property
    def weight_dtype(self) -> str:
        """fp32, fp16, bf16 or uint8, read from the stored numbers."""

    def kernel(self, x_dtype: torch.dtype) -> str:
        """The implementation that a one-token product runs, for the record."""


class DenseMatrix:
    """Weights [out, in] in a floating-point format, used where they lie."""

    others: tuple[torch.Tensor, ...] = ()

    def __init__(self, weight: torch.Tensor) -> None:
        self.weight = weight

    @classmethod
    def placed(cls, weight: torch.Tensor, dtype: torch.dtype, device: torch.device) -> DenseMatrix:
        """`weight` [out, in], cast to `dtype` on `device`, laid out as it is read fastest there."""
        is_turned = _is_turned(dtype, device)
        if weight.device == device and weight.dtype == dtype and not is_turned:
            return cls(weight)
        laid = room(weight.shape, dtype, device)
        fill(laid, weight)
        return cls(laid)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., in] -> [..., out]."""
        return ops.linear(x, self.weight)

    def with_weight(self, weight: torch.Tensor) -> DenseMatrix:
        """The same matrix in other memory."""
        return DenseMatrix(weight)

    @property
    def weight_dtype(self) -> str:
        """The format's name."""
        return NAMES[self.weight.dtype]

    def kernel(self, x_dtype: torch.dtype) -> str:
        """The dense product."""
        return f"linear, {ops.arithmetic(x_dtype, self.weight.device)}"


def room(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Memory for a dense matrix of `shape` (out, in), laid out as it is read fastest there."""
    n_out, n_in = shape
    if _is_turned(dtype, device):
        return torch.empty(n_in, n_out, dtype=dtype, device=device).t()
    return torch.empty(n_out, n_in, dtype=dtype, device=device)


def _is_turned(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the outputs lie side by side in memory.

    BLAS then reads a matrix for one token 1.1 to 1.7 times as fast, and for many tokens no slower.
    """
    return device.type == "cpu" and dtype == torch.float32


def fill(target: torch.Tensor, weight: torch.Tensor) -> None:
    """Copy `weight` [out, in] into `target`, over a device, a cast and a layout, if need be.

    In blocks of rows: on the CPU a block stays in the cache while it is turned; CUDA casts, and
    needs room for one block in the source's dtype, not for the matrix. Other devices get a block
    cast: MPS knows no float64, and bfloat16 only of late.
    """
    n_rows = _TURNED_ROWS
    if target.device.type != "cpu":
        n_rows = max(1, _MOVED_ITEMS // max(1, weight.shape[1]))
    for start in range(0, weight.shape[0], n_rows):
        block = slice(start, start + n_rows)
        part = weight[block]
        target[block] = part.to(target.device) if target.device.type == "cuda" else part


class Int8Matrix:
    """mm8 weights, applied without ever making the whole matrix.

    y = ((x·ry) Q)·rx + 128.5·Σ(x·ry)·rx + x·my + Σx·mx, with Q = q - 128 held as int8: centred, so
    that in 16-bit formats the main product is not rounded at the size of the offset. The three
    rank-one terms are one product with [in, 3] and one with [3, out], in float32.
    """

    def __init__(
        self, mm8: Mm8, device: torch.device | None = None, into: torch.Tensor | None = None
    ) -> None:
        """On `device`, or where it lies; with `into`, the int8 numbers alone are copied there."""
        # uint8 - 128, as a change of the top bit
        signed = (mm8.q ^ 0x80).view(torch.int8)
        self.weight = signed.to(device) if into is None else into.copy_(signed)
        self.mx, self.rx, self.my, self.ry = (vector.to(device) for vector in mm8[1:])
        ry, rx = self.ry.float(), self.rx.float()
        ones = torch.ones_like(ry)
        self._rank_in = torch.stack((128.5 * ry, self.my.float(), ones), dim=1)  # [in, 3]
        ones = torch.ones_like(rx)
        self._rank_out = torch.stack((rx, ones, self.mx.float()))  # [3, out]
        self._rx32 = rx.clone()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., in] -> [..., out]."""
        rows = x.reshape(-1, x.shape[-1])
        if self._runs_in_half(x.dtype):
            main = half_product(rows.float() * self.ry, self.weight)
        elif rows.shape[0] <= _PACKED_ROWS and self._is_packed(x.dtype):
            main = _packed_product(rows * self.ry, self.weight)
        else:
            main = _tiled_product((rows * self.ry).to(_tile_dtype(x.dtype)), self.weight)
        offset = (rows.float() @ self._rank_in) @ self._rank_out
        y = torch.addcmul(offset, main.float(), self._rx32).to(x.dtype)
        return y.reshape(*x.shape[:-1], -1)

    def mm8(self) -> Mm8:
        """The five tensors of the scheme."""
        return Mm8(self.weight.view(torch.uint8) ^ 0x80, self.mx, self.rx, self.my, self.ry)

    def with_weight(self, weight: torch.Tensor) -> Int8Matrix:
        """The same matrix, whose int8 numbers lie in `weight`; the vectors are shared."""
        other = copy.copy(self)
        other.weight = weight
        return other

    @property
    def others(self) -> tuple[torch.Tensor, ...]:
        """The scheme's vectors, and what is derived from them."""
        scheme = (self.mx, self.rx, self.my, self.ry)
        return (*scheme, self._rank_in, self._rank_out, self._rx32)

    @property
    def weight_dtype(self) -> str:
        """The scheme's format."""
        return NAMES[self.weight.dtype]

    def kernel(self, x_dtype: torch.dtype) -> str:
        """The int8 product."""
        if self._is_packed(x_dtype):
            return "mm8, torch packed int8"
        if self._runs_in_half(x_dtype):
            return "mm8, int8 tiles cast to fp16, rows scaled"
        return f"mm8, int8 tiles cast to {NAMES[_tile_dtype(x_dtype)]}"

    def _runs_in_half(self, x_dtype: torch.dtype) -> bool:
        """Where half is fast: tiles of float32 would move twice the bytes, outside tensor cores."""
        return x_dtype == torch.float16 and self.weight.device.type != "cpu"

    def _is_packed(self, x_dtype: torch.dtype) -> bool:
        """torch's fused kernel is fast for bf16 only; its other formats run in scalar code."""
        return (
            x_dtype == torch.bfloat16
            and self.weight.device.type == "cpu"
            and self.weight.shape[1] % _PACKED_MULTIPLE == 0
            and _has_packed_int8()
        )


def _tiled_product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """x [rows, in] times int8 weight [out, in] transposed, casting a tile at a time."""
    n_out, n_in = weight.shape
    dtype = x.dtype
    step = max(1, (_TILE_ITEMS if x.device.type == "cpu" else _DEVICE_TILE_ITEMS) // n_in)
    if step >= n_out:
        return x @ weight.to(dtype).t()
    y = torch.empty(x.shape[0], n_out, dtype=dtype, device=x.device)
    tile = _tile(step * n_in, dtype, x.device).view(step, n_in)
    for start in range(0, n_out, step):
        part = tile[: n_out - start]
        part.copy_(weight[start : start + step])
        y[:, start : start + step] = x @ part.t()
    return y


def _tile(n: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Room for n numbers; on the host, the same for every matrix.

    Freed and asked for again between small tensors that live on, a tile leaves a hole in the heap
    at every matrix, and an int8 model of 570 MiB grew by 100 MiB while it decoded.
    """
    if device.type != "cpu":
        return torch.empty(n, dtype=dtype, device=device)
    tile: torch.Tensor | None = getattr(_tiles, NAMES[dtype], None)
    if tile is None or tile.numel() < n:
        with torch.inference_mode(mode=False):  # so that it can be filled in any mode later
            tile = torch.empty(n, dtype=dtype)
        setattr(_tiles, NAMES[dtype], tile)
    return tile[:n]


def _packed_product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The same by torch's kernel that reads int8 weights directly."""
    ones = torch.ones(weight.shape[0], dtype=x.dtype, device=x.device)
    return torch._weight_int8pack_mm(x, weight, ones)  # noqa: SLF001 - no public name yet


def half_product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """float32 x [rows, in] times int8 weight transposed, in float16 without overflow -> float32.

    Each row is scaled by the power of two at which no sum of its products, in whatever order, can
    leave float16: Σ|x·q| ≤ 128·Σ|x| < 2^15. A power of two rounds nothing, short of subnormals.
    """
    total = x.abs().sum(dim=-1, keepdim=True)
    exponent = (8 - torch.log2(total).ceil()).clamp(-126, 126)  # a row of zeros has -inf
    scale = torch.exp2(exponent)
    return _tiled_product((x * scale).half(), weight).float() / scale


def _tile_dtype(x_dtype: torch.dtype) -> torch.dtype:
    """On a CPU float16 is computed in float32: half is no faster there, and old torch cannot.

    (And the product before `rx` can be too large for it; see `half_product`.)
    """
    return torch.float32 if x_dtype == torch.float16 else x_dtype


@functools.cache
def _has_packed_int8() -> bool:
    """Whether this torch has the kernel, and it computes what we take it for."""
    if not hasattr(torch, "_weight_int8pack_mm"):
        return False
    n_in = _PACKED_MULTIPLE
    x = torch.arange(n_in, dtype=torch.bfloat16).reshape(1, n_in) - n_in / 2
    weight = (torch.arange(64 * n_in) % 7 - 3).to(torch.int8).reshape(64, n_in)
    try:
        got = _packed_product(x, weight)
    except RuntimeError:
        return False
    return bool(torch.allclose(got.float(), x.float() @ weight.float().t(), rtol=1e-2, atol=1))
