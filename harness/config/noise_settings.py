"""What a study says of a machine that is not quiet: limits, and what comes of going beyond them.

A limit has the name of the figure that it is for (`harness.records.validity`). Knows no figure.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Share = Annotated[float, Meta(ge=0, le=1)]
Amount = Annotated[float, Meta(ge=0)]
Cause = Literal[
    "other_cpu_cores",
    "cpu_wait_share",
    "steal_share",
    "cpu_quota_share",
    "swap_in_bytes",
    "cpu_stall_share",
    "memory_stall_share",
    "io_stall_share",
    "throttle_events",
    "battery_share",
    "gpu_throttle_share",
    "foreign_gpu_processes",
]


class Noise(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of what may disturb a trial; beyond one it is marked or made again. Null: none."""

    other_cpu_cores: Annotated[
        Amount | None, Meta(description="Processors that other processes keep busy.")
    ] = 0.25
    cpu_wait_share: Annotated[
        Share | None,
        Meta(description="Part of the worker's time that it waited for a processor."),
    ] = 0.05
    steal_share: Annotated[
        Share | None,
        Meta(description="Part of the CPU time that the host of a virtual machine kept."),
    ] = 0.05
    cpu_quota_share: Annotated[
        Share | None, Meta(description="Part of the time that a container's CPU limit held us up.")
    ] = 0.01
    swap_in_bytes: Annotated[
        Amount | None, Meta(description="Memory that was read back from swap.")
    ] = 2.0**20
    cpu_stall_share: Annotated[
        Share | None, Meta(description="Part of the time that some process waited for a processor.")
    ] = 0.25
    memory_stall_share: Annotated[
        Share | None, Meta(description="Part of the time that some process waited for memory.")
    ] = 0.05
    io_stall_share: Annotated[
        Share | None, Meta(description="Part of the time that some process waited for a disk.")
    ] = 0.25
    throttle_events: Annotated[
        Amount | None, Meta(description="How often the processor slowed down for heat or power.")
    ] = 0.0
    battery_share: Annotated[
        Share | None, Meta(description="Part of the readings at which it ran on its battery.")
    ] = 0.0
    gpu_throttle_share: Annotated[
        Share | None, Meta(description="Part of the samples at which a GPU was slowed down.")
    ] = 0.0
    foreign_gpu_processes: Annotated[
        Amount | None, Meta(description="Other processes that compute on a GPU.")
    ] = 0.0
    noisy: Annotated[
        list[Cause],
        Meta(
            description="Beyond these limits a speed trial is `noisy`: kept, left out of the "
            "figures, and made again. Beyond the others it is marked."
        ),
    ] = field(
        default_factory=lambda: [
            "cpu_wait_share",
            "steal_share",
            "cpu_quota_share",
            "swap_in_bytes",
            "memory_stall_share",
            "throttle_events",
            "gpu_throttle_share",
            "foreign_gpu_processes",
        ]
    )
    retries: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="How often a noisy trial is made again, at the end of its block; not any "
            "more in a run after a block in which that never helped.",
        ),
    ] = 2


NoiseSetting = Noise | bool


def noise_of(setting: NoiseSetting) -> Noise | None:
    """The limits of a study; None where it says `noise: off`."""
    if isinstance(setting, bool):
        return Noise() if setting else None
    return setting


def retries_of(setting: NoiseSetting) -> int:
    """How often a noisy trial is made again within a run."""
    noise = noise_of(setting)
    return 0 if noise is None else noise.retries
