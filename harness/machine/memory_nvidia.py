"""What the NVIDIA driver says is in use: by this process, and on the whole device.

Asked at the end of a phase, through NVML, which starts no CUDA context; opening it takes some
milliseconds. Knows CUDA's numbering (`cuda:1`), not what lies there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.machine.memory import MemoryReading
from harness.machine.nvidia import cuda_handles, load_nvml
from harness.machine.switch import VARIABLE, probes_are_off

NAMES = ("process_bytes", "device_used_bytes")
_METHODS = {"process_bytes": "NVML, at the end", "device_used_bytes": "NVML, at the end"}
_UNKNOWN = 2**64 - 1  # NVML's "not available", where bindings hand it on as a number


def nvidia_memory(
    devices: Sequence[str],
    *,
    load: Callable[[], Any] = load_nvml,
    environ: Mapping[str, str] = os.environ,
    pid: int | None = None,
) -> dict[str, dict[str, MemoryReading]]:
    """Each figure of `NAMES` for each of `devices` (`cuda`, `cuda:1`); empty without any.

    Never raises: what is not known is missing with the reason. The other arguments are for tests.
    """
    if not devices:
        return {}
    if probes_are_off():
        return _without(devices, f"probes are switched off by {VARIABLE}")
    try:
        nvml = load()
    except ImportError:
        return _without(devices, "NVML's bindings are not installed (extra: cuda)")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return _without(devices, f"NVML: {error}")
    try:
        handles = cuda_handles(nvml, environ.get("CUDA_VISIBLE_DEVICES"))
        me = os.getpid() if pid is None else pid
        return {device: _of(nvml, handles, device, me) for device in devices}
    except nvml.NVMLError as error:
        return _without(devices, f"NVML: {error}")
    finally:
        nvml.nvmlShutdown()


def _of(nvml: Any, handles: Sequence[Any], device: str, pid: int) -> dict[str, MemoryReading]:
    number = int(device.partition(":")[2] or 0)
    if number >= len(handles):
        return _without([device], f"NVML does not know {device}")[device]
    questions: dict[str, Callable[[], int | str]] = {
        "process_bytes": lambda: _of_process(nvml, handles[number], pid),
        "device_used_bytes": lambda: int(nvml.nvmlDeviceGetMemoryInfo(handles[number]).used),
    }
    found = {}
    for name, question in questions.items():
        try:
            answer = question()
        except nvml.NVMLError as error:
            answer = f"NVML: {error}"
        found[name] = (
            MemoryReading(missing=answer)
            if isinstance(answer, str)
            else MemoryReading(bytes=answer, method=_METHODS[name])
        )
    return found


def _of_process(nvml: Any, handle: Any, pid: int) -> int | str:
    """Bytes, or why they are not known."""
    running = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    mine = [one for one in running if one.pid == pid]
    if not mine:
        return "NVML names no process of this number: a container counts its own otherwise"
    used = [one.usedGpuMemory for one in mine]
    if any(n is None or n == _UNKNOWN for n in used):
        return "NVML knows the process, and not what it holds (Windows, WSL, MIG)"
    return sum(int(n) for n in used)


def _without(devices: Sequence[str], reason: str) -> dict[str, dict[str, MemoryReading]]:
    return {device: dict.fromkeys(NAMES, MemoryReading(missing=reason)) for device in devices}
