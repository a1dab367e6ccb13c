"""The folder of converted weights: files by content, a budget, the least recently used leave first.

A file is called by what it was made from and what it holds. It is made under a lock, appears whole
by a rename, and stays as long as a process that uses it holds it. Knows no engine, and not how to
convert.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from harness.errors import CheckpointError, HarnessError
from harness.folders import cache_folder
from harness.measure.cache_budget import BUDGET_VARIABLE, budget_given, usual_budget
from harness.measure.file_lock import lock_alone, lock_for_removal, open_shared, wait_for_lock
from harness.runtime.checkpoint import read_header
from harness.runtime.stored import StoredPlan
from harness.sizes import size

_HEADER_BYTES = 2**20  # of a file, beside its tensors
_PARTIAL = re.compile(r"\.(?P<name>.+\.safetensors)\.[0-9]+\.partial")


class CacheUnusable(HarnessError):
    """Why converted weights cannot be had; names no path, because records keep it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a converted file must hold, and so what it is called."""

    source_sha256: str  # of the original weights
    plan: StoredPlan
    tensor_bytes: int
    converter: str  # what makes it: other code or another torch may give other last bits

    @property
    def name(self) -> str:
        """Equal for the same numbers from the same weights, and only for those."""
        how = hashlib.sha256(f"{self.plan.key}\n{self.converter}".encode()).hexdigest()
        return f"{self.source_sha256[:16]}-{how[:16]}.safetensors"

    @property
    def nbytes(self) -> int:
        """Room that the file needs."""
        return self.tensor_bytes + _HEADER_BYTES


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One file of the cache."""

    path: Path
    nbytes: int
    used_ns: int  # time of the last use, since the epoch


@dataclass(frozen=True, kw_only=True, slots=True)
class Cleared:
    """What a clearing removed, and what a running process uses and keeps."""

    removed: tuple[Entry, ...]
    kept: tuple[Entry, ...]


