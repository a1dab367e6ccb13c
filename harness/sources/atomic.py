"""Write a small file whole or not at all, also under two processes at once."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

_LONGEST = 150  # bytes, of the 255 that a name may have


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, sync it, and rename it; its folder must exist.

    Raises `OSError`; what was at `path` before is then still there, and nothing else.
    """
    handle, name = tempfile.mkstemp(prefix=f"{hidden(path).name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())  # mkstemp lets nobody else read  # noqa: PTH101
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def hidden(path: Path, ending: str = "") -> Path:
    """A hidden name beside `path` that tells whose it is, and is not too long."""
    short = path.name.encode("utf-8", "surrogateescape")[:_LONGEST].decode("utf-8", "ignore")
    return path.with_name(f".{short}{ending}")


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
