"""How near a trial came to the machine's limits: bounds and shares for its record. Pure.

The devices of a split work one after another, so their times add up. What is streamed is copied
beside the computation, so a step takes at least the longer of the two.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from msgspec import structs

from harness.records.latency import Prefill
from harness.records.record import SlotRecord
from harness.records.roofline import LimitSet, Roofline
from harness.runtime.shape import ModelShape
from harness.runtime.traffic import decode_traffic, prefill_flop

_NO_PLAN = "the engine does not say what it loaded"
_NO_SHAPE = "the shape of the model is not known"


@dataclass(frozen=True, kw_only=True)
class Timed:
    """What a trial of the speed workload measured."""

    batch: int
    prefill: Sequence[Prefill]
    decode_s: Sequence[Sequence[float]]  # per pass, per token

    @property
    def prompt_tokens(self) -> int:
        """Of the longest prompt; 0 where none was fed."""
        return max((one.tokens for one in self.prefill), default=0)

    @property
    def prefill_s(self) -> float | None:
        """The median time of the longest prompt."""
        return _median([one.s for one in self.prefill if one.tokens == self.prompt_tokens])

    @property
    def step_s(self) -> float | None:
        """The median time of a decode step, all passes pooled."""
        return _median([s for one in self.decode_s for s in one])


def trial_roofline(
    workload: str,
    slots: Sequence[SlotRecord],
    shape: ModelShape | None,
    timed: Timed,
    limits: LimitSet | str,
) -> Roofline | None:
    """For the record of a trial; None where it is not of `speed`, or never began."""
    if workload != "speed" or not (slots or timed.prefill or timed.decode_s):
        return None
    return roofline_of(slots, shape, timed, limits)


def roofline_of(
    slots: Sequence[SlotRecord],
    shape: ModelShape | None,
    timed: Timed,
    limits: LimitSet | str,
) -> Roofline:
    """Bytes, operations, bounds and shares; `limits` may be the reason why there are none."""
    if not slots or shape is None:
        why = _NO_SHAPE if slots else _NO_PLAN
        return Roofline(missing=dict.fromkeys(_SHARES, why))
    traffic = decode_traffic(slots, shape, timed.batch)
    flop = prefill_flop(slots, shape, timed.prompt_tokens, timed.batch)
    work = Roofline(
        step_bytes=traffic.read,
        bus_bytes=traffic.bus,
        prefill_tokens=timed.prompt_tokens or None,
        prefill_flop=flop,
    )
    if isinstance(limits, str):
        return structs.replace(work, missing=dict.fromkeys(_SHARES, limits))
    work = structs.replace(work, limits_at=limits.measured_at, **_figures(limits))
    missing: dict[str, str] = {}
    found: dict[str, float | None] = {}
    for name, bound, took_s, nothing in (
        ("decode", decode_bound_s(work), timed.step_s, "nothing was decoded"),
        ("prefill", prefill_bound_s(work), timed.prefill_s, "no prompt was fed"),
    ):
        if isinstance(bound, str):
            missing[f"{name}_share"] = _why(limits, bound)
            continue
        found[f"{name}_bound_s"] = bound
        if took_s is None:
            missing[f"{name}_share"] = nothing
        else:
            found[f"{name}_share"] = bound / took_s
    return structs.replace(work, **found, missing=missing)


def decode_bound_s(work: Roofline) -> float | str:
    """Least seconds of one step, or which limit is missing: `read cpu`."""
    read = _sum(
        (n, work.read_bytes_per_s.get(device), f"read {device}")
        for device, n in work.step_bytes.items()
        if n
    )
    copied = [
        _sum([(n, work.bus_bytes_per_s.get(device), f"bus {device}")])
        for device, n in work.bus_bytes.items()
    ]
    for one in (read, *copied):
        if isinstance(one, str):
            return one
    return max(one for one in (read, *copied) if not isinstance(one, str))


def prefill_bound_s(work: Roofline) -> float | str:
    """Least seconds of the longest prompt, or which limit is missing: `multiply cpu fp32`."""
    return _sum(
        (n, work.flop_per_s.get(device, {}).get(dtype), f"multiply {device} {dtype}")
        for device, by_dtype in work.prefill_flop.items()
        for dtype, n in by_dtype.items()
    )


_SHARES = ("decode_share", "prefill_share")


def _sum(parts: Iterable[tuple[int, float | None, str]]) -> float | str:
    total = 0.0
    for amount, per_s, name in parts:
        if per_s is None:
            return name
        total += amount / per_s
    return total


def _figures(limits: LimitSet) -> dict[str, Mapping[str, object]]:
    read: dict[str, float] = {}
    bus: dict[str, float] = {}
    flop: dict[str, dict[str, float]] = {}
    for one in limits.limits:
        if one.kind in ("read", "product") and one.bytes_per_s is not None:
            # Whatever read the memory fastest tells what it can give: a sum is not always that.
            read[one.device] = max(one.bytes_per_s, read.get(one.device, 0.0))
        elif one.kind == "bus" and one.bytes_per_s is not None:
            bus[one.device] = one.bytes_per_s
        elif one.kind == "multiply" and one.flop_per_s is not None and one.dtype is not None:
            flop.setdefault(one.device, {})[one.dtype] = one.flop_per_s
    return {"read_bytes_per_s": read, "bus_bytes_per_s": bus, "flop_per_s": flop}


def _why(limits: LimitSet, name: str) -> str:
    """Why the limit of this name has no figure."""
    for one in limits.limits:
        if " ".join(filter(None, (one.kind, one.device, one.dtype))) == name:
            return f"the limit '{name}' could not be measured: {one.missing}"
    return f"the limit '{name}' was not measured"


def _median(seconds: Sequence[float]) -> float | None:
    """None without times, or where a clock stood still."""
    return (statistics.median(seconds) or None) if seconds else None
