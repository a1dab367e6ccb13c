"""How much main memory a trial may hold: what the study says, or what the machine has left.

Knows no process; `memory_guard.py` holds the limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.config.limit_settings import AUTO, NONE, Limits
from harness.machine.memory import MemoryReading
from harness.machine.room import available_bytes
from harness.sizes import parse_size, size

_RESERVE_BYTES = 512 * 2**20
_RESERVE_SHARE = 0.05  # of what is available, where that is more


@dataclass(frozen=True, kw_only=True)
class MemoryRoom:
    """A limit in bytes and where it comes from, or the reason why there is none."""

    bytes: int | None = None
    source: Literal["study", "available"] | None = None
    missing: str | None = None

    @property
    def short(self) -> str:
        """The limit in the midst of a sentence."""
        auto = "auto, " if self.source == "available" else ""
        return f"limits.memory: {auto}{size(self.bytes or 0)}"

    @property
    def words(self) -> str:
        """The limit, as outcomes name it."""
        if self.bytes is None:
            return "no limit of memory"
        if self.source == "study":
            return self.short
        return f"{self.short}: what was available when the trial began, less a reserve"


def memory_room(limits: Limits, available: MemoryReading | None = None) -> MemoryRoom:
    """The limit for a trial that begins now; `available` is what the machine has, or is asked."""
    if limits.memory == NONE:
        return MemoryRoom(missing="the study asks for none")
    if limits.memory != AUTO:
        return MemoryRoom(bytes=parse_size(limits.memory), source="study")
    found = available_bytes() if available is None else available
    if found.bytes is None:
        return MemoryRoom(missing=f"what is available is not known: {found.missing}")
    # Between two looks of a watchdog a trial can take a few hundred MiB more.
    reserve = max(_RESERVE_BYTES, int(found.bytes * _RESERVE_SHARE))
    return MemoryRoom(bytes=max(0, found.bytes - reserve), source="available")
