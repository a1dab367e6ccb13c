"""Which sources there are: by operating system, and for the GPUs that a trial uses.

Made once for a run, so that NVML is opened once; the sources are made anew for each trial.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.machine.facts import NotKnown
from harness.machine.nvml import Load, Nvml, cuda_gpus, load_nvml, of_devices, told
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
        environ: Mapping[str, str] = os.environ,
        load: Load = load_nvml,
    ) -> None:
        self._root, self._platform = root, platform
        self._visible = environ.get("CUDA_VISIBLE_DEVICES")
        self._nvml = Nvml(root, load)

    def sources(self, *, gpus: Collection[str] | None) -> tuple[Source, ...]:
        """New sources for one trial.

        `gpus` are the CUDA devices that it uses (`cuda:0`), for the others do not disturb it; None:
        all that the machine has.
        """
        if probes_are_off():
            return (Absent(ALL_FIGURES, f"probes are switched off by {VARIABLE}"),)
        found: list[Source] = []
        if self._platform == "linux":
            found = self._linux()
        elif self._platform == "darwin":
            found = [DarwinCpuTime(), DarwinSwap(), DarwinThrottling(), DarwinBattery()]
        found.append(self._gpus(gpus))
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

    def _gpus(self, devices: Collection[str] | None) -> Source:
        if devices is not None and not devices:
            return Absent(_GPU_FIGURES, "the strategy uses no NVIDIA GPU")
        try:
            nvml = self._nvml.get()
            with told(nvml):
                numbers = self._numbers(nvml, devices)
        except NotKnown as why:
            return Absent(_GPU_FIGURES, str(why))
        return Gpus(nvml, self._root, numbers)

    def _numbers(self, nvml: Any, devices: Collection[str] | None) -> list[int]:
        """NVML's; of the whole machine also those that CUDA does not show."""
        if devices is None:
            return list(range(nvml.nvmlDeviceGetCount()))
        return sorted(of_devices(cuda_gpus(nvml, self._visible), devices).values())
