"""How near a strategy came to the machine's limits, and its energy, over the trials that count.

Knows records; what the figures mean, `roofline_tables.py` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct, field

from harness.records.energy import Energy
from harness.records.record import Record
from harness.records.roofline import Roofline
from harness.stats import Estimate, estimate


class RowRoofline(Struct, frozen=True, kw_only=True):
    """The shares of a strategy, medians over trials, and what they are of."""

    decode_share: Estimate | None = None
    prefill_share: Estimate | None = None
    work: Roofline | None = None  # of one trial: bytes, operations, limits
    missing: dict[str, str] = field(default_factory=dict)


class RowEnergy(Struct, frozen=True, kw_only=True):
    """Joules per token of a strategy, medians over trials."""

    decode_j_per_token: Estimate | None = None
    decode_net_j_per_token: Estimate | None = None
    prefill_j_per_token: Estimate | None = None
    prefill_net_j_per_token: Estimate | None = None
    counters: dict[str, str] = field(default_factory=dict)  # counter -> what it is read from
    idle_w: dict[str, float] = field(default_factory=dict)  # of these counters, before the trials
    missing: dict[str, str] = field(default_factory=dict)


def roofline_of(records: Sequence[Record]) -> RowRoofline:
    """Of the speed trials of a row; empty where their records are older than these figures."""
    found = [record.roofline for record in records if record.roofline is not None]
    decode = _estimate(one.decode_share for one in found)
    prefill = _estimate(one.prefill_share for one in found)
    missing = {
        name: _first(one.missing.get(name) for one in found)
        for name, value in (("decode_share", decode), ("prefill_share", prefill))
        if value is None and found
    }
    return RowRoofline(
        decode_share=decode,
        prefill_share=prefill,
        work=next((one for one in found if one.step_bytes), None),
        missing=missing,
    )


def energy_of(records: Sequence[Record]) -> RowEnergy:
    """Of the speed trials of a row."""
    found = [record.energy for record in records if record.energy is not None]
    names = (
        "decode_j_per_token",
        "decode_net_j_per_token",
        "prefill_j_per_token",
        "prefill_net_j_per_token",
    )
    figures = {name: _estimate(getattr(one, name) for one in found) for name in names}
    missing = {
        name: _first(one.missing.get(name) for one in found)
        for name, value in figures.items()
        if value is None and found
    }
    return RowEnergy(
        **figures,
        counters=found[0].counters if found else {},
        idle_w={
            name: watts
            for one in found
            for name, watts in one.idle_w.items()
            if name in one.counters
        },
        missing={**_not_counted(found), **missing},
    )


def _not_counted(found: Iterable[Energy]) -> dict[str, str]:
    return {
        name: why
        for one in found
        for name, why in one.missing.items()
        if name.startswith("not counted")
    }


def _estimate(values: Iterable[float | None]) -> Estimate | None:
    known = [value for value in values if value is not None and value > 0]
    return estimate(known) if known else None


def _first(reasons: Iterable[str | None]) -> str:
    return next((why for why in reasons if why), "not recorded")
