"""Linux: swapping, pressure stall, and a container's quota of CPU time.

All are counters of the system or of our cgroup: they say that somebody was held up, not who.
"""

from __future__ import annotations

import os
from pathlib import Path

from harness.machine.facts import NotKnown, read
from harness.machine.linux import parse_cgroups
from harness.machine.quiet.source import Growth, GrowthShare, understood

_VMSTAT = "proc/vmstat"


class Swap(Growth):
    """Bytes that were read from swap, and written to it."""

    figures = ("swap_in_bytes", "swap_out_bytes")

    def __init__(self, root: Path, page_bytes: int | None = None) -> None:
        self._root = root
        self.unit = page_bytes or os.sysconf("SC_PAGE_SIZE")

    def read(self, worker: int) -> tuple[int, int]:
        """Pages since boot, in and out."""
        del worker
        return understood(parse_vmstat, read(self._root, _VMSTAT), _VMSTAT)


class Pressure(GrowthShare):
    """The part of the time in which some task was held up for want of one resource."""

    def __init__(self, root: Path, resource: str) -> None:
        self.figures = (f"{resource}_stall_share",)
        self._root, self._path = root, f"proc/pressure/{resource}"

    def read(self, worker: int) -> float:
        """Seconds since boot."""
        del worker
        return understood(parse_pressure, read(self._root, self._path), self._path) / 1e6


class Quota(GrowthShare):
    """The part of the time in which a limit of our cgroup held us up."""

    figures = ("cpu_quota_share",)

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, worker: int) -> float:
        """Seconds so far."""
        del worker
        path = _cpu_stat(self._root)
        return understood(parse_cpu_stat, read(self._root, path), path)


def parse_vmstat(text: str) -> tuple[int, int]:
    """Pages that were swapped in and out."""
    lines = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    return int(lines["pswpin"]), int(lines["pswpout"])


def parse_pressure(text: str) -> int:
    """Microseconds in which some task stalled."""
    for line in text.splitlines():
        kind, *fields = line.split()
        if kind == "some":
            return int(dict(field.split("=") for field in fields)["total"])
    raise ValueError(text)


def parse_cpu_stat(text: str) -> float:
    """Seconds throttled: cgroups version 2 count microseconds, version 1 nanoseconds."""
    lines = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    if "throttled_usec" in lines:
        return int(lines["throttled_usec"]) / 1e6
    return int(lines["throttled_time"]) / 1e9


def _cpu_stat(root: Path) -> str:
    """The file of our cgroup, or of the container's root where the path is the host's."""
    paths = parse_cgroups(read(root, "proc/self/cgroup"))
    for mount, path in (("sys/fs/cgroup", paths.get("")), ("sys/fs/cgroup/cpu", paths.get("cpu"))):
        if path is None:
            continue
        for file in (f"{mount}/{path}/cpu.stat", f"{mount}/cpu.stat"):
            if (root / file).is_file() and "throttled" in read(root, file):
                return file
    raise NotKnown("no cgroup of ours counts how long it was held up")
