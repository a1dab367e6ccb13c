"""How much main memory a process and all its descendants hold, cheap enough to ask often.

Linux is read from /proc directly: a few small files, where asking for all processes of the machine
would cost a hundred times as much. Elsewhere psutil is asked. What is gone counts nothing.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

_FIELD = re.compile(rb"^(?:VmRSS|VmSwap|Pss|SwapPss):\s+(\d+) kB", re.MULTILINE)


def tree_bytes(pid: int, root: Path = Path("/"), platform: str = sys.platform) -> int:
    """Resident and swapped memory of `pid` and its descendants; shared pages count each time."""
    if platform != "linux":
        return sum(_psutil_bytes(one) for one in _psutil_tree(pid))
    return sum(_kib(f"{root}/proc/{one}/status") for one in tree(pid, root))


def proportional_tree_bytes(
    pid: int, root: Path = Path("/"), platform: str = sys.platform
) -> int | None:
    """The same with each shared page counted once; None where the system does not say.

    Walks all their pages: milliseconds per GiB.
    """
    if platform != "linux":
        return None
    total = 0
    for one in tree(pid, root):
        path = f"{root}/proc/{one}/smaps_rollup"
        if not os.access(path, os.R_OK):
            return None
        total += _kib(path)
    return total


def tree(pid: int, root: Path = Path("/")) -> list[int]:
    """`pid` and all processes below it, on Linux."""
    found = [pid]
    for one in found:
        tasks = f"{root}/proc/{one}/task"
        try:
            threads = os.listdir(tasks)  # noqa: PTH208 - asked often, and three times as fast
            for thread in threads:
                found += [int(child) for child in _read(f"{tasks}/{thread}/children").split()]
        except FileNotFoundError:
            if one == pid and Path(tasks).is_dir():  # a kernel without CONFIG_PROC_CHILDREN
                return _psutil_tree(pid)
        except OSError:
            continue
    return found


def _kib(path: str) -> int:
    """The sum of the fields that count, in bytes; 0 for a process that is gone."""
    try:
        return sum(int(value) for value in _FIELD.findall(_read(path))) * 1024
    except OSError:
        return 0


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 2**16)
    finally:
        os.close(descriptor)


def _psutil_tree(pid: int) -> list[int]:
    import psutil

    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.Error:
        return [pid]


def _psutil_bytes(pid: int) -> int:
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
