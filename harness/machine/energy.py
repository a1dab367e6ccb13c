"""Counters of energy: RAPL for processors and memory (Linux), NVML for GPUs.

A counter only grows, until it begins again at 0. Each stands behind a small class with a root, or
bindings, that a test can replace. macOS tells power to root alone, so it has none here.
"""

from __future__ import annotations

import math
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.machine.facts import NotKnown, read
from harness.machine.nvml import Load, cuda_gpus, load_nvml, open_nvml, told
from harness.machine.switch import VARIABLE, probes_are_off

_RAPL = "sys/class/powercap"
_ZONE = re.compile(r"intel-rapl:(\d+)(:\d+)?")  # AMD's go by the same name; -mmio ones are doubles
# What a counter counts for takes no more than this: so a second wrap can be ruled out.
_MOST_W = {"package": 1000.0, "dram": 400.0}
_FEWEST_RENEWALS = 5  # in a window: with fewer, a value more or less would be much of it
CPU = "processor"


class Counter(Protocol):
    """One counter of energy."""

    @property
    def name(self) -> str:
        """Package-0, dram-0, cuda:0."""

    @property
    def method(self) -> str:
        """What it is read from."""

    @property
    def wraps_at_j(self) -> float | None:
        """Where it begins again at 0; None: never."""

    @property
    def most_w(self) -> float:
        """What it counts for never takes more watts."""

    @property
    def renewed_s(self) -> float:
        """Seconds from one of its values to the next, about."""

    def joules(self) -> float:
        """Its value now. Raises `NotKnown` where it cannot be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RaplCounter:
    """A zone of the kernel's power capping framework."""

    name: str
    root: Path
    zone: str
    wraps_at_j: float | None
    most_w: float = max(_MOST_W.values())
    renewed_s: float = 0.001
    method: str = "RAPL"

    def joules(self) -> float:
        """The kernel counts microjoules."""
        return _microjoules(self.root, f"{_RAPL}/{self.zone}/energy_uj")


@dataclass(frozen=True, kw_only=True, slots=True)
class NvmlCounter:
    """A GPU's total since its driver was loaded (Volta and later)."""

    name: str
    nvml: Any
    handle: Any
    wraps_at_j: float | None = None
    most_w: float = math.inf
    renewed_s: float = 0.1
    method: str = "NVML total energy"

    def joules(self) -> float:
        """NVML counts millijoules."""
        with told(self.nvml):
            return int(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)) / 1e3


@dataclass(frozen=True, kw_only=True, slots=True)
class EnergyReading:
    """All counters of a meter at one time."""

    at_s: float
    joules: Mapping[str, float]
    missing: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Meter:
    """Some counters, and why what has none has none."""

    counters: Sequence[Counter] = ()
    missing: Mapping[str, str]  # CPU, or a device -> why
    clock: Callable[[], float] = time.monotonic

    @property
    def methods(self) -> dict[str, str]:
        """Counter -> what it is read from."""
        return {counter.name: counter.method for counter in self.counters}

    def read(self) -> EnergyReading:
        """Look at every counter; well under a millisecond. Never raises."""
        joules: dict[str, float] = {}
        missing: dict[str, str] = {}
        for counter in self.counters:
            value = _ask(counter)
            if isinstance(value, str):
                missing[counter.name] = value
            else:
                joules[counter.name] = value
        return EnergyReading(at_s=self.clock(), joules=joules, missing=missing)

    def between(
        self, before: EnergyReading, after: EnergyReading
    ) -> tuple[dict[str, float], dict[str, str]]:
        """Joules of each counter from one reading to the next, and why a counter has none."""
        joules: dict[str, float] = {}
        missing = {**before.missing, **after.missing}
        took_s = after.at_s - before.at_s
        for counter in self.counters:
            name = counter.name
            if name in missing:
                continue
            found = _moved(counter, before.joules[name], after.joules[name], took_s)
            if isinstance(found, str):
                missing[name] = found
            else:
                joules[name] = found
        return joules, missing


def _ask(counter: Counter) -> float | str:
    """The counter's value, or why it cannot be read."""
    try:
        return counter.joules()
    except NotKnown as error:
        return str(error)


