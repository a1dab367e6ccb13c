"""mm8, the int8 scheme of the official package, bit for bit.

A matrix W is taken as [in, out], as it is applied (y = x W). Its row and column minima are taken
out, its columns and then its rows are scaled to at most 1, and what is left is stored in 256 steps:

    W ≈ (q + 0.5) · ry · rx + my + mx       q uint8 [in, out], rx and mx [out], ry and my [in]

with rx/16 and ry/16 stored, so that their product carries the 1/256. Here W and q lie as [out, in],
as in the checkpoint: the same numbers, transposed.

The official package divides by zero where a row or column has no range left (all zeros, a constant
column, a sum of a row and a column) and fills the matrix with NaN. Here such a range is stored as
0, and the matrix comes out exact.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Mm8(NamedTuple):
    """A quantised matrix."""

    q: torch.Tensor  # uint8 [out, in]
    mx: torch.Tensor  # [out], subtracted column minima
    rx: torch.Tensor  # [out], column ranges / 16
    my: torch.Tensor  # [in], subtracted row minima
    ry: torch.Tensor  # [in], row ranges / 16


def quantise(weight: torch.Tensor, dtype: torch.dtype) -> Mm8:
    """Quantise `weight` [out, in]; the four vectors come in `dtype`, the activations'.

    Which minima are taken out first depends on the shape, as in the official package: of the wider
    side.
    """
    return quantise_(weight.to(torch.float32, copy=True), dtype)


def quantise_(w: torch.Tensor, dtype: torch.dtype) -> Mm8:
    """`quantise` for a float32 matrix that nobody else needs: its numbers are overwritten."""
    n_out, n_in = w.shape
    if n_in > n_out:
        my = w.amin(dim=0)
        w -= my
        mx = w.amin(dim=1)
        w -= mx[:, None]
    else:
        mx = w.amin(dim=1)
        w -= mx[:, None]
        my = w.amin(dim=0)
        w -= my
    rx = w.amax(dim=1)
    w /= _nonzero(rx)[:, None]
    ry = w.amax(dim=0)
    w /= _nonzero(ry)
    q = w.mul_(256).floor_().clamp_(0, 255).to(torch.uint8)
    return Mm8(q, mx.to(dtype), (rx / 16).to(dtype), my.to(dtype), (ry / 16).to(dtype))


def dequantise_ref(mm8: Mm8) -> torch.Tensor:
    """The whole matrix [out, in] in float32: the slow, obvious twin of `matrices.Int8Matrix`."""
    q, mx, rx, my, ry = (t.to(torch.float32) for t in mm8)
    return (q + 0.5) * ry * rx[:, None] + my + mx[:, None]


def _nonzero(ranges: torch.Tensor) -> torch.Tensor:
    """Divisors: a range of zero has only zeros left to divide, and any divisor keeps them."""
    return torch.where(ranges == 0, torch.ones_like(ranges), ranges)
