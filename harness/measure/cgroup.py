"""A control group (version 2) for one worker: the kernel holds its memory limit.

Can be made where the system lets this user do so: in our own group or in the one above, if that
hands the memory controller down. Knows folders and files; nothing of trials.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from harness.machine.facts import NotKnown, read
from harness.machine.linux import parse_cgroups

_MOUNT = "sys/fs/cgroup"


class NoCgroup(Exception):
    """None can be made; the message says why."""


@dataclass(frozen=True)
class Cgroup:
    """A group of our own; its folder is gone after `remove`."""

    folder: Path

    def add(self, pid: int) -> None:
        """Move a process into the group; what it starts from now on is in it too."""
        try:
            (self.folder / "cgroup.procs").write_text(f"{pid}", encoding="ascii")
        except ProcessLookupError:
            pass  # it is gone already: how it ended is found out elsewhere
        except OSError as error:
            raise NoCgroup(f"no process can be moved into one ({error.strerror})") from error

    def peak_bytes(self) -> int | None:
        """The most it held, cached files included; None before Linux 5.19."""
        with contextlib.suppress(OSError, ValueError):
            return int((self.folder / "memory.peak").read_text(encoding="ascii"))
        return None

    def oom_kills(self) -> int:
        """Processes in it that were killed for want of memory."""
        with contextlib.suppress(OSError):
            return parse_oom_kill((self.folder / "memory.events").read_text(encoding="ascii"))
        return 0

    def kill(self) -> None:
        """End every process in it at once, wherever it went (Linux 5.14 and later)."""
        with contextlib.suppress(OSError):
            (self.folder / "cgroup.kill").write_text("1", encoding="ascii")

    def remove(self) -> None:
        """Take the empty group away; one that is not empty stays, and holds nothing up."""
        with contextlib.suppress(OSError):
            self.folder.rmdir()


def make_cgroup(limit_bytes: int, name: str, root: Path = Path("/")) -> Cgroup:
    """A new group under the limit, without swap; raises `NoCgroup`."""
    why = "this system has no control groups of version 2 with a memory controller"
    for parent in _parents(root):
        try:
            controllers = read(root, f"{parent.relative_to(root)}/cgroup.subtree_control").split()
        except NotKnown:
            continue
        if "memory" not in controllers:
            why = "our control group hands no memory controller down"
            continue
        if not os.access(parent, os.W_OK):
            why = "this user may make no control group here"
            continue
        cgroup = Cgroup(parent / name)
        try:
            cgroup.folder.mkdir()
            _write(cgroup.folder / "memory.max", str(limit_bytes))
            _write(cgroup.folder / "memory.oom.group", "1")  # all of it, never a part
        except OSError as error:
            why = f"a control group cannot be set up ({error.strerror})"
            cgroup.remove()
            continue
        with contextlib.suppress(OSError):  # a kernel without swap has no such file
            _write(cgroup.folder / "memory.swap.max", "0")
        return cgroup
    raise NoCgroup(why)


def parse_oom_kill(events: str) -> int:
    """The count in `memory.events`."""
    for line in events.splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.isdigit():
            return int(value)
    return 0


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="ascii")


def _parents(root: Path) -> list[Path]:
    """Where a group may be made: our own group first, then the one above."""
    try:
        own = parse_cgroups(read(root, "proc/self/cgroup")).get("")
    except (NotKnown, ValueError):
        return []
    if own is None:
        return []
    mount = root / _MOUNT
    return [mount / own, *([(mount / own).parent] if own else [])]
