"""Checks of what goes on now, from some seconds of watching. Pure, but for `cpu_seconds`.

Names of other processes are for the terminal of whoever asks: no record has them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

from harness.machine.doctor.finding import Finding, Fine, NotTold, Severity, Verdict
from harness.machine.quiet import Seen

_MOST_NAMES = 4
_LEAST_CPUS = 0.05  # programs below this are not named
_LEAST_UNSEEN_CPUS = 0.1  # beyond it is said that some of the work has no name

Process = tuple[int, float]  # its number and when it began, for numbers come again


@dataclass(frozen=True, kw_only=True, slots=True)
class Used:
    """A process, and what it used so far."""

    name: str
    cpu_s: float


@dataclass(frozen=True, kw_only=True)
class Busy:
    """A program that used processors while it was looked at."""

    name: str
    pids: tuple[int, ...]  # of its processes, the busiest first
    cpus: float  # on average, of all of them


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What was seen for some seconds."""

    seen: Seen
    busy: Sequence[Busy] = ()
    cpus: int | None = None  # that we may use
    platform: str = sys.platform


def cpu_seconds() -> dict[Process, Used]:
    """CPU time so far of every process but this one that the system tells of.

    macOS tells nobody but root of the processes of other users, nor does Linux where it hides them;
    those beside a container are out of its sight.
    """
    import psutil

    found = {}
    for process in psutil.process_iter(["pid", "name", "create_time", "cpu_times"]):
        info = process.info
        times, pid = info["cpu_times"], info["pid"]
        if times is not None and pid != os.getpid():
            # A process may call itself anything, such as what moves a terminal's cursor.
            name = "".join(one if one.isprintable() else "?" for one in info["name"] or "?")
            used = Used(name=name, cpu_s=times.user + times.system)
            found[pid, info["create_time"] or 0.0] = used
    return found


def busiest(
    before: Mapping[Process, Used], after: Mapping[Process, Used], seconds: float
) -> tuple[Busy, ...]:
    """Which programs used the processors between two looks, the busiest first.

    What began in between used all that it did in that time; what ended is not seen.
    """
    programs: dict[str, dict[int, float]] = {}
    for process, used in after.items():
        first = before[process].cpu_s if process in before else 0.0
        programs.setdefault(used.name, {})[process[0]] = (used.cpu_s - first) / seconds
    busy = [_program(name, cpus) for name, cpus in programs.items()]
    named = [one for one in busy if one.cpus >= _LEAST_CPUS]
    return tuple(sorted(named, key=lambda one: one.cpus, reverse=True)[:_MOST_NAMES])


def _program(name: str, cpus: Mapping[int, float]) -> Busy:
    working = sorted((pid for pid in cpus if cpus[pid] > 0), key=cpus.__getitem__, reverse=True)
    return Busy(name=name, pids=tuple(working), cpus=sum(cpus.values()))


def check_other_processes(moment: Moment) -> Verdict:
    """Processors that others keep busy."""
    name, used = "other processes", _figure(moment, "other_cpu_cores")
    if isinstance(used, NotTold):
        return NotTold(name=name, why=used.why)
    if used <= 0.1:  # what a system that rests needs
        return Fine(name=name)
    of = "" if moment.cpus is None else f" of {moment.cpus}"
    many = moment.cpus is not None and used > moment.cpus / 2
    few = used <= 0.25  # a study's limit, by default
    return Finding(
        name=name,
        severity="high" if many else "low" if few else "medium",
        what=f"others keep {used:.2f}{of} CPUs busy: {_who(moment.busy, used)}",
        effect="they take processors, caches and memory bandwidth: slower, and never alike",
        mend=_end_them(moment),
        is_command=bool(moment.busy),
    )


def _who(busy: Sequence[Busy], used: float) -> str:
    """Programs and their shares, and how much of the work is none of theirs."""
    names = [f"{one.name} {one.cpus:.2f} ({_processes(one.pids)})" for one in busy]
    unseen = used - sum(one.cpus for one in busy)
    if not names or unseen > max(_LEAST_UNSEEN_CPUS, used / 4):
        some = f"{unseen:.2f} by " if names else ""
        names.append(f"{some}processes that ended meanwhile or are not shown to you")
    return ", ".join(names)


def _processes(pids: Sequence[int]) -> str:
    return f"process {pids[0]}" if len(pids) == 1 else f"{len(pids)} processes"


