"""Memory of this process and its children in one phase: begin, then read at its end.

Between the two nothing is done: all peaks are the kernel's own marks. Reading takes some
milliseconds, and more for a large process whose pages must be counted for its PSS; so it belongs
between measurements, never inside. Knows no phases by name, and no devices.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from harness.machine.facts import NotKnown, read
from harness.machine.footprint import footprint_bytes
from harness.machine.linux import parse_kib
from harness.machine.memory import (
    MemoryReading,
    peak_rss_bytes,
    peak_rss_since_restart,
    restart_peak_rss,
)
from harness.machine.memory_children import (
    Reaped,
    descendants,
    ended_child,
    living_children,
    peak_rss_of,
    reaped,
)
from harness.machine.switch import VARIABLE, probes_are_off

NAMES = (
    "peak_rss_bytes",
    "own_peak_rss_bytes",
    "children_peak_rss_bytes",
    "pss_bytes",
    "footprint_bytes",
)


@dataclass(frozen=True, kw_only=True)
class HostPhase:
    """A phase that has begun. Root and platform are for tests."""

    restarted: bool  # whether the peak began anew with it
    had_children: bool  # whether any lived already
    ended_before: Reaped
    root: Path = Path("/")
    platform: str = sys.platform


def begin_host_phase(root: Path = Path("/"), platform: str = sys.platform) -> HostPhase:
    """Let the peaks begin anew, as far as the system allows."""
    return HostPhase(
        restarted=restart_peak_rss(root, platform),
        had_children=platform == "linux" and bool(descendants(root)),
        ended_before=reaped(platform),
        root=root,
        platform=platform,
    )


def host_phase_memory(phase: HostPhase) -> dict[str, MemoryReading]:
    """Every figure of `NAMES` at the phase's end, or why it is missing."""
    if probes_are_off():
        off = MemoryReading(missing=f"probes are switched off by {VARIABLE}")
        return dict.fromkeys(NAMES, off)
    root, platform = phase.root, phase.platform
    own = peak_rss_since_restart(root, platform, restarted=phase.restarted)
    pids = descendants(root) if platform == "linux" else []
    children = _children(phase, own, pids)
    return {
        "peak_rss_bytes": _together(own, children),
        "own_peak_rss_bytes": own,
        "children_peak_rss_bytes": children,
        "pss_bytes": _pss(root, platform, pids),
        "footprint_bytes": footprint_bytes(platform),
    }


def parse_pss(smaps_rollup: str) -> int:
    """Bytes of the line `Pss:` of /proc/PID/smaps_rollup (Linux 4.14)."""
    return parse_kib(re.sub(r"^Pss_\w+:.*$", "", smaps_rollup, flags=re.MULTILINE), "Pss")


def _children(phase: HostPhase, own: MemoryReading, pids: list[int]) -> MemoryReading:
    """Those that live and the largest that ended, together."""
    is_linux = phase.platform == "linux"
    # A child begins with what we held when it began: before this phase, if it lived already.
    inherited = peak_rss_bytes(phase.root) if is_linux and phase.had_children else own
    if is_linux and inherited.bytes is None:
        return MemoryReading(missing=inherited.missing)
    ended = ended_child(
        phase.ended_before, reaped(phase.platform), inherited.bytes if is_linux else None
    )
    living = (
        living_children(lambda pid: peak_rss_of(pid, phase.root), pids)
        if is_linux
        else _living_by_psutil()
    )
    if ended.bytes is None or living.bytes is None:
        return ended if ended.bytes is None else living
    return MemoryReading(
        bytes=ended.bytes + living.bytes, method=f"{ended.method}; {living.method}"
    )


def _living_by_psutil() -> MemoryReading:
    """Without high-water marks of other processes, those that live have only what is there now."""
    import psutil

    try:
        children = psutil.Process().children(recursive=True)
        now = sum(int(child.memory_info().rss) for child in children)
    except psutil.Error as error:
        return MemoryReading(missing=f"psutil: {error}")
    many = f"{len(children)} living, as they are now" if children else "none lives"
    return MemoryReading(bytes=now, method=many)


def _together(own: MemoryReading, children: MemoryReading) -> MemoryReading:
    if own.bytes is None or children.bytes is None:
        return own if own.bytes is None else children
    if children.bytes == 0:
        return replace(own, method=f"{own.method}; no children")
    return MemoryReading(
        bytes=own.bytes + children.bytes, method=f"{own.method}; children: {children.method}"
    )


def _pss(root: Path, platform: str, pids: list[int]) -> MemoryReading:
    if platform != "linux":
        return MemoryReading(missing=f"{platform} does not tell shared pages apart")
    try:
        total = parse_pss(read(root, "proc/self/smaps_rollup"))
    except NotKnown as error:
        return MemoryReading(missing=str(error))
    below = living_children(lambda pid: _pss_of(pid, root), pids)
    if below.bytes is None:
        return below
    many = "" if not pids else f" and of {len(pids)} children"
    return MemoryReading(bytes=total + below.bytes, method=f"smaps_rollup{many}, at the end")


def _pss_of(pid: int, root: Path) -> MemoryReading:
    if not (root / f"proc/{pid}").exists():
        return MemoryReading(bytes=0)  # just gone
    try:
        return MemoryReading(bytes=parse_pss(read(root, f"proc/{pid}/smaps_rollup")))
    except NotKnown as error:
        return MemoryReading(missing=f"of a child, {error}")
