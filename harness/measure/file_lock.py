"""Locks on files (`flock`): they end with the process that holds them, however that ends.

A file system without locks has none to hold: what they guard is then done twice at worst.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

_POLL_S = 0.2


def open_shared(path: Path) -> BinaryIO:
    """The file, to be read, and locked against removal until it is closed. Raises `OSError`."""
    while True:
        file = path.open("rb")
        _lock(file, fcntl.LOCK_SH)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # removed or replaced between opening and locking


def lock_for_removal(path: Path, stack: ExitStack) -> bool:
    """Lock a file that no process reads, until the stack closes; False where one does."""
    try:
        file = stack.enter_context(path.open("r+b"))
    except OSError:
        return False
    return lock_alone(file)


def lock_alone(file: BinaryIO) -> bool:
    """Lock the file until it is closed; False where another process holds it."""
    return _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def wait_for_lock(path: Path, on_wait: Callable[[], None], deadline_s: float) -> BinaryIO | None:
    """The lock file, made where it is not there, and locked until it is closed.

    `on_wait` is called a few times a second while another process holds it; None where one still
    does after `deadline_s`. Raises `OSError` where it cannot be made.
    """
    deadline = time.monotonic() + deadline_s
    while True:
        file = path.open("ab")
        try:
            # Only who holds it removes it: then another one is to be locked.
            if lock_alone(file) and os.fstat(file.fileno()).st_nlink:
                return file
            file.close()
            if time.monotonic() > deadline:
                return None
            on_wait()
            time.sleep(_POLL_S)
        except BaseException:
            file.close()
            raise


def _lock(file: BinaryIO, how: int) -> bool:
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
