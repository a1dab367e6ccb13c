"""Linux: clocks, throttling and temperature of the processor, and where its power comes from.

A virtual machine has none of these files: its host's clock is not its business.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from harness.machine.facts import NotKnown, read
from harness.machine.quiet.source import Figures, Growth, PartOfReadings, understood

_CPU = "sys/devices/system/cpu"
_MOST_CLOCKS = 16  # reading a clock may wake its core, so not all of a large machine's are read
_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")  # what hwmon calls processors
_ZONES = ("x86_pkg_temp", "cpu-thermal", "cpu_thermal", "soc_thermal", "acpitz")


class Clock:
    """Clocks of the processor's cores, or of some of them on a large machine."""

    figures = ("cpu_min_mhz", "cpu_median_mhz")
    sampled = True

    def __init__(self, root: Path) -> None:
        self._root = root
        files = sorted(root.glob(f"{_CPU}/cpufreq/policy*/scaling_cur_freq"))
        step = -(-len(files) // _MOST_CLOCKS) or 1
        self._paths = [str(file.relative_to(root)) for file in files[::step]]

    def read(self, worker: int) -> list[float]:
        """MHz of each."""
        del worker
        if not self._paths:
            raise NotKnown("no clock is told here (virtual machines do not)")
        return [understood(int, read(self._root, path), path) / 1000 for path in self._paths]

    def tell(self, readings: Sequence[list[float]], seconds: float) -> Figures:
        """Of the fastest core at each moment, which is one that works: idle ones rest."""
        del seconds
        fastest = [max(one) for one in readings]
        return {"cpu_min_mhz": min(fastest), "cpu_median_mhz": median(fastest)}


class Throttling(Growth):
    """How often the processor slowed down to stay within heat or power."""

    figures = ("throttle_events",)

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, worker: int) -> tuple[int]:
        """Events since boot: of each core, and of the package once."""
        del worker
        cores = self._counts("core_throttle_count")
        packages = self._counts("package_throttle_count")
        if not cores and not packages:
            raise NotKnown("no counters of throttling here (Intel's driver has them)")
        return (sum(cores) + max(packages, default=0),)

    def _counts(self, name: str) -> list[int]:
        files = self._root.glob(f"{_CPU}/cpu[0-9]*/thermal_throttle/{name}")
        paths = [str(file.relative_to(self._root)) for file in files]
        return [understood(int, read(self._root, path), path) for path in paths]


class Temperature:
    """The processor's highest temperature."""

    figures = ("cpu_first_celsius", "cpu_max_celsius")
    sampled = True

    def __init__(self, root: Path) -> None:
        self._root = root
        self._paths = list(_sensors(root))

    def read(self, worker: int) -> float:
        """Degrees of the hottest sensor."""
        del worker
        if not self._paths:
            raise NotKnown("no sensor of the processor here (virtual machines have none)")
        paths = self._paths
        return max(understood(int, read(self._root, path), path) for path in paths) / 1000

    def tell(self, readings: Sequence[float], seconds: float) -> Figures:
        """At the start, and the highest."""
        del seconds
        return {"cpu_first_celsius": readings[0], "cpu_max_celsius": max(readings)}


class Battery(PartOfReadings):
    """Whether the machine runs on its battery."""

    figures = ("battery_share",)

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, worker: int) -> bool:
        """Whether a battery is being emptied, and no mains is there."""
        del worker
        folder = self._root / "sys/class/power_supply"
        if not folder.is_dir():
            raise NotKnown("/sys/class/power_supply: nothing there")
        supplies = [str(one.relative_to(self._root)) for one in sorted(folder.iterdir())]
        types = {
            path: _text(self._root, f"{path}/type")
            for path in supplies
            if _text(self._root, f"{path}/scope") != "Device"  # a mouse has a battery of its own
        }
        mains = [path for path, kind in types.items() if kind in ("Mains", "USB")]
        batteries = [path for path, kind in types.items() if kind == "Battery"]
        if not mains and not batteries:
            raise NotKnown("neither mains nor a battery is told here")
        if any(_text(self._root, f"{path}/online") == "1" for path in mains):
            return False
        return any(_text(self._root, f"{path}/status") == "Discharging" for path in batteries)


def _sensors(root: Path) -> list[str]:
    for chip in sorted(root.glob("sys/class/hwmon/hwmon*")):
        if _text(root, str((chip / "name").relative_to(root))) in _CHIPS:
            return [str(file.relative_to(root)) for file in sorted(chip.glob("temp*_input"))]
    zones = {
        _text(root, str((zone / "type").relative_to(root))): str((zone / "temp").relative_to(root))
        for zone in sorted(root.glob("sys/class/thermal/thermal_zone*"))
    }
    return next(([zones[kind]] for kind in _ZONES if kind in zones), [])


def _text(root: Path, path: str) -> str:
    try:
        return read(root, path)
    except NotKnown:
        return ""
