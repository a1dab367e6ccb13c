"""The types of what a report says of order and drift."""

from __future__ import annotations

from msgspec import Struct

from harness.records.stop import Stop
from harness.stats import Drift


class TrialPlace(Struct, frozen=True, kw_only=True):
    """One trial that counts: its place in the run, and what it gave."""

    sequence: int
    block: int | None
    decode_tok_per_s: float
    cpu_start_c: float | None = None
    waited_s: float | None = None


class RunOrder(Struct, frozen=True, kw_only=True):
    """What the report says of the order of a whole run."""

    kinds: tuple[str, ...]  # one, unless the run went on under another order
    seeds: tuple[int, ...]
    blocks: int  # 0 in the sequential order
    drift: Drift | None = None  # of decode speed, from the first trial to the last
    stop: Stop | None = None
    starts_c: tuple[float, float] | None = None  # coolest and warmest start, of any sensor's range
    waited_s: float = 0.0  # for the machine to cool down, all trials together
    n_not_cooled: int = 0  # trials that began though the target was not reached
