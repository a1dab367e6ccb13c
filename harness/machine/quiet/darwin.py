"""macOS: who used the processors, swapping, throttling and the battery.

`vm_stat` and `pmset` are programs that take some milliseconds, so they run before and after a
trial, never beside it. The `parse_` functions are pure.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence

from harness.machine.facts import NotKnown
from harness.machine.quiet.cpu_time import CpuTimes, others_busy
from harness.machine.quiet.source import Figures, Growth, PartOfReadings, long_enough

Run = Callable[[Sequence[str]], str]


def run_program(command: Sequence[str]) -> str:
    """What a program of the system prints; raises `NotKnown` where it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotKnown(f"{command[0]} cannot be run") from error
    return done.stdout


def read_cpu_times(worker: int) -> CpuTimes:
    """Of all processes, and of ours, through psutil."""
    import psutil

    times = psutil.cpu_times()
    own = 0.0
    try:
        process = psutil.Process(worker)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        family = []  # it is gone
    for one in (psutil.Process(), *family):
        try:
            used = one.cpu_times()
        except psutil.Error:
            continue
        own += used.user + used.system
    return CpuTimes(busy_s=times.user + times.nice + times.system, stolen_s=0.0, own_s=own)


class DarwinCpuTime:
    """CPU time of other processes."""

    figures = ("other_cpu_cores",)
    sampled = False

    def __init__(self, read_times: Callable[[int], CpuTimes] = read_cpu_times) -> None:
        self._read_times = read_times

    def read(self, worker: int) -> CpuTimes:
        """One look at all processes and at ours."""
        return self._read_times(worker)

    def tell(self, readings: Sequence[CpuTimes], seconds: float) -> Figures:
        """Processors that others kept busy."""
        return {"other_cpu_cores": others_busy(readings, seconds)}


class DarwinSwap(Growth):
    """Bytes that were read from swap, and written to it."""

    figures = ("swap_in_bytes", "swap_out_bytes")

    def __init__(self, run: Run = run_program) -> None:
        self._run = run

    def read(self, worker: int) -> tuple[int, int]:
        """Bytes since boot, in and out."""
        del worker
        return parse_vm_stat(self._run(["/usr/bin/vm_stat"]))


class DarwinThrottling:
    """Whether macOS says that it slows the processor down for heat."""

    figures = ("throttle_events",)
    sampled = False

    def __init__(self, run: Run = run_program) -> None:
        self._run = run

    def read(self, worker: int) -> int:
        """Percent of the full speed that the processor may have."""
        del worker
        return parse_speed_limit(self._run(["/usr/bin/pmset", "-g", "therm"]))

    def tell(self, readings: Sequence[int], seconds: float) -> Figures:
        """At how many of the readings, before and after, it was slowed down."""
        long_enough(seconds)
        return {"throttle_events": sum(percent < 100 for percent in readings)}


class DarwinBattery(PartOfReadings):
    """Whether the machine runs on its battery."""

    figures = ("battery_share",)

    def __init__(self, run: Run = run_program) -> None:
        self._run = run

    def read(self, worker: int) -> bool:
        """What `pmset` says now."""
        del worker
        return parse_on_battery(self._run(["/usr/bin/pmset", "-g", "batt"]))


def parse_vm_stat(text: str) -> tuple[int, int]:
    """Bytes swapped in and out."""
    page = re.search(r"page size of (\d+) bytes", text)
    pages = [re.search(rf"^{name}:\s+(\d+)\.", text, re.MULTILINE) for name in _SWAPPED]
    if page is None or any(one is None for one in pages):
        raise NotKnown("vm_stat's answer is not understood")
    swapped_in, swapped_out = (int(one[1]) * int(page[1]) for one in pages if one is not None)
    return swapped_in, swapped_out


def parse_speed_limit(text: str) -> int:
    """Percent; where no heat was ever noted, 100."""
    match = re.search(r"CPU_Speed_Limit\s*=\s*(\d+)", text)
    if match is not None:
        return int(match[1])
    if "No thermal warning level has been recorded" in text:
        return 100
    raise NotKnown("pmset does not say whether the processor is slowed down")


def parse_on_battery(text: str) -> bool:
    """Whether the machine draws from its battery."""
    match = re.search(r"Now drawing from '([^']+)'", text)
    if match is None:
        raise NotKnown("pmset does not say where the power comes from")
    return match[1] != "AC Power"


_SWAPPED = ("Swapins", "Swapouts")
