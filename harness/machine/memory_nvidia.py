"""What the NVIDIA driver says is in use: by this process, and on the whole device.

Asked at the end of a phase, through NVML, which starts no CUDA context; opening it takes some
milliseconds. Knows CUDA's numbering (`cuda:1`), not what lies there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.machine.facts import NotKnown
from harness.machine.memory import MemoryReading
from harness.machine.nvml import Load, cuda_gpus, load_nvml, opened_nvml, told
from harness.machine.switch import VARIABLE, probes_are_off

NAMES = ("process_bytes", "device_used_bytes")
_METHOD = "NVML, at the end"
_UNKNOWN = 2**64 - 1  # NVML's "not available", where bindings hand it on as a number


def nvidia_memory(
    devices: Sequence[str],
    *,
    root: Path = Path("/"),
    load: Load = load_nvml,
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
    me = os.getpid() if pid is None else pid
    try:
        with opened_nvml(root, load) as nvml:
            numbers = cuda_gpus(nvml, environ.get("CUDA_VISIBLE_DEVICES"))
            return {device: _of(nvml, numbers, device, me) for device in devices}
    except NotKnown as why:
        return _without(devices, str(why))


def _of(nvml: Any, numbers: Mapping[str, int], device: str, pid: int) -> dict[str, MemoryReading]:
    number = numbers.get("cuda:0" if device == "cuda" else device)
    if number is None:
        return _without([device], f"NVML does not know {device}")[device]
    handle = nvml.nvmlDeviceGetHandleByIndex(number)
    questions: dict[str, Callable[[], int]] = {
        "process_bytes": lambda: _of_process(nvml, handle, pid),
        "device_used_bytes": lambda: int(nvml.nvmlDeviceGetMemoryInfo(handle).used),
    }
    return {name: _answer(nvml, question) for name, question in questions.items()}


def _answer(nvml: Any, question: Callable[[], int]) -> MemoryReading:
    try:
        with told(nvml):
            return MemoryReading(bytes=question(), method=_METHOD)
    except NotKnown as why:
        return MemoryReading(missing=str(why))


def _of_process(nvml: Any, handle: Any, pid: int) -> int:
    """Bytes; raises `NotKnown` where they are not told."""
    running = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    mine = [one for one in running if one.pid == pid]
    if not mine:
        raise NotKnown("NVML names no process of this number: a container counts its own otherwise")
    used = [one.usedGpuMemory for one in mine]
    if any(n is None or n == _UNKNOWN for n in used):
        raise NotKnown("NVML knows the process, and not what it holds (Windows, WSL, MIG)")
    return sum(int(n) for n in used)


def _without(devices: Sequence[str], reason: str) -> dict[str, dict[str, MemoryReading]]:
    return {device: dict.fromkeys(NAMES, MemoryReading(missing=reason)) for device in devices}
