"""Stored tensors -> the placed weights of a plan.

Reads one tensor at a time and places it before it reads the next, the head first of all, because
it is the largest: so that the peak is the placed model and about one tensor. Knows nothing of
files: a `StoredModel` gives the numbers, a `DeviceMap` the devices.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from harness.runtime.blocks import Block, ChannelMix, TimeMix
from harness.runtime.devices import HOST, DeviceMap
from harness.runtime.dtypes import TORCH_DTYPES
from harness.runtime.matrices import DenseMatrix, Int8Matrix, Matrix, fill
from harness.runtime.strategy import UINT8, LayerPlan
from harness.runtime.streaming import FlatBuffer, Lane, StreamedBlock
from harness.runtime.transform import StoredModel

_FILE = "file"


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
    blocks: tuple[Block | StreamedBlock, ...]
    head: Head


def load_weights(
    stored: StoredModel, plans: tuple[LayerPlan, ...], devices: DeviceMap, *, rescale: int
) -> Weights:
    """Read and place all slots. `rescale` is the number of blocks between halvings, 0 for none."""
    lanes: dict[str, Lane] = {}
    last = _Slot(stored, plans[-1], len(plans) - 1, devices)
    head = Head(
        ln_weight=last.vector("ln_out.weight"),
        ln_bias=last.vector("ln_out.bias"),
        head=last.matrix("head.weight"),
    )
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
        weight = self.stored.dense(self._prefix + name)
        if self.host is None:
            device = self._devices[self.plan.device]
            return DenseMatrix.placed(weight, TORCH_DTYPES[self.plan.weight_dtype], device)
        view = self.host.views[name.removesuffix(".weight")]
        fill(view, weight)
        return DenseMatrix(view)

    def _int8(self, name: str) -> Matrix:
        device = self._devices[self.plan.device]
        mm8 = self.stored.mm8(self._prefix + name)
        into = None if self.host is None else self.host.views[name.removesuffix(".weight")]
        return Int8Matrix(mm8, device, into)
