"""Reading /proc and /sys under a root: the blocks of cpuinfo, and files that match a pattern."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from harness.machine.facts import NotKnown, read

CPU = "sys/devices/system/cpu"


def cpuinfo_reader(root: Path) -> Callable[[], str]:
    """Reads /proc/cpuinfo at most once: the kernel may ask each processor for its clock then."""
    return lru_cache(maxsize=1)(lambda: read(root, "proc/cpuinfo"))


@lru_cache(maxsize=1)  # many facts stand in one text
def cpuinfo_blocks(cpuinfo: str) -> list[dict[str, str]]:
    """One mapping for each hardware thread of /proc/cpuinfo; raises `NotKnown` for none."""
    blocks = []
    for text in re.split(r"\n\s*\n", cpuinfo):
        pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
        block = {key.strip(): value.strip() for key, value in pairs}
        # POWER and some ARM kernels close with a block about the board.
        if "processor" in block:
            blocks.append(block)
    if not blocks:
        raise NotKnown("/proc/cpuinfo lists no processor")
    return blocks


def count_cpus(cpus: str) -> int:
    """How many are in a list such as `0-3,8`: 5; none in an empty one."""
    return sum(_length(part) for part in cpus.split(",") if part)


def paths(root: Path, pattern: str) -> list[Path]:
    """The files and folders that match, sorted; raises `NotKnown` for none."""
    found = sorted(root.glob(pattern))
    if not found:
        raise NotKnown(f"/{pattern}: nothing there")
    return found


def contents(root: Path, pattern: str) -> list[str]:
    """The different texts of the files that match, sorted."""
    return sorted({read(root, str(path.relative_to(root))) for path in paths(root, pattern)})


def _length(cpus: str) -> int:
    first, _, last = cpus.partition("-")
    return int(last or first) - int(first) + 1