def _end_them(moment: Moment) -> str:
    """Whose they are is for the user to see: nothing here says what may be ended."""
    if not moment.busy:
        top = "top -o cpu" if moment.platform == "darwin" else "top"
        return f"look with sudo {top}, in a container on its host; end what is not needed, or wait"
    in_turn = chain.from_iterable(zip_longest(*(one.pids for one in moment.busy)))
    pids = [pid for pid in in_turn if pid is not None][:_MOST_NAMES]
    return f"ps -fp {','.join(map(str, pids))}   # end what is not needed, or wait"


def check_steal(moment: Moment) -> Verdict:
    """CPU time that a host kept."""
    return _share(
        moment,
        "steal_share",
        name="stolen time",
        limits=(0.05, 0.01),
        what="the host of this virtual machine keeps {:.1%} of the CPU time that it wants",
        effect="trials are slower by as much, whenever the other guests work",
        mend="dedicated processors at the host, or more trials",
        is_command=False,
    )


def check_swapping(moment: Moment) -> Verdict:
    """Memory that comes back from swap."""
    name, n_bytes = "swapping", _figure(moment, "swap_in_bytes")
    if isinstance(n_bytes, NotTold):
        return NotTold(name=name, why=n_bytes.why)
    if n_bytes == 0:
        return Fine(name=name)
    return Finding(
        name=name,
        severity="high",
        what=f"{n_bytes / 2**20:.1f} MiB came back from swap in {moment.seen.seconds:.1f} s",
        effect="what waits for the disk is 10 times slower and more",
        mend="free -h   # then stop what takes the memory",
    )


def check_memory_pressure(moment: Moment) -> Verdict:
    """Processes that wait for memory."""
    return _share(
        moment,
        "memory_stall_share",
        name="memory pressure",
        limits=(0.05, 0.005),
        what="for {:.1%} of the time some process waits for memory",
        effect="weights are read from disk again, or swapped: much slower, and never alike",
        mend="free -h   # then stop what takes the memory",
    )


def check_disk_pressure(moment: Moment) -> Verdict:
    """Processes that wait for a disk."""
    return _share(
        moment,
        "io_stall_share",
        name="disk pressure",
        limits=(0.5, 0.1),
        what="for {:.1%} of the time some process waits for a disk",
        effect="loading takes longer; decoding does not wait for disks",
        mend="watch cat /proc/pressure/io   # wait until it falls",
    )


def check_throttling(moment: Moment) -> Verdict:
    """Whether the processor slows down now."""
    name, events = "throttling", _figure(moment, "throttle_events")
    if isinstance(events, NotTold):
        return NotTold(name=name, why=events.why)
    if events == 0:
        return Fine(name=name)
    return Finding(
        name=name,
        severity="high",
        what=f"the processor slowed down for heat or power, {events} times while we looked",
        effect="up to 2 times slower, more so the longer it works",
        mend="let it cool down (`cooldown:` in the study), and give it air",
        is_command=False,
    )


def check_battery(moment: Moment) -> Verdict:
    """Where the power comes from."""
    name, share = "battery", _figure(moment, "battery_share")
    if isinstance(share, NotTold):
        return NotTold(name=name, why=share.why)
    if share == 0:
        return Fine(name=name)
    return Finding(
        name=name,
        severity="high",
        what="the machine runs on its battery",
        effect="most machines lower their clocks then, up to 2 times slower",
        mend="plug it in",
        is_command=False,
    )


CHECKS: tuple[Callable[[Moment], Verdict], ...] = (
    check_other_processes,
    check_steal,
    check_swapping,
    check_memory_pressure,
    check_disk_pressure,
    check_throttling,
    check_battery,
)


def _figure(moment: Moment, name: str) -> Any:
    """A figure, or why there is none."""
    if name in moment.seen.figures:
        return moment.seen.figures[name]
    return NotTold(name=name, why=moment.seen.missing.get(name, "not seen"))


def _share(
    moment: Moment, figure: str, *, name: str, limits: tuple[float, float], what: str, **rest: Any
) -> Verdict:
    """A finding that is high beyond the first limit, and medium beyond the second."""
    share = _figure(moment, figure)
    if isinstance(share, NotTold):
        return NotTold(name=name, why=share.why)
    high, medium = limits
    if share <= medium:
        return Fine(name=name)
    severity: Severity = "high" if share > high else "medium"
    return Finding(name=name, severity=severity, what=what.format(share), **rest)
