"""One process at a time per file that is being fetched."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.folders import cache_folder
from harness.sources.paths import real


@contextmanager
def exclusively(target: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of `target`; `on_wait` is called once if another process has it.

    The lock lies in the cache, never beside the file. Where it cannot be made there is none: two
    processes then cost a download too many, and no file, since each is renamed into place whole.
    """
    name = hashlib.sha256(str(real(target)).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    path = cache_folder() / "locks" / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("ab")
    except OSError:
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
