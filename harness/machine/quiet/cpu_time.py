"""Linux: who used the processors: we, others, or the host of a virtual machine.

Ours is the CPU time of the harness, of the worker, of its living descendants, and of the ones that
were waited for. A descendant that gave itself another parent counts as another process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.machine.facts import NotKnown, read
from harness.machine.quiet.source import Figures, long_enough, share, understood

_STAT = "proc/stat"


@dataclass(frozen=True, kw_only=True, slots=True)
class CpuTimes:
    """Seconds since some moment in the past, summed over all processors."""

    busy_s: float
    stolen_s: float  # the hypervisor ran somebody else while this machine wanted to run
    own_s: float = 0.0  # part of `busy_s`


@dataclass(frozen=True, kw_only=True, slots=True)
class Waited:
    """Seconds of all threads of a process."""

    ran_s: float
    waited_s: float  # ready to run, and no processor was free


class CpuTime:
    """CPU time of other processes, and time stolen by the hypervisor."""

    figures = ("other_cpu_cores", "steal_share")
    sampled = False

    def __init__(self, root: Path, ticks_per_s: int | None = None) -> None:
        self._root = root
        self._ticks_per_s = ticks_per_s or os.sysconf("SC_CLK_TCK")

    def read(self, worker: int) -> CpuTimes:
        """One look at /proc/stat and at our own processes."""
        busy, stolen = understood(parse_stat, read(self._root, _STAT), _STAT)
        me = self._process_ticks("self", with_children=False)
        own = me + self._family_ticks(worker)
        return CpuTimes(
            busy_s=busy / self._ticks_per_s,
            stolen_s=stolen / self._ticks_per_s,
            own_s=own / self._ticks_per_s,
        )

    def tell(self, readings: Sequence[CpuTimes], seconds: float) -> Figures:
        """Processors that others kept busy; the stolen part of the time that was wanted."""
        first, last = readings[0], readings[-1]
        stolen = last.stolen_s - first.stolen_s
        wanted = last.busy_s - first.busy_s + stolen
        return {
            "other_cpu_cores": others_busy(readings, seconds),
            "steal_share": stolen / wanted if wanted > 0 else 0.0,
        }

    def _family_ticks(self, pid: int) -> int:
        """Of a process and its living descendants; of one that is gone, nothing."""
        try:
            ticks = self._process_ticks(str(pid), with_children=True)
        except NotKnown:
            return 0
        return ticks + sum(self._family_ticks(child) for child in children(self._root, pid))

    def _process_ticks(self, pid: str, *, with_children: bool) -> int:
        path = f"proc/{pid}/stat"
        own, of_children = understood(parse_process, read(self._root, path), path)
        return own + of_children if with_children else own


class CpuWait:
    """How long the worker wanted to run and did not."""

    figures = ("cpu_wait_share",)
    sampled = True

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, worker: int) -> Waited:
        """The sum over the worker's threads."""
        files = sorted(self._root.glob(f"proc/{worker}/task/*/schedstat"))
        if not files:
            raise NotKnown(f"/proc/{worker}/task/*/schedstat: nothing there")
        waits = []
        for file in files:
            path = str(file.relative_to(self._root))
            waits.append(understood(parse_schedstat, read(self._root, path), path))
        return Waited(
            ran_s=sum(one.ran_s for one in waits), waited_s=sum(one.waited_s for one in waits)
        )

    def tell(self, readings: Sequence[Waited], seconds: float) -> Figures:
        """Of the time that the worker's threads wanted to run, the part that they waited."""
        long_enough(seconds)
        # A thread that ends takes its time away, as all do where the worker is gone at the end.
        first, last = readings[0], max(readings, key=lambda one: one.ran_s)
        waited = max(0.0, last.waited_s - first.waited_s)
        wanted = waited + last.ran_s - first.ran_s
        return {"cpu_wait_share": share(waited, wanted) if wanted > 0 else 0.0}


def others_busy(readings: Sequence[CpuTimes], seconds: float) -> float:
    """Processors that all but us kept busy, on average; `NotKnown` for too short a time."""
    long_enough(seconds)
    first, last = readings[0], readings[-1]
    others = (last.busy_s - first.busy_s) - (last.own_s - first.own_s)
    return max(0.0, others / seconds)


def parse_stat(text: str) -> tuple[int, int]:
    """Ticks that all processors were busy, and that were stolen, since boot."""
    name, *fields = text.splitlines()[0].split()
    if name != "cpu":
        raise ValueError(name)
    user, nice, system, _idle, _iowait, irq, softirq, *rest = map(int, fields)
    stolen = rest[0] if rest else 0  # kernels before 2.6.11 do not say
    return user + nice + system + irq + softirq, stolen


def parse_process(text: str) -> tuple[int, int]:
    """Ticks that a process used, and that its children did that it waited for."""
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    user, system, of_children, system_of_children = map(int, fields[11:15])
    return user + system, of_children + system_of_children


def parse_schedstat(text: str) -> Waited:
    """Nanoseconds run and waited, and how often it ran."""
    ran, waited, _times = map(int, text.split())
    return Waited(ran_s=ran / 1e9, waited_s=waited / 1e9)


def children(root: Path, pid: int) -> list[int]:
    """The processes that this one started and that live; none where the kernel does not say."""
    found: list[int] = []
    for file in root.glob(f"proc/{pid}/task/*/children"):
        with suppress(NotKnown):  # it ended meanwhile
            found += [int(word) for word in read(root, str(file.relative_to(root))).split()]
    return found
