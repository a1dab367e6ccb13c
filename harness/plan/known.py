"""What a machine tells of how long things take: given to a forecast of time, which asks nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.machine.speed_probe import MachineSpeed
from harness.records.past import PastRecord

Reads = tuple[str, str]  # model, strategy


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertedFile:
    """The converted weights that a strategy reads; several strategies may read the same."""

    name: str
    is_there: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """How fast the machine is, what it measured, and what its caches hold."""

    speed: MachineSpeed
    cores: int | None = None  # that threads can run on
    past: Sequence[PastRecord] = ()
    # Hashes of the models' weights, where they are known: records of others say nothing.
    weights: Mapping[str, str | None] = field(default_factory=dict)
    unhashed_bytes: int = 0  # of weights, which are read once before anything runs
    # Without an entry the original weights are read.
    converted: Mapping[Reads, ConvertedFile] = field(default_factory=dict)
    reference_rows: Mapping[str, int] = field(default_factory=dict)  # kept, by model
    reference_room: int | None = None  # bytes that the cache may hold of them; None: any
    lambada_documents: int | None = None  # that can be read; None: as many as were published
    idle_s: float = 0.0  # watching what the idle machine takes, before the first speed
    tells_limits: bool = True  # what it can do at best can be measured

    def at_once(self, threads: int) -> int:
        """How many of so many threads really run at the same time."""
        return threads if self.cores is None else min(threads, self.cores)
