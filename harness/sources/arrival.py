"""Bring a file to its place: beside it first, checked, then renamed.

Two processes that want the same file wait for each other. An interruption keeps what came, under a
hidden name; a wrong hash keeps nothing. Knows URLs and paths, not hubs or studies.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from harness.errors import DownloadError, SourceError
from harness.runtime.output_file import hidden
from harness.sources.exclusive import exclusively
from harness.sources.hashes import file_sha256
from harness.sources.paths import is_file, real
from harness.sources.transfer import Wanted, disk_error, fetch

_CHUNK_BYTES = 2**22
_START_BYTES = 512
Check = Callable[[Path, str], str | None]  # a file and its sha256 -> what is wrong with it


class Watch(Protocol):
    """Who is told how it goes."""

    def begin(self, what: str, name: str, size: int | None) -> None:
        """A part of the work begins: 'Downloading', 'Checking', 'Copying', 'Waiting for'."""

    def move(self, done: int, total: int) -> None:
        """So many bytes of so many (0: not known) are done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A file in its place."""

    path: Path
    sha256: str
    size: int
    fresh: bool  # it came now
    etag: str | None = None


def bring(  # noqa: PLR0913 - what to get, where to, how to know it, and how to speak of it
    wanted: Wanted,
    target: Path,
    check: Check,
    watch: Watch,
    *,
    name: str,
    tag: str,
    may_replace: bool,
    renew: bool = False,
) -> Arrival:
    """Have what `wanted` describes at `target`.

    `tag` tells partial files of different versions apart. A wrong file at `target` (with `renew`:
    any) is replaced, at once and only by a right one, if it `may_replace` it. Raises
    `DownloadError`, and `SourceError` for a wrong file that may not be replaced.
    """
    with exclusively(target, lambda: watch.begin("Waiting for another pull of", name, None)):
        if is_file(target) and not renew:
            sha256 = hash_of(target, watch, name)
            wrong = check(target, sha256)
            if wrong is None:
                size = target.stat().st_size
                return Arrival(path=target, sha256=sha256, size=size, fresh=False)
            if not may_replace:
                raise SourceError(f"{target}: {wrong}")
        part = hidden(target, f".{tag}.part")
        try:
            return _arrive(wanted, part, target, check, watch, name)
        except OSError as error:
            raise disk_error(error, target, wanted.size) from error
        finally:
            _tidy(part)


def _arrive(
    wanted: Wanted, part: Path, target: Path, check: Check, watch: Watch, name: str
) -> Arrival:
    """Fetch to `part`, going on with what is there, and rename it to `target` if it is right."""
    part.parent.mkdir(parents=True, exist_ok=True)
    watch.begin("Downloading", name, wanted.size)
    if not wanted.checked:
        wanted = replace(wanted, etag=_read(_etag_of(part)))
    fetched = fetch(wanted, part, watch.move, lambda etag: _write(_etag_of(part), etag))
    sha256 = _checked(part, check, watch, name)
    size = part.stat().st_size
    part.replace(target)
    _sync_folder(target.parent)
    return Arrival(path=target, sha256=sha256, size=size, fresh=True, etag=fetched.etag)


def hash_of(path: Path, watch: Watch, name: str | None = None) -> str:
    """The file's sha256; says so, by another name if the path is one of the hub's."""
    watch.begin("Checking", name or path.name, path.stat().st_size)
    return file_sha256(path, watch.move)


def git_sha1(path: Path) -> str:
    """What git calls the content of a file; a hub says it of small ones."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def copy_into(path: Path, target: Path, watch: Watch) -> None:
    """Have the content of `path` at `target` too: by a hard link, else by a copy."""
    watch.begin("Copying", path.name, path.stat().st_size)
    part = hidden(target, f".{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            os.link(real(path), target)
            return
        shutil.copyfile(path, part)
        part.replace(target)
    except OSError as error:
        raise disk_error(error, target, path.stat().st_size) from error
    finally:
        part.unlink(missing_ok=True)


def _checked(part: Path, check: Check, watch: Watch, name: str) -> str:
    watch.begin("Checking", name, part.stat().st_size)
    sha256 = file_sha256(part, watch.move)
    wrong = _no_content(part) or check(part, sha256)
    if wrong is None:
        return sha256
    part.unlink()
    raise DownloadError(f"{name}: nothing of what came was kept: it {wrong}")


def _no_content(part: Path) -> str | None:
    """What a server sent that has not got the file and does not say so."""
    with part.open("rb") as file:
        start = file.read(_START_BYTES).lstrip().lower()
    if not start:
        return "is empty."
    if start.startswith((b"<!doctype", b"<html")):
        return "is a web page: the link is that of a page, or a login stands in between."
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file. Take the link of the file itself."
    return None


def _etag_of(part: Path) -> Path:
    """Where it stands which version of the file a partial file is of."""
    return part.with_name(f"{part.name}.etag")


def _tidy(part: Path) -> None:
    """Leave a partial file only if something is in it, and its etag only with it."""
    with suppress(OSError):
        if part.stat().st_size:
            return
        part.unlink()
    _write(_etag_of(part), None)


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8") or None
    except (OSError, UnicodeDecodeError):
        return None


def _write(path: Path, text: str | None) -> None:
    with suppress(OSError):
        if text is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(text, encoding="utf-8")


def _sync_folder(folder: Path) -> None:
    """Make a renaming last, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