def _moved(counter: Counter, before: float, after: float, took_s: float) -> float | str:
    """Joules between two values, `took_s` seconds apart; or why they tell nothing."""
    wraps = counter.wraps_at_j
    if took_s < _FEWEST_RENEWALS * counter.renewed_s:
        return (
            f"{took_s:.3f} s is too short for a counter that is renewed about every "
            f"{counter.renewed_s:g} s"
        )
    if wraps is not None and took_s * counter.most_w > wraps:
        return f"it begins again after {wraps:.0f} J, perhaps more than once in {took_s:.0f} s"
    moved = moved_j(before, after, wraps)
    if moved is None:
        return "the counter went back"
    return moved or f"the counter did not move in {took_s:.3f} s"


def moved_j(before: float, after: float, wraps_at_j: float | None) -> float | None:
    """What a counter moved by, one wrap-around included; None where it went back."""
    if after >= before:
        return after - before
    return None if wraps_at_j is None else after + wraps_at_j - before


def open_meter(
    devices: Collection[str] | None = None,
    root: Path = Path("/"),
    *,
    platform: str = sys.platform,
    environ: Mapping[str, str] = os.environ,
    load: Load = load_nvml,
) -> Meter:
    """The counters of the processor, and of the CUDA devices among `devices` (None: all)."""
    if probes_are_off():
        return Meter(missing={CPU: f"probes are switched off by {VARIABLE}"})
    counters: list[Counter] = []
    missing: dict[str, str] = {}
    try:
        counters += rapl_counters(root, platform)
    except NotKnown as error:
        missing[CPU] = str(error)
    wanted = None if devices is None else {name for name in devices if name != "cpu"}
    if wanted is None or wanted:
        found = _gpu_counters(root, environ, load)
        if isinstance(found, str):
            missing.update(dict.fromkeys(sorted(wanted or ()), found))
        else:
            chosen = [one for one in found if wanted is None or one.name in wanted]
            counters += chosen
            for name in sorted((wanted or set()) - {one.name for one in chosen}):
                missing[name] = "it has no counter that can be read here"
    return Meter(counters=tuple(counters), missing=missing)


def rapl_counters(root: Path, platform: str = sys.platform) -> list[RaplCounter]:
    """Packages and their memory. Raises `NotKnown` where there is none, or only root may read."""
    if platform != "linux":
        raise NotKnown(f"{platform} tells what a processor takes to root alone (powermetrics)")
    zones = sorted(path.name for path in (root / _RAPL).glob("intel-rapl:*"))
    found = []
    for zone in zones:
        match = _ZONE.fullmatch(zone)
        name = read(root, f"{_RAPL}/{zone}/name") if match else ""
        kind = name.partition("-")[0]
        if match is None or kind not in _MOST_W:
            continue  # psys is the platform, core and uncore are parts of a package
        found.append(
            RaplCounter(
                name=name if "-" in name else f"{name}-{match[1]}",
                root=root,
                zone=zone,
                wraps_at_j=_microjoules(root, f"{_RAPL}/{zone}/max_energy_range_uj"),
                most_w=_MOST_W[kind],
            )
        )
        found[-1].joules()  # may we?
    if not found:
        raise NotKnown(f"/{_RAPL}: the kernel shows no energy counter (RAPL) here")
    return found


def _gpu_counters(root: Path, environ: Mapping[str, str], load: Load) -> list[NvmlCounter] | str:
    """Those that CUDA shows to this process, by CUDA's names; or why there are none."""
    try:
        nvml = open_nvml(root, load)  # left open: the counters are read again and again
        with told(nvml):
            numbers = cuda_gpus(nvml, environ.get("CUDA_VISIBLE_DEVICES"))
    except NotKnown as why:
        return str(why)
    found = []
    for name, number in numbers.items():
        with suppress(NotKnown), told(nvml):
            handle = nvml.nvmlDeviceGetHandleByIndex(number)
            counter = NvmlCounter(name=name, nvml=nvml, handle=handle)
            counter.joules()
            found.append(counter)
    return found


def _microjoules(root: Path, path: str) -> float:
    """The joules in a file; where only root may read it, with what helps. Raises `NotKnown`."""
    if not os.access(root / path, os.R_OK) and (root / path).exists():
        raise NotKnown(f"/{path}: only root may read it; to allow it: sudo chmod a+r /{path}")
    text = read(root, path)
    if not text.isdecimal():
        raise NotKnown(f"/{path}: not understood: {text[:40]!r}")
    return int(text) / 1e6
