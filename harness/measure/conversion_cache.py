"""The cache of converted weights: what a file of it is called, and whether it is the wanted one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.errors import CheckpointError
from harness.measure.file_cache import SUFFIX, FileCache
from harness.runtime.checkpoint import read_header
from harness.runtime.stored import StoredPlan

_HEADER_BYTES = 2**20  # of a file, beside its tensors


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
        return f"{self.source_sha256[:16]}-{how[:16]}{SUFFIX}"

    @property
    def nbytes(self) -> int:
        """Room that the file needs."""
        return self.tensor_bytes + _HEADER_BYTES


class ConvertedCache(FileCache[Wanted]):
    """Converted weights."""

    what: ClassVar[str] = "converted weights"
    usual_folder: ClassVar[str] = "converted"

    def is_wanted(self, path: Path, wanted: Wanted) -> bool:
        """Whether the file is of this plan and these weights."""
        try:
            converted = read_header(path).converted
        except CheckpointError:
            return False
        return (
            converted is not None
            and converted.plan == wanted.plan
            and converted.source_sha256 == wanted.source_sha256
        )
