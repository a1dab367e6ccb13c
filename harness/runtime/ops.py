"""The few torch operations a block is made of, and which implementation of each runs.

Half precision on the CPU came to torch piece by piece (2.0 has none of these operations). Where a
piece is missing, the operation is computed in float32 and rounded, and says so in its name.
"""

from __future__ import annotations

import functools

import torch
from torch.nn import functional

_EPS = 1e-5  # of every LayerNorm in RWKV-4


def layer_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """LayerNorm over the last dimension of x [..., C]."""
    if _needs_float32(x):
        normed = functional.layer_norm(x.float(), x.shape[-1:], weight.float(), bias.float(), _EPS)
        return normed.to(x.dtype)
    return functional.layer_norm(x, x.shape[-1:], weight, bias, _EPS)


def linear(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """x [..., in] times weight [out, in] transposed -> [..., out]."""
    if _needs_float32(x):
        return functional.linear(x.float(), weight.float()).to(x.dtype)
    return functional.linear(x, weight)


def sigmoid(x: torch.Tensor) -> torch.Tensor:
    """1 / (1 + exp(-x))."""
    return torch.sigmoid(x.float()).to(x.dtype) if _needs_float32(x) else torch.sigmoid(x)


def squared_relu(x: torch.Tensor) -> torch.Tensor:
    """max(x, 0)²."""
    if _needs_float32(x):
        return (torch.relu(x.float()) ** 2).to(x.dtype)
    return torch.relu(x).square_()


def mix(x: torch.Tensor, previous: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Token shift: x·weight + previous·(1 - weight), for weight [C]."""
    if _needs_float32(x):
        return torch.lerp(previous.float(), x.float(), weight.float()).to(x.dtype)
    if x.device.type == "mps":  # torch 2.0 has no lerp there, and later ones compute just this
        return previous + (x - previous) * weight
    return torch.lerp(previous, x, weight)


def arithmetic(dtype: torch.dtype, device: torch.device) -> str:
    """What these operations compute in, for the record."""
    if dtype == torch.float16 and device.type == "cpu" and not _has_half_on_cpu():
        return "torch float32, rounded to float16"
    return f"torch {str(dtype).removeprefix('torch.')}"


def _needs_float32(x: torch.Tensor) -> bool:
    return x.dtype == torch.float16 and x.device.type == "cpu" and not _has_half_on_cpu()


@functools.cache
def _has_half_on_cpu() -> bool:
    """Whether this torch computes all of the above in half precision on the CPU."""
    x = torch.ones(1, 2, dtype=torch.float16)
    try:
        functional.linear(x, x)
        functional.layer_norm(x, (2,), x[0], x[0])
        torch.lerp(x, x, x)
        torch.relu(torch.sigmoid(x)).square_()
    except RuntimeError:
        return False
    return True
