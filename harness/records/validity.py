"""What was seen of the machine while a trial ran, and what of it was beyond the study's limits.

A figure that was not seen is None, and `missing` says why. Units are in the names; `DEFINITIONS`
says what each means. Knows neither how it was seen nor the limits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from msgspec import Struct, field


class GpuSeen(Struct, frozen=True, kw_only=True):
    """One GPU of the machine during a trial."""

    index: int  # NVML's
    name: str
    sm_min_mhz: float | None = None
    sm_median_mhz: float | None = None
    max_celsius: float | None = None
    mean_watts: float | None = None
    slowed_by: list[str] = field(default_factory=list)  # NVML's reasons, at any of the samples


class Disturbance(Struct, frozen=True, kw_only=True):
    """A figure that was beyond the study's limit."""

    cause: str  # the figure's name
    figure: float
    limit: float
    spoils: bool  # whether it makes the trial noisy, or is only marked


class Validity(Struct, frozen=True, kw_only=True):
    """How quiet the machine was during one trial."""

    # "measuring": from the loaded model to the last result; "trial": it did not come so far.
    during: Literal["measuring", "trial"] = "trial"
    seen_s: float | None = None  # how long that was
    samples: int | None = None
    wall_s: float | None = None  # of the whole trial, the worker's start included
    parent_cpu_s: float | None = None  # CPU time of the harness itself in `wall_s`
    other_cpu_cores: float | None = None
    cpu_wait_share: float | None = None
    steal_share: float | None = None
    cpu_quota_share: float | None = None
    swap_in_bytes: int | None = None
    swap_out_bytes: int | None = None
    cpu_stall_share: float | None = None
    memory_stall_share: float | None = None
    io_stall_share: float | None = None
    cpu_min_mhz: float | None = None
    cpu_median_mhz: float | None = None
    throttle_events: int | None = None
    cpu_first_celsius: float | None = None
    cpu_max_celsius: float | None = None
    battery_share: float | None = None
    gpus: list[GpuSeen] = field(default_factory=list)
    gpu_throttle_share: float | None = None
    foreign_gpu_processes: int | None = None
    missing: dict[str, str] = field(default_factory=dict)
    disturbances: list[Disturbance] = field(default_factory=list)

    @property
    def spoilt_by(self) -> tuple[Disturbance, ...]:
        """What makes the trial noisy."""
        return tuple(one for one in self.disturbances if one.spoils)


class Definition(NamedTuple):
    """What a figure is."""

    title: str  # short, for a table
    what: str
    text: Callable[[float], str]  # the figure with its unit


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %" if 0 < share < 0.1 else f"{share * 100:.0f} %"


def _cores(n: float) -> str:
    return f"{n:.2f} CPUs"


def _mib(n_bytes: float) -> str:
    return f"{n_bytes / 2**20:,.1f} MiB"


def _mhz(clock: float) -> str:
    return f"{clock:,.0f} MHz"


def _celsius(degrees: float) -> str:
    return f"{degrees:.0f} °C"


def _plain(n: float) -> str:
    return f"{n:,.0f}"


DEFINITIONS: Mapping[str, Definition] = {
    "other_cpu_cores": Definition(
        "Other CPU",
        "processors that everything but the harness and its worker kept busy, on average",
        _cores,
    ),
    "cpu_wait_share": Definition(
        "Waited for CPU",
        "of the time in which the worker's threads wanted to run, the part that they waited for a "
        "processor",
        _percent,
    ),
    "steal_share": Definition(
        "Stolen",
        "of the CPU time that this virtual machine wanted, the part that its host gave to others",
        _percent,
    ),
    "cpu_quota_share": Definition(
        "CPU limit", "the part of the time in which a container's CPU limit held us up", _percent
    ),
    "swap_in_bytes": Definition("Swap in", "memory that was read back from swap", _mib),
    "swap_out_bytes": Definition("Swap out", "memory that was written to swap", _mib),
    "cpu_stall_share": Definition(
        "CPU stall",
        "the part of the time in which some process of the machine waited for a processor "
        "(pressure stall information)",
        _percent,
    ),
    "memory_stall_share": Definition(
        "Memory stall",
        "the part of the time in which some process waited for memory (pressure stall information)",
        _percent,
    ),
    "io_stall_share": Definition(
        "I/O stall",
        "the part of the time in which some process waited for a disk (pressure stall information)",
        _percent,
    ),
    "cpu_min_mhz": Definition(
        "CPU clock, lowest",
        "the fastest core's clock at each sample, a second apart: the lowest of them",
        _mhz,
    ),
    "cpu_median_mhz": Definition(
        "CPU clock, median",
        "the fastest core's clock at each sample, a second apart: their median",
        _mhz,
    ),
    "throttle_events": Definition(
        "Throttled",
        "how often the processor slowed down for heat or power (Linux counts events; on macOS the "
        "readings, before and after, at which it was slowed down)",
        _plain,
    ),
    "cpu_first_celsius": Definition(
        "Temperature, first", "the processor's hottest sensor as measuring began", _celsius
    ),
    "cpu_max_celsius": Definition(
        "Temperature, highest", "the processor's hottest sensor, highest sample", _celsius
    ),
    "battery_share": Definition(
        "On battery", "the part of the readings at which the machine ran on its battery", _percent
    ),
    "gpu_throttle_share": Definition(
        "GPU slowed",
        "the part of the samples at which heat or a fault slowed the worst GPU down (NVML)",
        _percent,
    ),
    "foreign_gpu_processes": Definition(
        "Others on GPU",
        "processes other than the worker that computed on a GPU, at the most (NVML)",
        _plain,
    ),
}


def say(disturbance: Disturbance) -> str:
    """`other CPU 0.80 CPUs (limit 0.25 CPUs)`."""
    about = DEFINITIONS[disturbance.cause]
    title = about.title if about.title[1].isupper() else about.title[0].lower() + about.title[1:]
    return f"{title} {about.text(disturbance.figure)} (limit {about.text(disturbance.limit)})"
