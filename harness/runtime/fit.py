"""The fastest strategy that is predicted to fit into the memory there is.

Strategies are tried in a fixed order of kinds, which is that of their speed where it is known:

1. all slots on the device, in its own format;
2. int8 for as few slots as needed (`cuda fp16i8 *N -> cuda fp16`), then for all;
3. a split with the CPU (`cuda fp16i8 *N -> cpu fp32`);
4. streaming (`cuda fp16i8 *N+`), which crosses the bus for every token;
5. the CPU alone.

(A split whose CPU part is int8 is not among them: it holds as much in main memory as streaming
those slots, and takes longer than the bus.)

Within a kind, the one that moves the fewest bytes per token wins, each weighed by the bandwidth of
where it moves (`seconds_per_token`): a device's memory is far faster than the host's, and that
faster than the bus between them. It is an order, not a prediction of speed. Knows no torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from harness.runtime.forecast import CUDA_CONTEXT_BYTES, Conditions, Forecast, forecast
from harness.runtime.forecast_stored import HOST, is_streamed, slot_matrices
from harness.runtime.shape import ModelShape
from harness.runtime.strategy import UINT8, LayerPlan, device_key, resolve
from harness.runtime.tensor_info import ITEM_BYTES

# Resident before a model is opened: Python, torch, tokenizers. Measured: 231 MiB with a torch 2.13
# for the CPU, 305 MiB with torch 2.0.1, which brings CUDA along.
LIBRARIES_BYTES = 320 * 2**20
# Bytes per second; a device's memory, the host's, and the bus (PCIe 3.0 ×16) of a common machine.
DEVICE_BANDWIDTH = 900e9
HOST_BANDWIDTH = 40e9
BUS_BANDWIDTH = 12e9
# int8 on the CPU reads a quarter of fp32 and casts it in the cache: a little slower than fp32.
INT8_ON_HOST_BYTES = 4.4


class Kind(IntEnum):
    """How a strategy uses the machine, the fastest first."""

    DEVICE = 1
    DEVICE_INT8 = 2
    SPLIT = 3
    STREAMED = 4
    CPU = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The memory there is, and how to use it. `vram_bytes` None: no device, the CPU alone."""

    vram_bytes: int | None
    ram_bytes: int | None  # None: not known, and taken as enough
    device: str = "cuda"
    dtype: str = "fp16"  # on the device
    fast_bf16: bool = False  # the CPU multiplies bf16 by itself; without that it is slow


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A strategy with what it is predicted to take."""

    kind: Kind
    strategy: str
    forecast: Forecast
    seconds_per_token: float  # by bytes moved: for ordering alone
    excess: Mapping[str, int]  # device -> bytes beyond its limit; empty where all fits

    @property
    def fits(self) -> bool:
        """Whether no limit is passed."""
        return not self.excess


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """The answer."""

    best: Candidate | None  # None: nothing fits
    runner_up: Candidate | None  # the next one of another kind, or of another make
    faster: tuple[Candidate, ...]  # some that do not fit: the simplest, and the nearest
    nearest: Candidate  # where nothing fits, the one that misses by least; else the best


def fit(shape: ModelShape, limits: Limits, conditions: Conditions | None = None) -> Fit:
    """The first strategy in the order that stays within all limits."""
    ordered = sorted(
        _candidates(shape, limits, conditions), key=lambda one: (one.kind, one.seconds_per_token)
    )
    at = next((i for i, one in enumerate(ordered) if one.fits), None)
    if at is None:
        nearest = min(ordered, key=lambda one: sum(one.excess.values()))
        return Fit(best=None, runner_up=None, faster=(), nearest=nearest)
    best = ordered[at]
    others = (one for one in ordered[at + 1 :] if one.fits and _make(one) != _make(best))
    # the simplest plan of all, and the same as the best with one slot more on the faster side
    alike = [one for one in ordered[:at] if _make(one) == _make(best)]
    refused = (*ordered[: min(at, 1)], *(alike[-1:] or ordered[:at][-1:]))
    faster = tuple({one.strategy: one for one in refused}.values())
    return Fit(best=best, runner_up=next(others, None), faster=faster, nearest=best)


def needed_bytes(found: Forecast) -> dict[str, int]:
    """Per device, the forecast's peak with what comes on top: a CUDA context, the libraries."""
    needed = {HOST: found.host.peak_bytes + LIBRARIES_BYTES}
    for one in found.accelerators:
        context = CUDA_CONTEXT_BYTES if one.device.startswith("cuda") else 0
        needed[one.device] = one.peak_bytes + context
        if one.device == "mps":  # an Apple GPU has no memory of its own
            needed[HOST] += one.peak_bytes
    return needed


