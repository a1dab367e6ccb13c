"""A large output file that takes its place only when it is whole. No torch.

Until then its bytes lie in `.NAME.PID.partial` beside it, locked by whoever writes them: what a
killed process left there is nobody's, and goes when the same file is written again.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from harness.errors import HarnessError


@contextmanager
def replacing(out: Path, n_bytes: int) -> Iterator[BinaryIO]:
    """A file that takes the place of `out` once it is whole and on the disk, and never before.

    Raises `HarnessError` where the disk has no room for `n_bytes`, or cannot be written.
    """
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(out)
        free = shutil.disk_usage(out.parent).free
        if free < n_bytes:
            raise HarnessError(
                f"{out} needs {n_bytes / 2**20:,.1f} MiB, and its disk has {free / 2**20:,.1f} MiB "
                "free. Make room, or write it elsewhere."
            )
        with partial.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(out)
    except OSError as error:
        raise HarnessError(f"{out} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # a folder that could not be written at all
            partial.unlink(missing_ok=True)


def _remove_leftovers(out: Path) -> None:
    for path in out.parent.glob(f".{glob.escape(out.name)}.*.partial"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while somebody writes it
            path.unlink()
