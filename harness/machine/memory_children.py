"""Memory of the processes that this one starts: of those that live, and of those that are gone.

A living process says its own high-water mark. One that ended is known by `getrusage` alone, which
keeps the largest of all that were waited for: two small ones look like one, one that a longer-lived
process of another parent took over is not seen, and on Linux each begins with what its parent held
when it started it, so that a child smaller than its parent cannot be told. Such a figure is missing
with the reason; it is never guessed.

Knows processes; nothing of phases.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.machine.facts import NotKnown, read
from harness.machine.linux import parse_kib
from harness.machine.memory import MemoryReading, maxrss_bytes

_INEXACT_BYTES = 2 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Reaped:
    """What the system has counted of all children that were waited for."""

    max_bytes: int  # largest high-water mark of one
    work: tuple[float, ...]  # counters that every process that ran has raised


def reaped(platform: str = sys.platform) -> Reaped:
    """Counted so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Reaped(
        max_bytes=maxrss_bytes(used.ru_maxrss, platform),
        work=(used.ru_minflt, used.ru_utime, used.ru_stime, used.ru_nvcsw, used.ru_nivcsw),
    )


def ended_child(before: Reaped, after: Reaped, own_peak: int | None) -> MemoryReading:
    """Peak of the largest child that ended between two countings; 0 where none did.

    `own_peak` is the most that this process ever held, where children are counted with it (Linux).
    """
    if after.work == before.work:
        return MemoryReading(bytes=0, method="no child has ended")
    # The kernel's counters lag behind by some pages per processor.
    inherited = 0 if own_peak is None else own_peak + max(own_peak // 100, _INEXACT_BYTES)
    if after.max_bytes > before.max_bytes and after.max_bytes > inherited:
        return MemoryReading(
            bytes=after.max_bytes, method="ru_maxrss of the largest child that ended"
        )
    if inherited >= after.max_bytes:
        return MemoryReading(
            missing=f"a child ended that never held more than its parent, {_mib(inherited)} MiB: "
            "with that Linux begins to count"
        )
    return MemoryReading(
        missing=f"a child ended, not larger than the {_mib(before.max_bytes)} MiB of an earlier "
        "one; the system keeps the largest only"
    )


def living_children(
    figure: Callable[[int], MemoryReading], pids: list[int] | None = None
) -> MemoryReading:
    """The sum of a figure over all processes below this one; one that is gone counts nothing."""
    found = descendants() if pids is None else pids
    total = 0
    for pid in found:
        reading = figure(pid)
        if reading.bytes is None:
            return reading
        total += reading.bytes
    many = "none lives" if not found else f"{len(found)} living"
    return MemoryReading(bytes=total, method=many)


def descendants(root: Path = Path("/"), pid: int | None = None) -> list[int]:
    """Ids of all processes below `pid` (this one by default), by /proc; empty where there is none.

    One read per process of the machine: a few milliseconds.
    """
    parents = dict(_parents(root))
    mine = {os.getpid() if pid is None else pid}
    found: list[int] = []
    while True:
        below = [child for child, parent in parents.items() if parent in mine]
        below = [child for child in below if child not in found]
        if not below:
            return sorted(found)
        found += below
        mine = set(below)


def parse_parent(stat: str) -> int:
    """The parent in /proc/PID/stat; a program's name may hold blanks and brackets."""
    return int(stat.rpartition(")")[2].split()[1])


def peak_rss_of(pid: int, root: Path = Path("/")) -> MemoryReading:
    """High-water mark of a living process since its exec; 0 for one that is just gone."""
    try:
        status = read(root, f"proc/{pid}/status")
    except NotKnown:
        return MemoryReading(bytes=0)
    if re.search(r"^State:\s+[ZX]", status, re.MULTILINE):  # ended, not yet waited for
        return MemoryReading(
            missing=f"the child {pid} has ended and was not waited for: the system tells nothing"
        )
    try:
        return MemoryReading(bytes=parse_kib(status, "VmHWM"))
    except NotKnown as error:
        return MemoryReading(missing=f"of a child, {error}")


def _parents(root: Path) -> Iterator[tuple[int, int]]:
    for path in (root / "proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it ended while we looked
            yield int(path.parent.name), parse_parent(path.read_text("utf-8", errors="replace"))


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.0f}"
