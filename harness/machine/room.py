"""How much more main memory processes can take now, before the system must swap or kill.

A container's limit counts as the machine's memory does: the smallest room decides. Costs a few
reads of files; nothing is allocated.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from harness.machine.facts import NotKnown, read
from harness.machine.linux import parse_cgroups, parse_kib
from harness.machine.memory import MemoryReading
from harness.machine.switch import probes_are_off

_V1_UNLIMITED = 2**62  # version 1 says the largest page-aligned number where there is no limit


def available_bytes(root: Path = Path("/"), platform: str = sys.platform) -> MemoryReading:
    """Memory that can be taken without pushing out what others hold."""
    if probes_are_off():
        return MemoryReading(missing="probes are switched off")
    if platform == "linux":
        try:
            free = parse_kib(read(root, "proc/meminfo"), "MemAvailable")
        except NotKnown as error:
            return MemoryReading(missing=str(error))
        return MemoryReading(bytes=min([free, *_cgroup_rooms(root)]))
    import psutil

    try:
        return MemoryReading(bytes=int(psutil.virtual_memory().available))
    except (psutil.Error, OSError) as error:
        return MemoryReading(missing=f"psutil: {error}")


def parse_cache_bytes(memory_stat: str) -> int:
    """What a cgroup would give back first: `inactive_file` (version 2), with its children's (1)."""
    values = dict(line.split() for line in memory_stat.splitlines() if line.count(" ") == 1)
    return int(values.get("total_inactive_file", values.get("inactive_file", "0")))


def _cgroup_rooms(root: Path) -> Iterator[int]:
    """The room of each cgroup on the way up, where it has a limit."""
    try:
        paths = parse_cgroups(read(root, "proc/self/cgroup"))
    except (NotKnown, ValueError):
        return
    for mount, path, limit, usage in (
        ("sys/fs/cgroup", paths.get(""), "memory.max", "memory.current"),
        (
            "sys/fs/cgroup/memory",
            paths.get("memory"),
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
        ),
    ):
        if path is None:
            continue
        for folder in (Path(path), *Path(path).parents):
            try:
                most = read(root, f"{mount}/{folder / limit}")
                if most == "max" or int(most) >= _V1_UNLIMITED:
                    continue
                used = int(read(root, f"{mount}/{folder / usage}"))
                cache = parse_cache_bytes(read(root, f"{mount}/{folder / 'memory.stat'}"))
            except (NotKnown, ValueError):
                continue
            yield max(0, int(most) - max(0, used - cache))
