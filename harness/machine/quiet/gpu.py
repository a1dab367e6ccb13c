"""NVIDIA GPUs while they work: clocks, heat, power, what slows them down, and who else is there.

Asks NVML, which starts no CUDA context. Of other processes only their number is told.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from harness.machine.nvml import text_of, told
from harness.machine.quiet.cpu_time import children
from harness.machine.quiet.source import Figures, long_enough

# NVML's bits of why a clock is not higher, and whether that disturbs a measurement: a power limit
# and clocks that somebody set are how the card is meant to run, heat and faults are not.
SET_BY_USER = "clocks set by the user"
REASONS = {
    0x2: (SET_BY_USER, False),
    0x4: ("power limit", False),
    0x8: ("hardware slowdown", True),
    0x10: ("sync boost", False),
    0x20: ("heat, by the driver", True),
    0x40: ("heat, by the hardware", True),
    0x80: ("power brake", True),
    0x100: ("display clocks", False),
}
SLOWDOWN = sum(bit for bit, (_, disturbs) in REASONS.items() if disturbs)


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuReading:
    """One GPU at one moment; what NVML does not say of it is None."""

    index: int
    name: str
    sm_mhz: int | None
    celsius: int | None
    watts: float | None
    reasons: int | None  # bits
    strangers: int | None  # processes that compute on it and are not the worker's


class Gpus:
    """GPUs by NVML's numbers."""

    figures = ("gpus", "gpu_throttle_share", "foreign_gpu_processes")
    sampled = True

    def __init__(self, nvml: Any, root: Path, numbers: Sequence[int]) -> None:
        self._nvml, self._root, self._numbers = nvml, root, tuple(numbers)
        self._before: dict[int, frozenset[int]] = {}  # processes before the worker came

    def read(self, worker: int) -> list[GpuReading]:
        """One look at each; the first must come before the worker touches a GPU."""
        own = {worker, *_descendants(self._root, worker)}
        with told(self._nvml):
            return [self._one(index, own) for index in self._numbers]

    def tell(self, readings: Sequence[list[GpuReading]], seconds: float) -> Figures:
        """Each GPU by itself, and the worst of them against the limits."""
        long_enough(seconds)
        by_gpu = list(zip(*readings, strict=True))
        slowed = [_share([r.reasons for r in one]) for one in by_gpu]
        strangers = [r.strangers for one in by_gpu for r in one if r.strangers is not None]
        found: dict[str, Any] = {"gpus": [_summary(one) for one in by_gpu]}
        if any(one is not None for one in slowed):
            found["gpu_throttle_share"] = max(one for one in slowed if one is not None)
        if strangers:
            found["foreign_gpu_processes"] = max(strangers)
        return found

    def _one(self, index: int, own: Collection[int]) -> GpuReading:
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        name = nvml.nvmlDeviceGetName(handle)
        watts = self._ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        return GpuReading(
            index=index,
            name=text_of(name),
            sm_mhz=self._ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            celsius=self._ask(
                lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
            ),
            watts=None if watts is None else watts / 1000,
            reasons=self._ask(lambda: _reasons_of(nvml)(handle)),
            strangers=self._strangers(index, handle, own),
        )

    def _strangers(self, index: int, handle: Any, own: Collection[int]) -> int | None:
        processes = self._ask(lambda: self._nvml.nvmlDeviceGetComputeRunningProcesses(handle))
        if processes is None:
            return None
        there = frozenset(process.pid for process in processes)
        before = self._before.setdefault(index, there - frozenset(own))
        others = there - frozenset(own)
        # In a container NVML names processes by numbers of the host: one that came is the worker.
        came = others - before
        unknown_is_ours = bool(came) and not there & frozenset(own)
        return len(others) - int(unknown_is_ours)

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except self._nvml.NVMLError:
            return None  # "Not Supported" on many a consumer GPU


def _reasons_of(nvml: Any) -> Callable[[Any], int]:
    """The question for what slows a GPU down, by its old name or the one of newer bindings."""
    old = getattr(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", None)
    question: Callable[[Any], int] = old or nvml.nvmlDeviceGetCurrentClocksEventReasons
    return question


def _descendants(root: Path, pid: int) -> list[int]:
    found = children(root, pid)
    return found + [one for child in found for one in _descendants(root, child)]


def _summary(readings: Sequence[GpuReading]) -> dict[str, Any]:
    first = readings[0]
    mhz = [r.sm_mhz for r in readings if r.sm_mhz is not None]
    heat = [r.celsius for r in readings if r.celsius is not None]
    watts = [r.watts for r in readings if r.watts is not None]
    bits = [r.reasons for r in readings if r.reasons is not None]
    return {
        "index": first.index,
        "name": first.name,
        "sm_min_mhz": min(mhz, default=None),
        "sm_median_mhz": median(mhz) if mhz else None,
        "max_celsius": max(heat, default=None),
        "mean_watts": fmean(watts) if watts else None,
        "slowed_by": [name for bit, (name, _) in REASONS.items() if any(bit & b for b in bits)],
    }


def _share(reasons: Sequence[int | None]) -> float | None:
    """The part of the readings in which something slowed the GPU down."""
    known = [bits for bits in reasons if bits is not None]
    return sum(bool(bits & SLOWDOWN) for bits in known) / len(known) if known else None
