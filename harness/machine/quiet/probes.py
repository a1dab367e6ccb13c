"""Which sources there are: by operating system, and with a GPU or without.

Made once for a run, so that NVML is opened once; the sources are made anew for each trial.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.machine.facts import NotKnown
from harness.machine.nvidia import load_nvml
from harness.machine.quiet.clocks import Battery, Clock, Temperature, Throttling
from harness.machine.quiet.cpu_time import CpuTime, CpuWait
from harness.machine.quiet.darwin import (
    DarwinBattery,
    DarwinCpuTime,
    DarwinSwap,
    DarwinThrottling,
)
from harness.machine.quiet.gpu import Gpus
from harness.machine.quiet.pressure import Pressure, Quota, Swap
from harness.machine.quiet.source import Figures, Source
from harness.machine.switch import VARIABLE, probes_are_off

ALL_FIGURES = (
    *("other_cpu_cores", "steal_share", "cpu_wait_share", "cpu_quota_share"),
    *("swap_in_bytes", "swap_out_bytes"),
    *("cpu_stall_share", "memory_stall_share", "io_stall_share"),
    *("cpu_min_mhz", "cpu_median_mhz", "throttle_events"),
    *("cpu_first_celsius", "cpu_max_celsius", "battery_share"),
    *("gpus", "gpu_throttle_share", "foreign_gpu_processes"),
)
_GPU_FIGURES = Gpus.figures


class Absent:
    """Stands for what this machine does not tell, and says why."""

    sampled = False

    def __init__(self, figures: Sequence[str], why: str) -> None:
        self.figures = tuple(figures)
        self._why = why

    def read(self, worker: int) -> Any:
        """Nothing can be read."""
        del worker
        raise NotKnown(self._why)

    def tell(self, readings: Sequence[Any], seconds: float) -> Figures:
        """Nothing was read."""
        del readings, seconds
        raise NotKnown(self._why)


class Probes:
    """The sources of this machine."""

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        platform: str = sys.platform,
        load: Callable[[], Any] = load_nvml,
    ) -> None:
        self._root, self._platform, self._load = root, platform, load
        self._nvml: Any = None
        self._why_no_nvml: str | None = None

    def sources(self, *, gpus: bool) -> tuple[Source, ...]:
        """New sources for one trial; `gpus`: whether it uses any, for else they do not matter."""
        if probes_are_off():
            return (Absent(ALL_FIGURES, f"probes are switched off by {VARIABLE}"),)
        found: list[Source] = []
        if self._platform == "linux":
            found = self._linux()
        elif self._platform == "darwin":
            found = [DarwinCpuTime(), DarwinSwap(), DarwinThrottling(), DarwinBattery()]
        found.append(self._gpus() if gpus else Absent(_GPU_FIGURES, "the strategy uses no GPU"))
        told = {name for source in found for name in source.figures}
        lacking = [name for name in ALL_FIGURES if name not in told]
        name = "macOS" if self._platform == "darwin" else self._platform
        return (*found, Absent(lacking, f"{name} does not say"))

    def _linux(self) -> list[Source]:
        root = self._root
        return [
            CpuTime(root),
            CpuWait(root),
            Quota(root),
            Swap(root),
            *(Pressure(root, resource) for resource in ("cpu", "memory", "io")),
            Clock(root),
            Throttling(root),
            Temperature(root),
            Battery(root),
        ]

    def _gpus(self) -> Source:
        nvml = self._opened()
        if nvml is None:
            return Absent(_GPU_FIGURES, self._why_no_nvml or "no NVIDIA driver is loaded")
        return Gpus(nvml, self._root)

    def _opened(self) -> Any:
        """NVML, opened once and left open: a GPU without persistence would restart its driver."""
        if self._nvml is not None or self._why_no_nvml is not None:
            return self._nvml
        drivers = ("proc/driver/nvidia", "dev/dxg")  # the second is WSL's
        if not any((self._root / path).exists() for path in drivers):
            self._why_no_nvml = "no NVIDIA driver is loaded"
            return None
        try:
            nvml = self._load()
        except ImportError:
            self._why_no_nvml = "NVML's bindings are not installed (extra: cuda)"
            return None
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            self._why_no_nvml = f"NVML: {error}"
            return None
        self._nvml = nvml
        return nvml
