"""What torch's allocators say of accelerators and page-locked memory, for both engines with torch.

CUDA's allocator keeps peaks, which can begin anew; Metal's keeps none: of it, what it holds now.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.mps  # by name: torch 2.0 does not import it by itself

from harness.engines.memory import Held, SessionMemory

_NO_PEAK = Held(missing="torch keeps no peak for mps")
_CUDA = "torch.cuda"
_NOW = "at the end"


def torch_memory(devices: Iterable[str], locked_bytes: int | None = None) -> SessionMemory:
    """Of `devices` (`cuda`, `cuda:1`, `mps`); `locked_bytes` are what the engine page-locked."""
    named = sorted(set(devices))
    return SessionMemory(
        devices={device: _of(device) for device in named}, pinned=_pinned(named, locked_bytes)
    )


def restart_torch_memory(devices: Iterable[str]) -> None:
    """Let peaks begin anew where there are any."""
    for device in sorted(set(devices)):
        if device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(device)


def _of(device: str) -> dict[str, Held]:
    if device.startswith("mps"):
        held = Held(
            bytes=int(torch.mps.driver_allocated_memory()),
            method=f"torch.mps.driver_allocated_memory, {_NOW}",
        )
        return {
            "allocated_peak_bytes": _NO_PEAK,
            "reserved_peak_bytes": _NO_PEAK,
            "process_bytes": held,
            "device_used_bytes": Held(missing="an Apple GPU shares the machine's memory"),
        }
    if not device.startswith("cuda"):
        return {}
    return {
        "allocated_peak_bytes": Held(
            bytes=int(torch.cuda.max_memory_allocated(device)),
            method=f"{_CUDA}.max_memory_allocated, begun anew with the phase",
        ),
        "reserved_peak_bytes": Held(
            bytes=int(torch.cuda.max_memory_reserved(device)),
            method=f"{_CUDA}.max_memory_reserved, begun anew with the phase",
        ),
        "device_used_bytes": _in_use(device),
    }


def _in_use(device: str) -> Held:
    try:
        free, total = torch.cuda.mem_get_info(device)
    except RuntimeError as error:  # where the driver does not say
        return Held(missing=f"{_CUDA}.mem_get_info: {error}")
    return Held(bytes=total - free, method=f"{_CUDA}.mem_get_info, {_NOW}")


def _pinned(devices: list[str], locked_bytes: int | None) -> Held:
    if not any(device.startswith("cuda") for device in devices):
        return Held(missing="nothing is copied to a CUDA device, so nothing is page-locked for one")
    of_torch = _host_allocator_bytes()
    if locked_bytes is None and of_torch is None:
        return Held(missing="neither the engine nor this torch says what is page-locked")
    parts = {"the engine's own buffers": locked_bytes, "torch's host allocator": of_torch}
    counted = [name for name, n in parts.items() if n is not None]
    return Held(bytes=(locked_bytes or 0) + (of_torch or 0), method=f"{' and '.join(counted)}, now")


def _host_allocator_bytes() -> int | None:
    """What torch's allocator of page-locked memory has taken; None before torch 2.8."""
    ask = getattr(torch.cuda, "host_memory_stats", None)
    if ask is None:
        return None
    found = ask().get("allocated_bytes.current")
    return None if found is None else int(found)
