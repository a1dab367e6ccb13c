"""How the files of a run's folder are written: whole or not at all, and so that they stay.

Knows no file by name; `records.jsonl`, which grows line by line, is `store.py`'s. Weights and
states are written by the runtime's `output_file.py`, on which no record depends.
"""

from __future__ import annotations

import fcntl
import glob
import json
import os
import re
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import RecordsError

_NUMBERS = count()  # of the drafts of this process


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file for people and programs; raises `RecordsError` as `write_whole` does."""
    write_whole(path, json.dumps(value, indent=1, ensure_ascii=False).encode("utf-8") + b"\n")


def write_whole(path: Path, data: bytes) -> None:
    """Put `data` in the place of a file; raises `RecordsError` where it cannot be written."""
    try:
        put_whole(path, data)
    except OSError as error:
        raise unwritable(path, error) from error


def put_whole(path: Path, data: bytes) -> None:
    """Put `data` in the place of a file, synced, so that a loss of power leaves one or the other.

    What processes that were killed left half written there goes. Raises `OSError` where the disk or
    the folder does not take it.
    """
    _remove_drafts(path)
    with _draft(path) as file:
        draft = Path(file.name)
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:  # from here on the name may be a draft of another machine's
            draft.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


def _draft(path: Path) -> BinaryIO:
    """A new file beside `path`, locked for as long as it is open where a file system can do that.

    No other thread, process or machine has one of that name; and no name comes twice, so that what
    was found under it is what is removed.
    """
    for number in _NUMBERS:
        with suppress(FileExistsError):
            file = path.with_name(f".{path.name}.{os.getpid()}.{number}").open("xb")
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink:
                return file
            file.close()  # taken for a draft of nobody's before it was locked
    raise AssertionError


def _remove_drafts(path: Path) -> None:
    """Remove what nobody writes any more: a lock ends with its process, wherever that ran."""
    for draft in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if re.fullmatch("[0-9.]+", draft.name[len(path.name) + 2 :]):
            with suppress(OSError), draft.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while it is written
                draft.unlink()


def sync_folder(path: Path) -> None:
    """Let the names in a folder survive a loss of power, where its file system can do that."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def unwritable(path: Path, error: OSError) -> RecordsError:
    """The error for a run's file that cannot be written."""
    return RecordsError(
        f"{path}: cannot be written ({error.strerror or error}). What was recorded before is kept. "
        "Make room or choose another folder with --results, and run again to go on."
    )
