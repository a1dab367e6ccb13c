"""The sha256 of a file, computed once.

Remembered by size, time of change, inode and device: a file that was moved on its disk keeps its
hash, one that was written to loses it. A memory that is damaged, gone or not writable costs time
and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from harness.folders import cache_folder
from harness.runtime.output_file import written_whole

_READ_BYTES = 2**22
_FOLDER = "hashes"
# A file changed this recently might change again without its time of change showing it.
_SETTLED_NS = 2_000_000_000

OnBytes = Callable[[int, int], None]  # done, of all


class _Remembered(msgspec.Struct, frozen=True):
    size: int
    mtime_ns: int
    sha256: str


def file_sha256(path: Path, on_bytes: OnBytes | None = None) -> str:
    """The file's sha256 in hex; reads all of it the first time: a minute for 28 GB.

    `on_bytes` hears how far that is. Raises `OSError` for a file that cannot be read.
    """
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        memory = _memory(before)
        known = _recall(memory, before)
        if known is not None:
            return known
        digest, done = hashlib.sha256(), 0
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
            done += len(chunk)
            if on_bytes is not None:
                on_bytes(done, before.st_size)
        after = os.fstat(file.fileno())
    found = digest.hexdigest()
    if _version(before) == _version(after) and time.time_ns() - after.st_mtime_ns > _SETTLED_NS:
        _remember(memory, _Remembered(after.st_size, after.st_mtime_ns, found))
    return found


def known_sha256(path: Path) -> str | None:
    """The file's sha256 if it was computed before and the file did not change; reads none of it."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return _recall(_memory(stat), stat)


def _memory(stat: os.stat_result) -> Path:
    return cache_folder() / _FOLDER / f"{stat.st_dev:x}-{stat.st_ino:x}.json"


def _version(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns


def _recall(memory: Path, stat: os.stat_result) -> str | None:
    try:
        known = msgspec.json.decode(memory.read_bytes(), type=_Remembered)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    same = (known.size, known.mtime_ns) == _version(stat) and is_sha256(known.sha256)
    return known.sha256 if same else None


def _remember(memory: Path, value: _Remembered) -> None:
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(memory) as file:
            file.write(msgspec.json.encode(value))
    except OSError:
        return  # it only costs time


def is_sha256(text: str) -> bool:
    """Whether `text` is 64 hexadecimal digits, lower-case."""
    return len(text) == 64 and not set(text) - set("0123456789abcdef")
