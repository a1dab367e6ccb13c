"""How the files of a run's folder are written: whole or not at all, and so that they stay.

Knows no file by name; `records.jsonl`, which grows line by line, is `store.py`'s.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.errors import RecordsError


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file for people and programs; raises `RecordsError` as `write_whole` does."""
    write_whole(path, json.dumps(value, indent=1, ensure_ascii=False).encode("utf-8") + b"\n")


def write_whole(path: Path, data: bytes) -> None:
    """Put `data` in the place of a file, synced, so that a loss of power leaves one or the other.

    Raises `RecordsError` where the disk or the folder does not take it.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error
    sync_folder(path.parent)


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