def limits_of(limits: Limits) -> dict[str, int | None]:
    """Bytes that the CPU, and the device where there is one, have; None where not known."""
    of_host: dict[str, int | None] = {HOST: limits.ram_bytes}
    if limits.vram_bytes is None:
        return of_host
    return {**of_host, device_key(limits.device): limits.vram_bytes}


def seconds_per_token(shape: ModelShape, plans: tuple[LayerPlan, ...]) -> float:
    """Bytes that one token moves, each over the bandwidth of where it moves.

    A dense weight is read once. An int8 one on a device is read, written as a tile in the format it
    is multiplied in, and read again (`matrices.py`). A streamed one crosses the bus before.
    """
    total = 0.0
    for index, plan in enumerate(plans):
        is_head = index == len(plans) - 1
        n = sum(n_out * n_in for n_out, n_in in slot_matrices(shape, is_head=is_head))
        stored = ITEM_BYTES[plan.weight_dtype]
        if plan.device == HOST:
            moved = INT8_ON_HOST_BYTES if plan.weight_dtype == UINT8 else stored
            total += n * moved / HOST_BANDWIDTH
            continue
        tile = ITEM_BYTES["fp32"] if plan.dtype == "fp16" else ITEM_BYTES[plan.dtype]
        moved = stored + 2 * tile if plan.weight_dtype == UINT8 else stored
        total += n * moved / DEVICE_BANDWIDTH
        if is_streamed(plan, is_head=is_head):
            total += n * stored / BUS_BANDWIDTH
    return total


def _candidates(
    shape: ModelShape, limits: Limits, conditions: Conditions | None
) -> Iterator[Candidate]:
    room = limits_of(limits)
    for kind, strategy in _strategies(shape.n_layer + 1, limits):
        plans = resolve(strategy, shape.n_layer)
        found = forecast(shape, plans, conditions)
        needed = needed_bytes(found)
        excess = {
            device: n - has
            for device, n in needed.items()
            if (has := room[device]) is not None and n > has
        }
        yield Candidate(
            kind=kind,
            strategy=strategy,
            forecast=found,
            seconds_per_token=seconds_per_token(shape, plans),
            excess=excess,
        )


def _strategies(n_slots: int, limits: Limits) -> Iterator[tuple[Kind, str]]:
    beside = ("fp32", "bf16") if limits.fast_bf16 else ("fp32",)
    for dtype in (*beside, "fp32i8", "bf16i8"):
        yield Kind.CPU, f"cpu {dtype}"
    if limits.vram_bytes is None:
        return
    dense = f"{limits.device} {limits.dtype}"
    int8 = f"{dense}i8"
    yield Kind.DEVICE, dense
    yield Kind.DEVICE_INT8, int8
    for n in range(n_slots):
        if n:
            yield Kind.DEVICE_INT8, f"{int8} *{n} -> {dense}"
        for stage in (dense, int8):
            if n:
                for dtype in beside:
                    yield Kind.SPLIT, f"{stage} *{n} -> cpu {dtype}"
            if n < n_slots - 1:  # with all blocks stored there is nothing to stream
                yield Kind.STREAMED, f"{stage} *{n}+"
                yield Kind.STREAMED, f"{stage} *{n}+ -> cpu fp32 *1"


def _make(one: Candidate) -> str:
    """A strategy without its counts: neighbours that differ in them alone are no alternative."""
    return re.sub(r"[*][0-9]+", "*", one.strategy)
