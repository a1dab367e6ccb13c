"""The lock beside a study: which content its hub and https sources had when they were first used.

`raven.yaml` has `raven.lock.json`. It is made to be committed: no path of a machine and no password
is in it, and the same content is the same text. Nothing is downloaded or compared here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import msgspec

from harness.errors import SourceError
from harness.invocation import command_line
from harness.runtime.output_file import written_whole
from harness.sources.hashes import is_sha256

_SCHEMA = 1


class Locked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one source had."""

    sha256: str
    size: int  # bytes
    revision: str | None = None  # of a hub: the commit; of another server: its etag, if it has one


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema: int
    files: dict[str, Locked]


def lock_path(study: Path) -> Path:
    """`raven.lock.json` for `raven.yaml`."""
    return study.with_name(f"{study.stem}.lock.json")


def read_lock(study: Path) -> dict[str, Locked]:
    """The lock of a study, by what its sources are called; empty where there is none yet.

    Raises `SourceError` for one that cannot be understood.
    """
    path = lock_path(study)
    try:
        document = msgspec.json.decode(path.read_bytes(), type=_Document)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SourceError(f"{path}: is no lock ({error}). {_way_out()}") from error
    if document.schema != _SCHEMA:
        raise SourceError(
            f"{path}: is a lock of schema {document.schema}; this version reads {_SCHEMA}. "
            "Use a newer version of the harness."
        )
    for name, entry in document.files.items():
        if not is_sha256(entry.sha256) or entry.size < 0:
            raise SourceError(f"{path}: the entry of {name} is no sha256 and size. {_way_out()}")
    return document.files


def _way_out() -> str:
    return f"Restore it, or delete it to have it made again: {command_line('pull', 'STUDY')}"


def write_lock(study: Path, files: Mapping[str, Locked]) -> bool:
    """Add `files` to the lock of `study`; False where it already says all of that.

    Raises `OSError` where it cannot be written.
    """
    known = read_lock(study)
    whole = {**known, **files}
    if whole == known:
        return False
    document = {
        "schema": _SCHEMA,
        "files": {name: _entry(whole[name]) for name in sorted(whole)},
    }
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    with written_whole(lock_path(study)) as file:
        file.write(text.encode())
    return True


def _entry(entry: Locked) -> dict[str, str | int]:
    revision = {} if entry.revision is None else {"revision": entry.revision}
    return {"sha256": entry.sha256, "size": entry.size, **revision}
