"""A folder of files that can be made again: by content, to a budget, the oldest use leaves first.

A file is called by what it was made from and what it holds. It is made under a lock, appears whole
by a rename, and stays as long as a process that uses it holds it. Knows no engine, and not what is
in a file.
"""

from __future__ import annotations

import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar, Generic, Protocol, TypeVar

from harness.errors import HarnessError
from harness.folders import cache_folder
from harness.measure.cache_budget import BUDGET_VARIABLE, budget_given, usual_budget
from harness.measure.file_lock import lock_alone, lock_for_removal, open_shared, wait_for_lock
from harness.sizes import size

SUFFIX = ".safetensors"
FOLDERS = ("converted", "references")  # below the cache folder; one budget for all of them
_PARTIAL = re.compile(r"\.(?P<name>.+\.safetensors)\.[0-9.]+\.partial")


class CacheUnusable(HarnessError):
    """Why a file cannot be had of the cache; names no path, because records keep it."""


class Named(Protocol):
    """What is wanted of a cache."""

    @property
    def name(self) -> str:
        """Of the file: equal for the same numbers from the same weights, and only for those."""

    @property
    def nbytes(self) -> int:
        """Room that the file needs."""


W = TypeVar("W", bound=Named)


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


class FileCache(ABC, Generic[W]):
    """`folder` is made when it is first written to; `budget` is in bytes, by default `budget()`.

    `place` is what it is called in words. Raises `BadInput` for a budget in the environment that is
    no size.
    """

    what: ClassVar[str]  # its files, in words
    usual_folder: ClassVar[str]  # one of `FOLDERS`

    def __init__(
        self, folder: Path | None = None, budget: int | None = None, place: str = "the cache"
    ) -> None:
        self.folder = cache_folder() / self.usual_folder if folder is None else folder
        self._given = budget_given() if budget is None else budget
        self._is_ours = budget is None  # not of whoever opened it, but of the user or the disk
        self._place = place
        self._held: dict[str, BinaryIO] = {}

    def close(self) -> None:
        """Let others remove the files that were in use here."""
        for file in self._held.values():
            file.close()
        self._held.clear()

    @abstractmethod
    def is_wanted(self, path: Path, wanted: W) -> bool:
        """Whether the file is whole as far as its header tells, and what is wanted."""

    def use(self, wanted: W) -> Path | None:
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
            raise CacheUnusable(f"{self.what} cannot be read ({_words(error)})") from error
        if not self.is_wanted(path, wanted):
            file.close()
            if not _remove(path):
                raise CacheUnusable(f"{self.what}: one is damaged, and cannot be removed")
            return None
        with suppress(OSError):  # the cache may be another user's, to read only
            os.utime(path)
        self._held[wanted.name] = file
        return path

    @contextmanager
    def making(self, wanted: W, on_wait: Callable[[], None], deadline_s: float) -> Iterator[Path]:
        """Where to write the file, for one process at a time; half a file is gone at the end.

        `on_wait` is called a few times a second while another process makes the same. Raises
        `CacheUnusable` after `deadline_s` of that, and where nothing can be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = wait_for_lock(_lock_file(self.folder, wanted.name), on_wait, deadline_s)
        except OSError as error:
            raise CacheUnusable(
                f"{self._place} of {self.what} cannot be written ({_words(error)})"
            ) from error
        if lock is None:
            raise CacheUnusable(
                f"another process has been making the same {self.what} for {deadline_s:g} s"
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
            used, free = self._pool_bytes(), shutil.disk_usage(self.folder).free
            budget = self.budget()
        except OSError as error:
            raise CacheUnusable(f"{self._place} cannot be read ({_words(error)})") from error
        if nbytes > budget:
            raise CacheUnusable(
                f"{self.what} need {size(nbytes)}, and {self._place} may hold "
                f"{size(budget)}{self._set_by(free)}"
            )
        missing = max(used + nbytes - budget, nbytes - free)
        with ExitStack() as locked:
            leaving: list[Entry] = []
            for entry in _entries(self._pool()):
                if sum(one.nbytes for one in leaving) >= missing:
                    break
                if lock_for_removal(entry.path, locked):
                    leaving.append(entry)
            if sum(one.nbytes for one in leaving) < missing:
                raise CacheUnusable(
                    f"{self.what} need {size(nbytes)}; {self._place} holds {size(used)} of at most "
                    f"{size(budget)}, its disk has {size(free)} free, and nothing that is not "
                    "in use is left to remove"
                )
            for entry in leaving:
                _remove(entry.path)

    def remove(self, path: Path) -> bool:
        """Do away with a file that turned out to be damaged; False: that is not allowed."""
        return _remove(path)

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
        """The whole files of this folder, the least recently used first."""
        return _entries([self.folder])

    def used_bytes(self) -> int:
        """Bytes of all files of this folder, unfinished ones included."""
        return sum(stat.st_size for _, stat in self._files())

    def budget(self) -> int:
        """Bytes that all folders of the cache may hold now.

        Raises `OSError` where their disk cannot be seen.
        """
        if self._given is not None:
            return self._given
        return usual_budget(self._pool_bytes(), free_bytes(self.folder))

    def _set_by(self, free: int) -> str:
        """Who says how much the cache may hold, and what would say otherwise."""
        if not self._is_ours:
            return ""
        if self._given is not None:
            return f" ({BUDGET_VARIABLE} sets that)"
        return f", since {size(free)} are free on its disk ({BUDGET_VARIABLE} allows more)"

    def _pool(self) -> list[Path]:
        """The folders that share the budget."""
        if self.folder.name not in FOLDERS:
            return [self.folder]
        return [self.folder.parent / name for name in FOLDERS]

    def _pool_bytes(self) -> int:
        return sum(stat.st_size for folder in self._pool() for _, stat in _files(folder))

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        return _files(self.folder)

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


def free_bytes(folder: Path) -> int:
    """Free on the disk of a folder, which need not be there yet. Raises `OSError`."""
    nearest = next((one for one in (folder, *folder.parents) if one.is_dir()), folder)
    return shutil.disk_usage(nearest).free


def _entries(folders: Iterable[Path]) -> list[Entry]:
    """The whole files of some folders, the least recently used first."""
    found = [
        Entry(path=path, nbytes=stat.st_size, used_ns=stat.st_mtime_ns)
        for folder in folders
        for path, stat in _files(folder)
        if path.suffix == SUFFIX and not path.name.startswith(".")
    ]
    return sorted(found, key=lambda entry: (entry.used_ns, entry.path.name))


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    paths = []
    with suppress(FileNotFoundError, NotADirectoryError):
        paths = list(folder.iterdir())
    for path in paths:
        with suppress(OSError):  # it may have gone meanwhile
            yield path, path.stat()


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


def _words(error: OSError) -> str:
    return error.strerror or type(error).__name__