class ConvertedCache:
    """`folder` is made when it is first written to; `budget` is in bytes, by default `budget()`.

    Raises `BadInput` for a budget in the environment that is no size.
    """

    def __init__(self, folder: Path | None = None, budget: int | None = None) -> None:
        self.folder = cache_folder() / "converted" if folder is None else folder
        self._given = budget_given() if budget is None else budget
        self._held: dict[str, BinaryIO] = {}

    def close(self) -> None:
        """Let others remove the files that were in use here."""
        for file in self._held.values():
            file.close()
        self._held.clear()

    def use(self, wanted: Wanted) -> Path | None:
        """The file, which then stays until `close`; None where there is none.

        One that is not what its name says is removed. Raises `CacheUnusable`.
        """
        path = self.folder / wanted.name
        held = self._held.pop(wanted.name, None)
        if held is not None:
            if os.fstat(held.fileno()).st_nlink:
                self._held[wanted.name] = held
                return path
            held.close()  # removed by hand
        try:
            file = open_shared(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise CacheUnusable(f"a converted file cannot be read ({_words(error)})") from error
        if not _is(path, wanted):
            file.close()
            _remove_damaged(path)
            return None
        with suppress(OSError):  # the cache may be another user's, to read only
            os.utime(path)
        self._held[wanted.name] = file
        return path

    @contextmanager
    def making(
        self, wanted: Wanted, on_wait: Callable[[], None], deadline_s: float
    ) -> Iterator[Path]:
        """Where to write the file, for one process at a time; half a file is gone at the end.

        `on_wait` is called a few times a second while another process makes the same. Raises
        `CacheUnusable` after `deadline_s` of that, and where nothing can be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = wait_for_lock(_lock_file(self.folder, wanted.name), on_wait, deadline_s)
        except OSError as error:
            raise CacheUnusable(
                f"the cache of converted weights cannot be written ({_words(error)})"
            ) from error
        if lock is None:
            raise CacheUnusable(
                f"another process has been converting the same weights for {deadline_s:g} s"
            )
        with lock:
            # What lies half made under this lock, nobody is making any more.
            self._sweep(wanted.name)
            self._sweep_others(wanted.name)
            try:
                yield self.folder / wanted.name
            finally:
                self._sweep(wanted.name)

    def make_room(self, nbytes: int) -> None:
        """Remove what was used longest ago, and is not in use, until `nbytes` more fit.

        Removes nothing, and raises `CacheUnusable`, where they do not fit for all that.
        """
        try:
            used, free = self.used_bytes(), shutil.disk_usage(self.folder).free
            budget = self.budget()
        except OSError as error:
            raise CacheUnusable(f"the cache folder cannot be read ({_words(error)})") from error
        if nbytes > budget:
            raise CacheUnusable(
                f"converted, they need {size(nbytes)}, and the cache may hold {size(budget)} "
                f"({BUDGET_VARIABLE} sets that)"
            )
        missing = max(used + nbytes - budget, nbytes - free)
        with ExitStack() as locked:
            leaving: list[Entry] = []
            for entry in self.entries():
                if sum(one.nbytes for one in leaving) >= missing:
                    break
                if lock_for_removal(entry.path, locked):
                    leaving.append(entry)
            if sum(one.nbytes for one in leaving) < missing:
                raise CacheUnusable(
                    f"converted, they need {size(nbytes)}; the cache holds {size(used)} of at most "
                    f"{size(budget)}, its disk has {size(free)} free, and nothing that is not "
                    "in use is left to remove"
                )
            for entry in leaving:
                _remove(entry.path)

    def clear(self) -> Cleared:
        """Remove every file that no process uses, and what is left of unfinished ones."""
        removed, kept = [], []
        for entry in self.entries():
            with ExitStack() as locked:
                if lock_for_removal(entry.path, locked) and _remove(entry.path):
                    removed.append(entry)
                else:
                    kept.append(entry)
        self._sweep_others(None)
        for path, _ in list(self._files()):
            with ExitStack() as locked:
                if path.suffix == ".lock" and lock_for_removal(path, locked):
                    _remove(path)
        return Cleared(removed=tuple(removed), kept=tuple(kept))

    def entries(self) -> list[Entry]:
        """The whole files, the least recently used first."""
        found = [
            Entry(path=path, nbytes=stat.st_size, used_ns=stat.st_mtime_ns)
            for path, stat in self._files()
            if path.suffix == ".safetensors" and not path.name.startswith(".")
        ]
        return sorted(found, key=lambda entry: (entry.used_ns, entry.path.name))

    def used_bytes(self) -> int:
        """Bytes of all files, unfinished ones included."""
        return sum(stat.st_size for _, stat in self._files())

    def budget(self) -> int:
        """Bytes that the cache may hold now; raises `OSError` where its disk cannot be seen."""
        if self._given is not None:
            return self._given
        return usual_budget(self.used_bytes(), shutil.disk_usage(_nearest(self.folder)).free)

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        paths = []
        with suppress(FileNotFoundError, NotADirectoryError):
            paths = list(self.folder.iterdir())
        for path in paths:
            with suppress(OSError):  # it may have gone meanwhile
                yield path, path.stat()

    def _partials(self) -> dict[str, list[Path]]:
        """What is half made, by the name of the file it was to become."""
        found: dict[str, list[Path]] = {}
        for path, _ in self._files():
            match = _PARTIAL.fullmatch(path.name)
            if match:
                found.setdefault(match["name"], []).append(path)
        return found

    def _sweep(self, name: str) -> None:
        for path in self._partials().get(name, ()):
            _remove(path)

    def _sweep_others(self, name: str | None) -> None:
        """Remove what is half made of other files, where nobody holds their locks."""
        for other in self._partials():
            if other == name:
                continue
            with suppress(OSError), _lock_file(self.folder, other).open("ab") as lock:
                if lock_alone(lock):
                    self._sweep(other)


def _is(path: Path, wanted: Wanted) -> bool:
    """Whether the file is whole as far as its header tells, and what is wanted."""
    try:
        converted = read_header(path).converted
    except CheckpointError:
        return False
    return (
        converted is not None
        and converted.plan == wanted.plan
        and converted.source_sha256 == wanted.source_sha256
    )


def _lock_file(folder: Path, name: str) -> Path:
    return folder / f".{name}.lock"


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _remove_damaged(path: Path) -> None:
    if not _remove(path):
        raise CacheUnusable("the converted file is damaged, and cannot be removed")


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next((one for one in (folder, *folder.parents) if one.is_dir()), folder)


def _words(error: OSError) -> str:
    return error.strerror or type(error).__name__
