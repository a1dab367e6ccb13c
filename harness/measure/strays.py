"""Find and end what a worker left behind, also where it left the worker's process group.

On Linux a process that loses its parent while a worker runs becomes ours (a "subreaper" adopts the
orphans among its descendants), whatever it did to hide; since a worker begins a session of its own,
and nobody can join ours, every child of ours in another session is the worker's. Elsewhere a word
in the environment marks what a worker starts; a program that empties its environment and leaves the
group escapes there.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator

from harness.measure.watchdog import tree

MARK = "RWKV_HARNESS_WORKER"
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_GIVE_UP_S = 5.0  # one that even this does not end belongs to somebody else, or to a dead disk
_PAUSE_S = 0.005


class Strays:
    """Those of one worker. `environment` is to be given to it."""

    def __init__(self, platform: str = sys.platform) -> None:
        self._word = secrets.token_hex(8)
        self._platform = platform
        self._before: frozenset[int] = frozenset()
        self.environment = {MARK: self._word}

    @contextlib.contextmanager
    def adopted(self) -> Iterator[None]:
        """While this holds, orphans become our children, where the system can do that."""
        if self._platform == "linux":
            self._before = frozenset(tree(os.getpid()))
        adopts = _prctl(_PR_SET_CHILD_SUBREAPER, 1, self._platform)
        try:
            yield
        finally:
            if adopts:
                _prctl(_PR_SET_CHILD_SUBREAPER, 0, self._platform)

    def end(self, group: int) -> int:
        """Kill and bury them all; how many had left `group`, which was killed before."""
        outside: set[int] = set()
        give_up = time.monotonic() + _GIVE_UP_S
        while time.monotonic() < give_up:
            left = [pid for pid in self._find() if not _bury(pid)]
            if not left:
                break
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    if os.getpgid(pid) != group:
                        outside.add(pid)
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_PAUSE_S)  # a process that was killed takes a moment to go
        return len(outside)

    def _find(self) -> list[int]:
        """Those that there are, dead ones that nobody waited for included."""
        if self._platform == "linux":
            return [pid for pid in tree(os.getpid()) if self._is_the_workers(pid)]
        import psutil

        return [
            one.pid
            for one in psutil.process_iter(["environ"])
            if (one.info["environ"] or {}).get(MARK) == self._word
        ]

    def _is_the_workers(self, pid: int) -> bool:
        try:
            return pid not in self._before and os.getsid(pid) != os.getsid(0)
        except OSError:
            return False


def _bury(pid: int) -> bool:
    """Whether the process is gone; one that is dead, and our child, is waited for."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:  # not our child
        return False


def die_with_parent(platform: str = sys.platform) -> None:
    """Let Linux kill this process when its parent dies, also in the midst of C code."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, platform)


def _prctl(option: int, value: int, platform: str) -> bool:
    if platform != "linux":
        return False
    try:
        return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False
