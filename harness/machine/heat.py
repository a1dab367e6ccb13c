"""How warm the machine is, and what the clock of its CPU is limited to: one reading at a time.

For the wait before a trial; what happens beside a trial is `quiet/`'s. Raises nothing: what the
machine does not tell is missing, with the reason.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.machine.facts import NotKnown, read
from harness.machine.nvidia import load_nvml
from harness.machine.quiet.clocks import Temperature
from harness.machine.quiet.darwin import Run, parse_speed_limit, run_program
from harness.machine.switch import VARIABLE, probes_are_off

CPU = "cpu"
GPU = "gpu"  # followed by NVML's number
LIMIT = "cpu_clock_limit_percent"
_POLICIES = "sys/devices/system/cpu/cpufreq/policy*"
_DRIVERS = ("proc/driver/nvidia", "dev/dxg")  # the second is WSL's


@dataclass(frozen=True, kw_only=True)
class HeatReading:
    """What could be read at one moment."""

    celsius: dict[str, float] = field(default_factory=dict)  # of "cpu", "gpu0", …
    cpu_clock_limit_percent: float | None = None  # what is allowed of the CPU's highest clock
    method: dict[str, str] = field(default_factory=dict)  # figure -> where it comes from
    missing: dict[str, str] = field(default_factory=dict)  # figure -> why there is none


class HeatProbe:
    """Reads temperatures; `gpus`: of the NVIDIA GPUs too."""

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        gpus: bool = False,
        platform: str = sys.platform,
        load: Callable[[], Any] = load_nvml,
        run: Run = run_program,
    ) -> None:
        self._root, self._gpus, self._platform = root, gpus, platform
        self._load, self._run = load, run
        self._nvml: Any = None  # left open: a GPU without persistence would restart its driver

    def read(self) -> HeatReading:
        """One reading."""
        if probes_are_off():
            why = f"probes are switched off by {VARIABLE}"
            return HeatReading(missing=dict.fromkeys((CPU, LIMIT), why))
        celsius: dict[str, float] = {}
        method: dict[str, str] = {}
        missing: dict[str, str] = {}
        limit: float | None = None
        try:
            celsius[CPU], method[CPU] = self._cpu()
        except NotKnown as why:
            missing[CPU] = str(why)
        try:
            limit, method[LIMIT] = self._limit()
        except NotKnown as why:
            missing[LIMIT] = str(why)
        if self._gpus:
            try:
                found = self._gpu_temperatures()
                celsius |= found
                method |= dict.fromkeys(found, "NVML")
            except NotKnown as why:
                missing[GPU] = str(why)
        return HeatReading(
            celsius=celsius, cpu_clock_limit_percent=limit, method=method, missing=missing
        )

    def _cpu(self) -> tuple[float, str]:
        if self._platform == "darwin":
            raise NotKnown("macOS tells temperatures to root only")
        if self._platform != "linux":
            raise NotKnown(f"no probe for {self._platform}")
        return Temperature(self._root).read(0), "hottest sensor of the processor, hwmon or thermal"

    def _limit(self) -> tuple[float, str]:
        if self._platform == "darwin":
            return float(parse_speed_limit(self._run(["/usr/bin/pmset", "-g", "therm"]))), "pmset"
        lowest = [self._policy(policy) for policy in sorted(self._root.glob(_POLICIES))]
        if not lowest:
            raise NotKnown("no clock limit is told here (virtual machines do not)")
        return min(lowest), "cpufreq, scaling_max_freq of cpuinfo_max_freq"

    def _policy(self, policy: Path) -> float:
        folder = policy.relative_to(self._root)
        try:
            now = int(read(self._root, str(folder / "scaling_max_freq")))
            return 100 * now / int(read(self._root, str(folder / "cpuinfo_max_freq")))
        except (ValueError, ZeroDivisionError) as error:
            raise NotKnown(f"/{folder} is not understood") from error

    def _gpu_temperatures(self) -> dict[str, float]:
        nvml = self._opened()
        found: dict[str, float] = {}
        try:
            for index in range(nvml.nvmlDeviceGetCount()):
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                celsius = nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
                found[f"{GPU}{index}"] = float(celsius)
        except nvml.NVMLError as error:
            raise NotKnown(f"NVML: {error}") from error
        return found

    def _opened(self) -> Any:
        if self._nvml is None:
            if not any((self._root / path).exists() for path in _DRIVERS):
                raise NotKnown("no NVIDIA driver is loaded")
            try:
                nvml = self._load()
            except ImportError as error:
                raise NotKnown("NVML's bindings are not installed (extra: cuda)") from error
            try:
                nvml.nvmlInit()
            except nvml.NVMLError as error:
                raise NotKnown(f"NVML: {error}") from error
            self._nvml = nvml
        return self._nvml
