"""Hold a worker to its memory limit: a control group where one can be made, else a watchdog.

The watchdog looks a few times a second, from the parent's own waiting loop: no thread, no busy
waiting. Between two looks a worker can take a few hundred MiB more than its limit. Knows nothing of
what a worker does.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from pathlib import Path

from harness.machine.switch import probes_are_off
from harness.measure.cgroup import Cgroup, NoCgroup, make_cgroup
from harness.measure.memory_limit import MemoryRoom
from harness.measure.watchdog import proportional_tree_bytes, tree, tree_bytes
from harness.records.limits import MemoryLimit

LOOK_S = 0.2  # between two looks


class MemoryGuard:
    """The limit of one worker. `passed_bytes` is what it held when it passed it, else None."""

    def __init__(self, room: MemoryRoom, root: Path = Path("/")) -> None:
        self.room = room
        self.passed_bytes: int | None = None
        self._root = root
        self._pid = 0
        self._cgroup: Cgroup | None = None
        self._missing = room.missing
        self._peak: int | None = None
        self._next_look = -math.inf
        self._looks = 0
        self._looking_s = 0.0

    @property
    def _must_look(self) -> bool:
        return self.room.bytes is not None and self._cgroup is None

    def begin(self, pid: int) -> None:
        """Hold the process `pid`, and all that it starts, from now on."""
        self._pid = pid
        _first_to_go(pid, self._root)
        if self.room.bytes is None:
            return
        try:
            name = f"rwkv-harness-{os.getpid()}-{pid}"
            self._cgroup = make_cgroup(self.room.bytes, name, self._root)
            self._cgroup.add(pid)
        except NoCgroup as why:
            self._missing = f"no cgroup: {why}"
            if self._cgroup is not None:
                self._cgroup.remove()
            self._cgroup = None

    @property
    def pause_s(self) -> float:
        """How long nobody need ask `is_passed`; for a cgroup the kernel sees to that."""
        return LOOK_S if self._must_look else math.inf

    def is_passed(self, now: float) -> bool:
        """Look, if `now` (of any clock that counts seconds) a look is due; over the limit?"""
        if self.room.bytes is None or not self._must_look or now < self._next_look:
            return False
        self._next_look = now + LOOK_S
        start = time.thread_time()
        used = self._used(self.room.bytes)
        self._looks += 1
        self._looking_s += time.thread_time() - start
        self._peak = max(used, self._peak or 0)
        if used > self.room.bytes:
            self.passed_bytes = used
        return used > self.room.bytes

    def end(self) -> None:
        """The worker is over: end what is left in its cgroup, and read that for the last time."""
        if self._cgroup is None:
            return
        self._peak = self._cgroup.peak_bytes()
        if self._cgroup.oom_kills():
            self.passed_bytes = self._peak or self.room.bytes
        self._cgroup.kill()

    def close(self) -> None:
        """Leave no cgroup behind."""
        if self._cgroup is not None:
            self._cgroup.remove()

    def record(self) -> MemoryLimit:
        """What to keep of it."""
        is_held = self.room.bytes is not None
        peak = None if probes_are_off() else self._peak
        return MemoryLimit(
            bytes=self.room.bytes,
            source=self.room.source,
            method=None if not is_held else "watchdog" if self._cgroup is None else "cgroup",
            missing=self._missing,
            peak_bytes=peak,
            peak_missing=self._why_no_peak() if is_held and peak is None else None,
            looks=self._looks,
            looking_cpu_s=self._looking_s,
        )

    def _why_no_peak(self) -> str:
        if probes_are_off():
            return "probes are switched off"
        if self._cgroup is not None:
            return "this kernel does not tell the peak of a cgroup (Linux 5.19 and later do)"
        return "the worker was gone before anybody looked"

    def _used(self, limit: int) -> int:
        used = tree_bytes(self._pid, self._root)
        if used > limit and sys.platform == "linux" and len(tree(self._pid, self._root)) > 1:
            # Pages that a parent and its children share were counted for each of them.
            exact = proportional_tree_bytes(self._pid, self._root)
            return used if exact is None else exact
        return used


def _first_to_go(pid: int, root: Path) -> None:
    """Where memory runs out all the same, let the system end the worker, not the harness."""
    # Not created: only Linux has such a file.
    with contextlib.suppress(OSError), (root / f"proc/{pid}/oom_score_adj").open("r+") as file:
        file.write("1000")
