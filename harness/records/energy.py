"""What a record says of the energy that a trial took: joules per token, raw and above idle.

A counter counts for the whole machine, or for the whole GPU, whoever uses it: what other processes
took is in it. It is read at both ends of the prefill and of the decode of each measured pass.

Units are in the names: `_j` joules, `_w` watts, `_s` seconds.
"""

from __future__ import annotations

from msgspec import Struct, field


class Spent(Struct, frozen=True, kw_only=True):
    """What the counters moved by while something was done."""

    s: float  # between the two readings
    joules: dict[str, float] = field(default_factory=dict)  # counter -> joules
    missing: dict[str, str] = field(default_factory=dict)  # counter -> why it has none


class PassEnergy(Struct, frozen=True, kw_only=True):
    """One measured pass."""

    methods: dict[str, str] = field(default_factory=dict)  # counter -> what it is read from
    missing: dict[str, str] = field(default_factory=dict)  # what has no counter -> why
    prefill: Spent  # all prompt lengths together
    decode: Spent


class Energy(Struct, frozen=True, kw_only=True):
    """All measured passes of a trial together; `missing` says why a figure is None."""

    counters: dict[str, str] = field(default_factory=dict)  # counter -> what it is read from
    prefill_tokens: int | None = None  # × batch, over all passes, as those of decode
    prefill_s: float | None = None
    prefill_j: dict[str, float] = field(default_factory=dict)  # counter -> joules
    prefill_j_per_token: float | None = None  # of all counters
    prefill_net_j_per_token: float | None = None  # less what the idle machine takes in that time
    decode_tokens: int | None = None
    decode_s: float | None = None
    decode_j: dict[str, float] = field(default_factory=dict)
    decode_j_per_token: float | None = None
    decode_net_j_per_token: float | None = None
    idle_w: dict[str, float] = field(default_factory=dict)  # counter -> watts before the trials
    idle_s: float | None = None  # how long that was watched
    missing: dict[str, str] = field(default_factory=dict)
