"""An output file that takes its place only when it is whole. No torch.

Until then its bytes lie in `.NAME.PID.N.partial` beside it, locked by whoever writes them: what a
killed process left there is nobody's, and goes when the same file is written again. On a file
system without locks nobody can tell, so it stays.
"""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO

from harness.errors import HarnessError

_LONGEST = 150  # bytes, of the 255 that a name may have
_NUMBERS = count()  # of the partial files of this process


@contextmanager
def replacing(out: Path, n_bytes: int) -> Iterator[BinaryIO]:
    """A large file that takes the place of `out`, as `written_whole` has it, and makes its folder.

    Raises `HarnessError` where the disk has no room for `n_bytes`, or cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(out) as file:
            free = shutil.disk_usage(out.parent).free
            if free < n_bytes:
                raise HarnessError(
                    f"{out} needs {n_bytes / 2**20:,.1f} MiB, and its disk has "
                    f"{free / 2**20:,.1f} MiB free. Make room, or write it elsewhere."
                )
            yield file
    except OSError as error:
        raise HarnessError(f"{out} cannot be written: {error.strerror or error}") from error


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` once it is whole and on the disk, and never before.

    Threads and processes may write the same file at once; the last one's stays. Raises `OSError`.
    """
    _remove_leftovers(path)
    with _partial(path) as file:
        partial = Path(file.name)
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:  # once it has its place, the name may be another machine's
            with suppress(OSError):
                partial.unlink()
            raise


def hidden(path: Path, ending: str = "") -> Path:
    """A hidden name beside `path` that tells whose it is, and is not too long."""
    short = path.name.encode("utf-8", "surrogateescape")[:_LONGEST].decode("utf-8", "ignore")
    return path.with_name(f".{short}{ending}")


def _partial(path: Path) -> BinaryIO:
    """A new file beside `path`, locked for as long as it is open, where that can be."""
    for number in _NUMBERS:
        with suppress(FileExistsError):
            file = hidden(path, f".{os.getpid()}.{number}.partial").open("xb")
            with suppress(OSError):  # no locks here
                fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink:
                return file
            file.close()  # taken for nobody's before it was locked
    raise AssertionError


def _remove_leftovers(path: Path) -> None:
    for partial in path.parent.glob(f"{glob.escape(hidden(path).name)}.*.partial"):
        with suppress(OSError), partial.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while somebody writes it
            partial.unlink()
