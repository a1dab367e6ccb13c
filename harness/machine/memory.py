"""Resident memory of this process, now and at its highest.

On Linux the peak is VmHWM, which begins anew with each exec; `getrusage` there would count what the
parent held when it forked. It can be set back, so that a phase has a peak of its own; what it said
before is kept here, because the kernel has one mark for the whole process, and so have we.
"""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from harness.machine.facts import NotKnown, read
from harness.machine.linux import parse_kib
from harness.machine.switch import probes_are_off

_OFF = "probes are switched off"
_RESET_PEAK = b"5"  # what /proc/PID/clear_refs takes to set VmHWM back (Linux 4.0)

_before_resets: dict[Path, int] = {}  # root -> the highest VmHWM that a reset took away


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryReading:
    """A figure in bytes, or the reason why there is none: exactly one of the two."""

    bytes: int | None = None
    missing: str | None = None
    method: str | None = None  # where machines differ in it


def rss_bytes(root: Path = Path("/"), platform: str = sys.platform) -> MemoryReading:
    """Memory that is resident now."""
    if probes_are_off():
        return MemoryReading(missing=_OFF)
    if platform == "linux":
        return _from_status(root, "VmRSS")
    import psutil

    try:
        return MemoryReading(bytes=int(psutil.Process().memory_info().rss))
    except psutil.Error as error:
        return MemoryReading(missing=f"psutil: {error}")


def peak_rss_bytes(root: Path = Path("/"), platform: str = sys.platform) -> MemoryReading:
    """The most memory that was resident at once since this program began."""
    if probes_are_off():
        return MemoryReading(missing=_OFF)
    if platform == "linux":
        reading = _from_status(root, "VmHWM")
        if reading.bytes is None:
            return reading
        return MemoryReading(bytes=max(reading.bytes, _before_resets.get(root, 0)))
    return MemoryReading(
        bytes=maxrss_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, platform)
    )


def restart_peak_rss(root: Path = Path("/"), platform: str = sys.platform) -> bool:
    """Let `peak_rss_since_restart` begin anew; whether the system allows that.

    Costs one system call; touches no page.
    """
    if platform != "linux" or probes_are_off():
        return False
    before = peak_rss_bytes(root, platform).bytes
    try:
        # Not created: an older kernel, or a system without /proc, has no such file. Not opened for
        # reading: its mode is 0200, and only root may read in spite of that.
        file = os.open(root / "proc/self/clear_refs", os.O_WRONLY)
        try:
            os.write(file, _RESET_PEAK)
        finally:
            os.close(file)
    except OSError:
        return False
    if before is not None:
        _before_resets[root] = before
    return True


def peak_rss_since_restart(
    root: Path = Path("/"), platform: str = sys.platform, *, restarted: bool
) -> MemoryReading:
    """The most that was resident since `restart_peak_rss`, which said `restarted`; else ever."""
    if not restarted or probes_are_off():
        reading = peak_rss_bytes(root, platform)
        name = "VmHWM" if platform == "linux" else "ru_maxrss"
        method = f"{name} since the program began: it cannot be set back here"
    else:
        reading = _from_status(root, "VmHWM")
        method = "VmHWM, set back before the phase"
    return reading if reading.bytes is None else replace(reading, method=method)


def maxrss_bytes(ru_maxrss: int, platform: str) -> int:
    """`getrusage`'s figure in bytes: macOS counts bytes, the others KiB."""
    return ru_maxrss if platform == "darwin" else ru_maxrss * 1024


def oom_kills(root: Path = Path("/")) -> int:
    """How often the system's out-of-memory killer has struck since boot; 0 where none says so.

    Only differences count: a kill between two readings is evidence, of whichever process.
    """
    try:
        return parse_oom_kills(read(root, "proc/vmstat"))
    except NotKnown:
        return 0


def parse_oom_kills(vmstat: str) -> int:
    """The `oom_kill` line of /proc/vmstat (Linux 4.13 and later)."""
    for line in vmstat.splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.isdigit():
            return int(value)
    return 0


def _from_status(root: Path, name: str) -> MemoryReading:
    try:
        return MemoryReading(bytes=parse_kib(read(root, "proc/self/status"), name))
    except NotKnown as error:
        return MemoryReading(missing=str(error))
