"""Stored tensors -> the placed weights of a plan.

Reads one tensor at a time and places it before it reads the next, the head first of all, because
it is the largest: so that the peak is the placed model and about one tensor. Knows nothing of
files: a `StoredModel` gives the numbers, a `DeviceMap` the devices.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from harness.runtime import ops
from harness.runtime.blocks import Block, ChannelMix, TimeMix
from harness.runtime.devices import HOST, DeviceMap
from harness.runtime.dtypes import TORCH_DTYPES
from harness.runtime.matrices import DenseMatrix, Int8Matrix, Matrix, fill, room
from harness.runtime.shape import original_tensors
from harness.runtime.strategy import UINT8, LayerPlan
from harness.runtime.streaming import FlatBuffer, Lane, StreamedBlock
from harness.runtime.transform import StoredModel

_FILE = "file"
_PIECE_ITEMS = 2**20  # of a matrix that is read in pieces


@dataclass(frozen=True, kw_only=True)
class Head:
    """The last slot."""

    ln_weight: torch.Tensor  # [C]
    ln_bias: torch.Tensor  # [C]
    head: Matrix  # [V, C]

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., C] -> float32 logits [..., V]."""
        return self.head(ops.layer_norm(x, self.ln_weight, self.ln_bias)).float()


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A placed model."""

    emb: torch.Tensor  # [V, C], ln0 folded in, on the CPU in the first slot's dtype
    blocks: tuple[Block | StreamedBlock, ...]
    head: Head


def load_weights(
    stored: StoredModel, plans: tuple[LayerPlan, ...], devices: DeviceMap, *, rescale: int
) -> Weights:
    """Read and place all slots. `rescale` is the number of blocks between halvings, 0 for none."""
    lanes: dict[str, Lane] = {}
    head = _load_head(_Slot(stored, plans[-1], len(plans) - 1, devices))
    emb = stored.embedding()
    devices.note(0, "emb.weight", HOST, emb.dtype, _FILE)
    blocks: list[Block | StreamedBlock] = []
    for i, plan in enumerate(plans[:-1]):
        slot = _Slot(stored, plan, i, devices)
        halve = bool(rescale) and (i + 1) % rescale == 0
        if plan.streamed and plan.device != HOST:
            if plan.device not in lanes:
                lanes[plan.device] = Lane(plan.device, devices)
            blocks.append(_load_streamed(slot, lanes[plan.device], halve=halve))
        else:
            blocks.append(_load_block(slot, halve=halve))
    for lane in lanes.values():
        lane.open()
    return Weights(emb=emb, blocks=tuple(blocks), head=head)


def load_block_alone(stored: StoredModel, plan: LayerPlan, index: int, devices: DeviceMap) -> Block:
    """One block; of a dense matrix, only a piece is held beside the placed one."""
    return _load_block(_SlotInPieces(stored, plan, index, devices), halve=False)


def load_head_alone(stored: StoredModel, plan: LayerPlan, devices: DeviceMap) -> Head:
    """The last slot, in the same way."""
    return _load_head(_SlotInPieces(stored, plan, stored.shape.n_layer, devices))


def _load_head(slot: _Slot) -> Head:
    return Head(
        ln_weight=slot.vector("ln_out.weight"),
        ln_bias=slot.vector("ln_out.bias"),
        head=slot.matrix("head.weight"),
    )


def _load_streamed(slot: _Slot, lane: Lane, *, halve: bool) -> StreamedBlock:
    dtype = torch.int8 if slot.plan.weight_dtype == UINT8 else TORCH_DTYPES[slot.plan.weight_dtype]
    shapes = {name.removesuffix(".weight"): n for name, n in slot.stored.shape.matrices.items()}
    slot.host = lane.new_host_buffer(slot.index, shapes, dtype)
    return StreamedBlock(slot.index, _load_block(slot, halve=halve), slot.host, lane)


def _load_block(slot: _Slot, *, halve: bool) -> Block:
    return Block(
        att=TimeMix(
            ln_weight=slot.vector("ln1.weight"),
            ln_bias=slot.vector("ln1.bias"),
            mix_k=slot.vector("att.time_mix_k"),
            mix_v=slot.vector("att.time_mix_v"),
            mix_r=slot.vector("att.time_mix_r"),
            decay=slot.vector("att.time_decay"),
            bonus=slot.vector("att.time_first"),
            key=slot.matrix("att.key.weight"),
            value=slot.matrix("att.value.weight"),
            receptance=slot.matrix("att.receptance.weight"),
            output=slot.matrix("att.output.weight"),
        ),
        ffn=ChannelMix(
            ln_weight=slot.vector("ln2.weight"),
            ln_bias=slot.vector("ln2.bias"),
            mix_k=slot.vector("ffn.time_mix_k"),
            mix_r=slot.vector("ffn.time_mix_r"),
            key=slot.matrix("ffn.key.weight"),
            receptance=slot.matrix("ffn.receptance.weight"),
            value=slot.matrix("ffn.value.weight"),
        ),
        halve=halve,
    )


class _Slot:
    """Reads the tensors of one slot and puts them where its plan says."""

    def __init__(
        self, stored: StoredModel, plan: LayerPlan, index: int, devices: DeviceMap
    ) -> None:
        self.stored = stored
        self.plan = plan
        self.index = index
        self.host: FlatBuffer | None = None  # where the matrices of a streamed slot lie
        self._devices = devices
        self._prefix = f"blocks.{index}." if index < stored.shape.n_layer else ""

    def vector(self, name: str) -> torch.Tensor:
        """A vector [C] on the slot's device."""
        tensor = self.stored.vector(self._prefix + name)
        return self._devices.put(tensor, self.plan, self.index, name, _FILE)

    def matrix(self, name: str) -> Matrix:
        """A matrix in the weights' dtype, in the host buffer where the slot is streamed."""
        where = HOST if self.host is not None else self.plan.device
        self._devices.note(self.index, name, where, self.plan.weight_dtype, _FILE)
        if self.plan.weight_dtype == UINT8:
            return self._int8(name)
        if self.host is None:
            device = self._devices[self.plan.device]
            return self._dense(self._prefix + name, TORCH_DTYPES[self.plan.weight_dtype], device)
        view = self.host.views[name.removesuffix(".weight")]
        fill(view, self.stored.dense(self._prefix + name))
        return DenseMatrix(view)

    def _dense(self, name: str, dtype: torch.dtype, device: torch.device) -> Matrix:
        return DenseMatrix.placed(self.stored.dense(name), dtype, device)

    def _int8(self, name: str) -> Matrix:
        device = self._devices[self.plan.device]
        mm8 = self.stored.mm8(self._prefix + name)
        into = None if self.host is None else self.host.views[name.removesuffix(".weight")]
        return Int8Matrix(mm8, device, into)


class _SlotInPieces(_Slot):
    """The same, reading each dense matrix some rows at a time."""

    def _dense(self, name: str, dtype: torch.dtype, device: torch.device) -> Matrix:
        size = original_tensors(self.stored.shape)[name]
        n_out, n_in = size
        step = max(1, _PIECE_ITEMS // n_in)
        spans = [(start, min(start + step, n_out)) for start in range(0, n_out, step)]
        laid = room(size, dtype, device)
        pieces = self.stored.dense_rows(name, spans)
        for (start, stop), rows in zip(spans, pieces, strict=True):
            fill(laid[start:stop], rows)
        return DenseMatrix(laid)
