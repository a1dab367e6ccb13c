"""How warm the machine is, and what the clock of its CPU is limited to: one reading at a time.

For the wait before a trial; what happens beside a trial is `quiet/`'s. Raises nothing: what the
machine does not tell is missing, with the reason.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.machine.facts import NotKnown, read
from harness.machine.nvml import Load, Nvml, cuda_gpus, load_nvml, of_devices, told
from harness.machine.quiet.clocks import Temperature
from harness.machine.quiet.darwin import Run, parse_speed_limit, run_program
from harness.machine.switch import VARIABLE, probes_are_off

CPU = "cpu"
GPU = "gpu"  # in place of devices, where none of them tells
LIMIT = "cpu_clock_limit_percent"
_POLICIES = "sys/devices/system/cpu/cpufreq/policy*"


@dataclass(frozen=True, kw_only=True)
class HeatReading:
    """What could be read at one moment."""

    celsius: dict[str, float] = field(default_factory=dict)  # of "cpu", "cuda:0", …
    cpu_clock_limit_percent: float | None = None  # what is allowed of the CPU's highest clock
    method: dict[str, str] = field(default_factory=dict)  # figure -> where it comes from
    missing: dict[str, str] = field(default_factory=dict)  # figure -> why there is none


class HeatProbe:
    """Reads temperatures: the processor's, and those of `devices` (`cuda:0`; None: of all)."""

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        devices: Collection[str] | None = (),
        platform: str = sys.platform,
        environ: Mapping[str, str] = os.environ,
        load: Load = load_nvml,
        run: Run = run_program,
    ) -> None:
        self._root, self._platform, self._run = root, platform, run
        self._devices = devices
        self._visible = environ.get("CUDA_VISIBLE_DEVICES")
        self._nvml = Nvml(root, load)

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
        if self._devices is None or self._devices:
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
        nvml = self._nvml.get()
        found: dict[str, float] = {}
        with told(nvml):
            for name, number in of_devices(cuda_gpus(nvml, self._visible), self._devices).items():
                handle = nvml.nvmlDeviceGetHandleByIndex(number)
                celsius = nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
                found[name] = float(celsius)
        return found
