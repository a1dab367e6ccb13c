"""The cache of references: files of log-probabilities, by the weights and passages they are of."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.errors import HarnessError
from harness.measure.file_cache import SUFFIX, CacheUnusable, FileCache
from harness.measure.job import PassageJob
from harness.quality.rows_file import RowsFile, rows_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class WantedRows:
    """One file: passages of one model, computed together."""

    weights_sha256: str
    passages: tuple[PassageJob, ...]
    n_vocab: int

    @property
    def name(self) -> str:
        """Equal for the same passages of the same weights."""
        return f"{name_of(self.weights_sha256, self.passages)}{SUFFIX}"

    @property
    def nbytes(self) -> int:
        """Room that the file needs."""
        return rows_bytes({one.key: one.n_rows for one in self.passages}, self.n_vocab)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A file that is there, whatever passages are in it."""

    name: str
    nbytes: int = 0


def name_of(weights_sha256: str, passages: Sequence[PassageJob]) -> str:
    """What files with these passages of these weights are called, without a suffix."""
    keys = "\n".join(sorted(one.key for one in passages))
    return f"{weights_sha256[:16]}-{hashlib.sha256(keys.encode()).hexdigest()[:16]}"


def rows_in(path: Path) -> RowsFile | None:
    """What a file holds; None for one that is damaged."""
    try:
        return RowsFile(path)
    except HarnessError:
        return None


class ReferenceCache(FileCache["WantedRows | Kept"]):
    """References in full."""

    what: ClassVar[str] = "references"
    usual_folder: ClassVar[str] = "references"

    def is_wanted(self, path: Path, wanted: WantedRows | Kept) -> bool:
        """Whether the file is whole, and has the passages."""
        rows = rows_in(path)
        if rows is None:
            return False
        return isinstance(wanted, Kept) or all(
            rows.has(one.key, one.n_rows, wanted.n_vocab) for one in wanted.passages
        )

    def of(self, weights_sha256: str, keys: Collection[str]) -> Iterator[RowsFile]:
        """Every file of these weights that has any of the passages; each stays until `close`.

        The others may leave: they are only looked at. Raises `OSError` for a folder that cannot be
        listed.
        """
        for entry in self.entries():
            if not entry.path.name.startswith(f"{weights_sha256[:16]}-"):
                continue
            rows = rows_in(entry.path)  # a damaged file says nothing of the others
            if rows is None or rows.metadata.get("weights_sha256") != weights_sha256:
                continue
            with suppress(CacheUnusable):
                if not rows.keys.isdisjoint(keys) and self.use(Kept(name=entry.path.name)):
                    yield rows
