"""Streamed slots: matrices that lie in host memory and are copied to the device in time.

Each slot's matrices lie in one flat host buffer, page-locked where there is CUDA. Each device has
two flat buffers of the largest slot's size. While a slot computes out of one, the next slot's
matrices are copied into the other, on a stream of their own; behind the last slot comes the first
one again, for the next token. Without CUDA the same code copies without a stream, when it is asked.

Vectors, and the scale vectors of int8, always lie on the device. Knows blocks and matrices; nothing
of files.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch

from harness.runtime.blocks import Block
from harness.runtime.devices import HOST, DeviceMap
from harness.runtime.dtypes import NAMES
from harness.runtime.matrices import Matrix
from harness.runtime.strategy import LayerPlan

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
    plan: LayerPlan
    block: Block
    host: FlatBuffer
    lane: Lane
    # The block with its matrices in each of the lane's buffers, by the buffer's number.
    bound: dict[int, Block] = field(default_factory=dict)

    @contextmanager
    def ready(self) -> Iterator[Block]:
        """The block with its matrices on the device; the next slot's copy is under way."""
        with self.lane.holding(self) as block:
            yield block


class Lane:
    """The two buffers of one device, and who is in them."""

    def __init__(self, name: str, devices: DeviceMap) -> None:
        self._name = name
        self._devices = devices
        self._device = devices[name]
        self._slots: list[StreamedBlock] = []
        self._buffers: list[_Buffer] = []
        self._stream = _new_stream(self._device)
        self.is_pinned = self._stream is not None  # until page-locking fails

    def new_host_buffer(
        self, shapes: Mapping[str, tuple[int, int]], dtype: torch.dtype
    ) -> FlatBuffer:
        """Memory for one slot's matrices [out, in], page-locked where the device is CUDA's."""
        sizes = {name: a * b * _item_bytes(dtype) for name, (a, b) in shapes.items()}
        flat = torch.empty(flat_bytes(sizes), dtype=torch.uint8)
        if self._stream is not None:
            is_locked = _page_lock(flat, self._device)
            self.is_pinned = self.is_pinned and is_locked
            # A copy may be under way when the model is dropped: wait, and only then unlock.
            weakref.finalize(self, _release, self._stream, flat, is_locked=is_locked)
        return FlatBuffer(flat, shapes, dtype)

    def add(self, slot: StreamedBlock) -> None:
        """Take in a slot; in the order of the model."""
        self._slots.append(slot)

    def open(self) -> None:
        """Make the device buffers; to be called when all slots are in."""
        size = max(slot.host.flat.numel() for slot in self._slots)
        for number in range(min(N_BUFFERS, len(self._slots))):
            flat = torch.empty(size, dtype=torch.uint8, device=self._device)
            buffer = _Buffer(number, flat)
            if self._stream is not None:
                flat.record_stream(self._stream)
                buffer.released = _record(self._device)
            self._buffers.append(buffer)

    @property
    def device_bytes(self) -> int:
        """Bytes of the device buffers."""
        return sum(buffer.flat.numel() for buffer in self._buffers)

    @property
    def how(self) -> str:
        """How matrices reach the device, for the record."""
        if self._stream is None:
            return "copied when used"
        return f"copied ahead from {'page-locked' if self.is_pinned else 'pageable'} memory"

    @contextmanager
    def holding(self, slot: StreamedBlock) -> Iterator[Block]:
        """`slot`'s block on the device, while the slot behind it is copied."""
        buffer = self._fetch(slot, spare=None)
        if self._stream is not None and buffer.copied is not None:
            torch.cuda.current_stream(self._device).wait_event(buffer.copied)
        behind = self._slots[(self._slots.index(slot) + 1) % len(self._slots)]
        if self._stream is not None:
            self._fetch(behind, spare=buffer)
        try:
            yield self._bound(slot, buffer)
        finally:
            if self._stream is not None:
                buffer.released = _record(self._device)

    def _fetch(self, slot: StreamedBlock, spare: _Buffer | None) -> _Buffer:
        """The buffer that holds `slot`, filling the one used longest ago, but never `spare`."""
        for buffer in self._buffers:
            if buffer.holds is slot:
                return buffer
        buffer = next(one for one in self._buffers if one is not spare)
        self._buffers.remove(buffer)
        self._buffers.append(buffer)
        self._copy(slot, buffer)
        return buffer

    def _copy(self, slot: StreamedBlock, buffer: _Buffer) -> None:
        source = slot.host.flat
        target = buffer.flat[: source.numel()]
        if self._stream is None:
            target.copy_(source)
        else:
            with torch.cuda.stream(self._stream):
                if buffer.released is not None:
                    self._stream.wait_event(buffer.released)
                target.copy_(source, non_blocking=True)
                buffer.copied = _record(self._device)
        buffer.holds = slot
        for name, view in slot.host.views.items():
            self._devices.note(slot.slot, name, self._name, NAMES[view.dtype], HOST)

    def _bound(self, slot: StreamedBlock, buffer: _Buffer) -> Block:
        block = slot.bound.get(buffer.number)
        if block is None:
            shapes = {name: tuple(view.shape) for name, view in slot.host.views.items()}
            dtype = next(iter(slot.host.views.values())).dtype
            views = FlatBuffer(buffer.flat, shapes, dtype).views  # type: ignore[arg-type]
            block = slot.bound[buffer.number] = rebind(slot.block, views)
        return block


@dataclass(eq=False)
class _Buffer:
    """Device memory for one slot's matrices."""

    number: int
    flat: torch.Tensor
    holds: StreamedBlock | None = None
    copied: torch.cuda.Event | None = None  # its last filling is done
    released: torch.cuda.Event | None = None  # its last use is done


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


def _record(device: torch.device) -> torch.cuda.Event:
    """An event behind all that the current stream has been given so far."""
    event: torch.cuda.Event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event


def _page_lock(flat: torch.Tensor, device: torch.device) -> bool:
    """Lock memory in place, so that the device can read it by itself; whether that worked.

    Not `pin_memory()`, which copies into an allocation rounded up to a power of two.
    """
    cudart = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    status = cudart.cudaHostRegister(flat.data_ptr(), flat.numel(), 0)
    if int(status) == 0:
        return True
    # CUDA remembers the failure, and torch would take it for the next kernel's.
    with contextlib.suppress(RuntimeError):
        torch.zeros(1, device=device)
    return False


def _release(stream: torch.cuda.Stream, flat: torch.Tensor, *, is_locked: bool) -> None:
    stream.synchronize()
    if is_locked:
        torch.cuda.cudart().cudaHostUnregister(flat.data_ptr())  # type: ignore[no-untyped-call]


def _item_bytes(dtype: torch.dtype) -> int:
    return torch.empty(0, dtype=dtype).element_size()


def _new_stream(device: torch.device) -> torch.cuda.Stream | None:
    if device.type != "cuda":
        return None
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
