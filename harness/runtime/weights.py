"""Original tensors -> the weights of a plan: fold, rescale, cast or quantise, place.

Reads one tensor at a time and places it before it reads the next, so that the peak is the placed
model and about one tensor. In this order, as in the official package:

1. the embedding is normalised by ln0 once and for all (it stays on the CPU);
2. under a plan with fp16, `att.output` and `ffn.value` of block i are divided by 2^(i // 6);
3. decay becomes -exp(time_decay) in float32, the bonus float32;
4. other vectors take the activations' dtype, matrices the weights' dtype or int8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

from harness.runtime.blocks import Block, ChannelMix, TimeMix
from harness.runtime.dtypes import TORCH_DTYPES
from harness.runtime.matrices import DenseMatrix, Int8Matrix, Matrix
from harness.runtime.quantise import quantise
from harness.runtime.strategy import UINT8, LayerPlan
from harness.runtime.tensors import TensorSource

Fold = Literal["float32", "file"]
_FOLD_ROWS = 4096  # of the embedding at a time: bounds the float32 copy


@dataclass(frozen=True, kw_only=True)
class Head:
    """The last slot."""

    ln_weight: torch.Tensor  # [C]
    ln_bias: torch.Tensor  # [C]
    head: Matrix  # [V, C]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A placed model."""

    emb: torch.Tensor  # [V, C], ln0 folded in, on the CPU in the first slot's dtype
    blocks: tuple[Block, ...]
    head: Head


def load_weights(
    source: TensorSource, plans: tuple[LayerPlan, ...], *, rescale: int, fold: Fold
) -> Weights:
    """Read and place all slots. `rescale` is the number of blocks between halvings, 0 for none."""
    emb = _load_embedding(source, TORCH_DTYPES[plans[0].dtype], fold)
    blocks = tuple(
        _load_block(_Slot(source, plan, f"blocks.{i}."), i, rescale)
        for i, plan in enumerate(plans[:-1])
    )
    last = _Slot(source, plans[-1], "")
    head = Head(
        ln_weight=last.vector("ln_out.weight"),
        ln_bias=last.vector("ln_out.bias"),
        head=last.matrix("head.weight", may_stream=False),
    )
    return Weights(emb=emb, blocks=blocks, head=head)


def _load_embedding(source: TensorSource, dtype: torch.dtype, fold: Fold) -> torch.Tensor:
    """LayerNorm of every row by ln0, in float32 or in the file's own dtype."""
    emb = source.read("emb.weight")
    weight = source.read("blocks.0.ln0.weight").flatten()
    bias = source.read("blocks.0.ln0.bias").flatten()
    folded = torch.empty(emb.shape, dtype=dtype)
    for start in range(0, emb.shape[0], _FOLD_ROWS):
        rows = emb[start : start + _FOLD_ROWS]
        folded[start : start + _FOLD_ROWS] = _layer_norm(rows, weight, bias, fold)
    return folded


def _layer_norm(
    rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, fold: Fold
) -> torch.Tensor:
    size = rows.shape[-1:]
    if fold == "file":
        try:
            return functional.layer_norm(rows, size, weight, bias, 1e-5)
        except RuntimeError:  # old torch has no half LayerNorm on the CPU; the official way out
            pass
    return functional.layer_norm(rows.float(), size, weight.float(), bias.float(), 1e-5)


def _load_block(slot: _Slot, index: int, rescale: int) -> Block:
    divisor = 2 ** (index // rescale) if rescale else 1
    return Block(
        att=TimeMix(
            ln_weight=slot.vector("ln1.weight"),
            ln_bias=slot.vector("ln1.bias"),
            mix_k=slot.vector("att.time_mix_k"),
            mix_v=slot.vector("att.time_mix_v"),
            mix_r=slot.vector("att.time_mix_r"),
            decay=slot.decay(),
            bonus=slot.bonus(),
            key=slot.matrix("att.key.weight"),
            value=slot.matrix("att.value.weight"),
            receptance=slot.matrix("att.receptance.weight"),
            output=slot.matrix("att.output.weight", divisor=divisor),
        ),
        ffn=ChannelMix(
            ln_weight=slot.vector("ln2.weight"),
            ln_bias=slot.vector("ln2.bias"),
            mix_k=slot.vector("ffn.time_mix_k"),
            mix_r=slot.vector("ffn.time_mix_r"),
            key=slot.matrix("ffn.key.weight"),
            receptance=slot.matrix("ffn.receptance.weight"),
            value=slot.matrix("ffn.value.weight", divisor=divisor),
        ),
        halve=bool(rescale) and (index + 1) % rescale == 0,
    )


class _Slot:
    """Reads the tensors below one prefix and puts them where the slot's plan says."""

    def __init__(self, source: TensorSource, plan: LayerPlan, prefix: str) -> None:
        self._source = source
        self._plan = plan
        self._prefix = prefix
        self._device = torch.device(plan.device)
        self._dtype = TORCH_DTYPES[plan.dtype]

    def _read(self, name: str) -> torch.Tensor:
        return self._source.read(self._prefix + name)

    def vector(self, name: str) -> torch.Tensor:
        """A vector in the activations' dtype, [1, 1, C] made [C]."""
        return self._read(name).flatten().to(device=self._device, dtype=self._dtype)

    def decay(self) -> torch.Tensor:
        """w = -exp(time_decay), float32."""
        return -torch.exp(self._read("att.time_decay").flatten().float()).to(self._device)

    def bonus(self) -> torch.Tensor:
        """u = time_first, float32."""
        return self._read("att.time_first").flatten().float().to(self._device)

    def matrix(self, name: str, *, divisor: int = 1, may_stream: bool = True) -> Matrix:
        """A matrix in the weights' dtype; it stays on the CPU where the slot is streamed."""
        weight = self._read(name)
        if divisor != 1:
            weight = weight / divisor
        matrix: Matrix
        if self._plan.weight_dtype == UINT8:
            matrix = Int8Matrix(quantise(weight, self._dtype))
        else:
            matrix = DenseMatrix(weight, self._dtype, self._device)
        if self._plan.streamed and may_stream:
            return StreamedMatrix(matrix, self._device)
        return matrix.on(self._device)


class StreamedMatrix:
    """A matrix that lies in host memory and is copied to its device each time it is used."""

    def __init__(self, held: Matrix, device: torch.device) -> None:
        self._held = held
        self._device = device

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., in] -> [..., out]."""
        return self._held.on(self._device)(x)

    def on(self, device: torch.device) -> StreamedMatrix:
        """The same host copy, used on another device."""
        return StreamedMatrix(self._held, device)

    @property
    def weight(self) -> torch.Tensor:
        """The stored numbers, on the CPU."""
        return self._held.weight

    @property
    def nbytes(self) -> int:
        """Bytes held in host memory."""
        return self._held.nbytes

    @property
    def weight_dtype(self) -> str:
        """The stored format."""
        return self._held.weight_dtype

    def kernel(self, x_dtype: torch.dtype) -> str:
        """The product, behind a copy."""
        return f"{self._held.kernel(x_dtype)}, copied at each use"
