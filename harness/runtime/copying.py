"""How a streamed slot's bytes come from host memory to a device, and who waits for whom.

On CUDA, copies run on a stream of their own, beside the computation, out of page-locked memory; two
kinds of events keep them in order. Elsewhere a copy is made when it is asked for. Knows flat
buffers; nothing of slots or matrices.
"""

from __future__ import annotations

import contextlib
import weakref
from typing import Any, Protocol

import torch

Event = Any  # a point in a device's work; None where everything is done at once


class Copier(Protocol):
    """Copies flat buffers to one device."""

    is_ahead: bool  # whether copies run beside the computation, so that asking early pays

    @property
    def how(self) -> str:
        """In words, for the record."""

    @property
    def locked_bytes(self) -> int:
        """How much of the host's memory is page-locked for it."""

    def host_buffer(self, n_bytes: int) -> torch.Tensor:
        """Host memory to copy from."""

    def device_buffer(self, n_bytes: int) -> torch.Tensor:
        """Device memory to copy to."""

    def copy(self, target: torch.Tensor, source: torch.Tensor, after: Event) -> Event:
        """Copy, not before `after`; returns the event of its end."""

    def wait(self, event: Event) -> None:
        """Let the computation that comes now begin after `event`."""

    def mark(self) -> Event:
        """The event that all computation so far is done."""


def copier_for(device: torch.device) -> Copier:
    """The best there is for `device`."""
    return CudaCopier(device) if device.type == "cuda" else PlainCopier(device)


class PlainCopier:
    """Copies when asked, and returns when done."""

    is_ahead = False
    how = "copied when used"
    locked_bytes = 0

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def host_buffer(self, n_bytes: int) -> torch.Tensor:
        """Ordinary memory."""
        return torch.empty(n_bytes, dtype=torch.uint8)

    def device_buffer(self, n_bytes: int) -> torch.Tensor:
        """Ordinary memory of the device."""
        return torch.empty(n_bytes, dtype=torch.uint8, device=self._device)

    def copy(self, target: torch.Tensor, source: torch.Tensor, after: Event) -> Event:
        """At once."""
        target.copy_(source)

    def wait(self, event: Event) -> None:
        """Nothing is under way."""

    def mark(self) -> Event:
        """Nothing is under way."""


class CudaCopier:
    """Copies on a stream of its own."""

    is_ahead = True

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._is_locked = True
        self.locked_bytes = 0

    @property
    def how(self) -> str:
        """Whether the memory could be page-locked is part of the answer."""
        return f"copied ahead from {'page-locked' if self._is_locked else 'pageable'} memory"

    def host_buffer(self, n_bytes: int) -> torch.Tensor:
        """Page-locked memory; ordinary memory, which copies slower, where that fails."""
        flat = torch.empty(n_bytes, dtype=torch.uint8)
        is_locked = _page_lock(flat, self._device)
        self._is_locked = self._is_locked and is_locked
        self.locked_bytes += n_bytes if is_locked else 0
        # A copy may be under way when the model is dropped: wait, and only then unlock.
        weakref.finalize(self, _release, self._stream, flat, is_locked=is_locked)
        return flat

    def device_buffer(self, n_bytes: int) -> torch.Tensor:
        """Memory that torch hands out again only when copies into it are done, too."""
        flat = torch.empty(n_bytes, dtype=torch.uint8, device=self._device)
        flat.record_stream(self._stream)
        return flat

    def copy(self, target: torch.Tensor, source: torch.Tensor, after: Event) -> Event:
        """Beside the computation."""
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(after)
            target.copy_(source, non_blocking=True)
            return self._event_on(self._stream)

    def wait(self, event: Event) -> None:
        """The current stream waits; the host does not."""
        torch.cuda.current_stream(self._device).wait_event(event)

    def mark(self) -> Event:
        """Of the current stream."""
        return self._event_on(torch.cuda.current_stream(self._device))

    @staticmethod
    def _event_on(stream: torch.cuda.Stream) -> torch.cuda.Event:
        event: torch.cuda.Event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(stream)
        return event


def _page_lock(flat: torch.Tensor, device: torch.device) -> bool:
    """Lock memory in place, so that the device can read it by itself; whether that worked.

    Not `pin_memory()`, which copies into an allocation rounded up to a power of two.
    """
    cudart = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    with torch.cuda.device(device):  # or a model on cuda:1 would open a context on cuda:0
        status = cudart.cudaHostRegister(flat.data_ptr(), flat.numel(), 0)
    if int(status) == 0:
        return True
    # CUDA remembers the failure, and torch would take it for the next kernel's.
    with contextlib.suppress(RuntimeError):
        torch.zeros(1, device=device)
    return False


def _release(stream: torch.cuda.Stream, flat: torch.Tensor, *, is_locked: bool) -> None:
    stream.synchronize()
    if not is_locked:
        return
    with torch.cuda.device(stream.device):
        torch.cuda.cudart().cudaHostUnregister(flat.data_ptr())  # type: ignore[no-untyped-call]
