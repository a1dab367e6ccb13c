"""What a record says of the machine's own limits, and how near a trial came to them.

A limit is what the machine can do at best, measured in the same run on the same threads: how fast
its memory is read, how fast matrices multiply. A bound is the least time that the bytes, or the
products, of a step would take at those limits; a share is that time over the measured one.

Units are in the names; `flop` counts a multiplication and an addition as two.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from harness.records.validity import Disturbance

# read: bytes read from the device's memory, whatever they mean.
# product: bytes of a large matrix that is applied to one token, by the engine's own product.
# multiply: operations of square matrices that are multiplied.
# bus: bytes copied from host memory to the device, as streamed slots are.
Kind = Literal["read", "product", "multiply", "bus"]


class Limit(Struct, frozen=True, kw_only=True):
    """One figure of what a device can do, or the reason why there is none."""

    kind: Kind
    device: str  # cpu, cuda:0, mps
    dtype: str | None = None  # of the weights, or what is multiplied in; None where any is the same
    # Of the fastest repetition, as `runtime/roofline.py` says why.
    bytes_per_s: float | None = None  # of read, product and bus
    flop_per_s: float | None = None  # of multiply
    method: str | None = None  # the operation, and how large
    samples_s: list[float] = field(default_factory=list)  # seconds of each repetition
    missing: str | None = None


class LimitSet(Struct, frozen=True, kw_only=True):
    """All limits that were measured at one time."""

    measured_at: str  # UTC, ISO 8601
    when: Literal["begin", "end"]  # of the run, or of a part of it that went on
    threads: int
    facts_sha256: str  # of the facts of the machine: under others it is measured again
    limits: list[Limit] = field(default_factory=list)
    # Beyond the study's limits of what may disturb a trial, while these were measured.
    disturbances: list[Disturbance] = field(default_factory=list)


class LimitFile(Struct, frozen=True, kw_only=True):
    """The file `roofline.json` of a run's folder."""

    schema: int = 1
    measurements: list[LimitSet] = field(default_factory=list)


class Roofline(Struct, frozen=True, kw_only=True):
    """What a step of a trial had to move and to multiply, and what share of the limits it reached.

    `missing` says why a figure is None. A share above 1 means that bytes came from a cache, which
    is faster than the memory.
    """

    limits_at: str | None = None  # `measured_at` of the limits, in the run's roofline.json
    step_bytes: dict[str, int] = field(default_factory=dict)  # per device, of one decode step
    bus_bytes: dict[str, int] = field(default_factory=dict)  # to the device, of one decode step
    prefill_tokens: int | None = None  # of the longest prompt
    prefill_flop: dict[str, dict[str, int]] = field(default_factory=dict)  # device -> dtype
    # The limits. Reading is the faster of the kinds `read` and `product`, per device.
    read_bytes_per_s: dict[str, float] = field(default_factory=dict)
    bus_bytes_per_s: dict[str, float] = field(default_factory=dict)
    flop_per_s: dict[str, dict[str, float]] = field(default_factory=dict)  # device -> dtype
    decode_bound_s: float | None = None  # least time of one step
    decode_share: float | None = None  # of the bandwidth limit: bound over measured median
    prefill_bound_s: float | None = None  # least time of the longest prompt
    prefill_share: float | None = None  # of the compute limit
    missing: dict[str, str] = field(default_factory=dict)
