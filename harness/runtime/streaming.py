"""Streamed slots: matrices that lie in host memory and are copied to the device in time.

Each slot's matrices lie in one flat host buffer. Each device has two flat buffers of the largest
slot's size. While a slot computes out of one, the next slot's matrices are copied into the other;
behind the last slot comes the first one again, for the next token. How a copy is made, and how it
keeps out of the computation's way, is `copying.py`'s.

Vectors, and the scale vectors of int8, always lie on the device. Knows blocks and matrices; nothing
of files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch

from harness.runtime.blocks import Block
from harness.runtime.copying import Copier, Event, copier_for
from harness.runtime.devices import HOST, DeviceMap
from harness.runtime.dtypes import NAMES
from harness.runtime.matrices import Matrix

_ALIGNMENT = 256  # bytes, as CUDA's own allocations have; so every view is aligned for any kernel
N_BUFFERS = 2


def flat_bytes(sizes: Mapping[str, int]) -> int:
    """Bytes of one buffer that holds parts of these sizes."""
    return sum(-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes.values())


class FlatBuffer:
    """Named matrices in one piece of memory."""

    def __init__(
        self, flat: torch.Tensor, shapes: Mapping[str, tuple[int, int]], dtype: torch.dtype
    ) -> None:
        self.flat = flat
        self.views: dict[str, torch.Tensor] = {}
        start = 0
        for name, shape in shapes.items():
            size = shape[0] * shape[1] * _item_bytes(dtype)
            self.views[name] = flat[start : start + size].view(dtype).view(shape)
            start += flat_bytes({name: size})


@dataclass(eq=False)
class StreamedBlock:
    """One streamed slot: its block, whose matrices lie in the host buffer."""

    slot: int
    block: Block
    host: FlatBuffer
    lane: Lane
    # The block with its matrices in each of the lane's buffers, by the buffer's number.
    bound: dict[int, Block] = field(default_factory=dict)

    @contextmanager
    def ready(self) -> Iterator[Block]:
        """The block with its matrices on the device; the next slot's copy is under way."""
        with self.lane.holding(self.slot) as buffer:
            yield self._bound(buffer)

    def _bound(self, buffer: DeviceBuffer) -> Block:
        block = self.bound.get(buffer.number)
        if block is None:
            shapes = {name: tuple(view.shape) for name, view in self.host.views.items()}
            dtype = next(iter(self.host.views.values())).dtype
            views = FlatBuffer(buffer.flat, shapes, dtype).views  # type: ignore[arg-type]
            block = self.bound[buffer.number] = rebind(self.block, views)
        return block


class Lane:
    """The two buffers of one device, and who is in them."""

    def __init__(self, name: str, devices: DeviceMap, copier: Copier | None = None) -> None:
        self._name = name
        self._devices = devices
        self._copier = copier_for(devices[name]) if copier is None else copier
        self._hosts: dict[int, FlatBuffer] = {}  # by slot, in the order of the model
        self._buffers: list[DeviceBuffer] = []  # the one used longest ago first

    def new_host_buffer(
        self, slot: int, shapes: Mapping[str, tuple[int, int]], dtype: torch.dtype
    ) -> FlatBuffer:
        """Host memory for one slot's matrices [out, in]; asked for in the order of the model."""
        sizes = {name: a * b * _item_bytes(dtype) for name, (a, b) in shapes.items()}
        host = FlatBuffer(self._copier.host_buffer(flat_bytes(sizes)), shapes, dtype)
        self._hosts[slot] = host
        return host

    def open(self) -> None:
        """Make the device buffers; to be called when all slots are in."""
        size = max(host.flat.numel() for host in self._hosts.values())
        for number in range(min(N_BUFFERS, len(self._hosts))):
            flat = self._copier.device_buffer(size)
            self._buffers.append(DeviceBuffer(number, flat, released=self._copier.mark()))

    @property
    def device_bytes(self) -> int:
        """Bytes of the device buffers."""
        return sum(buffer.flat.numel() for buffer in self._buffers)

    @property
    def locked_bytes(self) -> int:
        """Bytes of the host buffers that are page-locked."""
        return self._copier.locked_bytes

    @property
    def how(self) -> str:
        """How matrices reach the device, for the record."""
        return self._copier.how

    @contextmanager
    def holding(self, slot: int) -> Iterator[DeviceBuffer]:
        """The buffer with `slot`'s matrices, while those of the slot behind it are copied."""
        buffer = self._fetch(slot)
        self._copier.wait(buffer.copied)
        if self._copier.is_ahead:
            order = list(self._hosts)
            behind = order[(order.index(slot) + 1) % len(order)]
            self._fetch(behind)  # into the other buffer, which was used longer ago
        try:
            yield buffer
        finally:
            buffer.released = self._copier.mark()

    def _fetch(self, slot: int) -> DeviceBuffer:
        """The buffer that holds `slot`; if none does, the one used longest ago is filled."""
        for buffer in self._buffers:
            if buffer.holds == slot:
                return buffer
        buffer = self._buffers.pop(0)
        self._buffers.append(buffer)
        host = self._hosts[slot]
        source = host.flat
        target = buffer.flat[: source.numel()]
        buffer.copied = self._copier.copy(target, source, buffer.released)
        buffer.holds = slot
        for name, view in host.views.items():
            self._devices.note(slot, f"{name}.weight", self._name, NAMES[view.dtype], HOST)
        return buffer


@dataclass(eq=False)
class DeviceBuffer:
    """Device memory for one slot's matrices."""

    number: int
    flat: torch.Tensor
    released: Event  # its last use is done
    copied: Event = None  # its last filling is done
    holds: int | None = None  # a slot


def rebind(block: Block, views: Mapping[str, torch.Tensor]) -> Block:
    """The same block with the numbers of its matrices (`att.key.weight` …) in `views`."""
    parts = {}
    for part in ("att", "ffn"):
        mix = getattr(block, part)
        matrices: dict[str, Matrix] = {
            name.split(".")[1]: getattr(mix, name.split(".")[1]).with_weight(view)
            for name, view in views.items()
            if name.startswith(f"{part}.")
        }
        parts[part] = replace(mix, **matrices)
    return replace(block, **parts)


def _item_bytes(dtype: torch.dtype) -> int:
    return torch.empty(0, dtype=dtype).element_size()
