"""What a record says of the limits that its trial ran under."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class MemoryLimit(Struct, frozen=True, kw_only=True):
    """The limit of main memory, how it was held, and the most that was seen.

    `peak_bytes` is of the worker with all its descendants at once, resident and swapped out, as
    the method sees it: a watchdog, a few times a second; a cgroup, always, with cached files.
    """

    bytes: int | None = None
    source: Literal["study", "available"] | None = None  # available: when the trial began
    method: Literal["cgroup", "watchdog"] | None = None
    missing: str | None = None  # why there is no limit, or no cgroup
    peak_bytes: int | None = None
    peak_missing: str | None = None  # why there is none, where a limit was held
    looks: int = 0  # of the watchdog
    looking_cpu_s: float = 0.0  # CPU time of the parent that they took


class TrialLimits(Struct, frozen=True, kw_only=True):
    """All limits of one trial."""

    trial_s: float
    question_s: float | None = None  # only where questions are answered
    memory: MemoryLimit | None = None  # None: nothing was started
    address_space_bytes: int | None = None  # None: no limit
