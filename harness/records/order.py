"""What a record says of a trial's place in the run, and of the heat it began and ended with."""

from __future__ import annotations

from msgspec import Struct, field

from harness.config.order_settings import OrderKind


class Place(Struct, frozen=True, kw_only=True):
    """When in the run a trial came."""

    order: OrderKind
    seed: int  # of the order; it decides nothing where that is sequential
    block: int | None  # 0, 1, …: each block visits every cell once; None: sequential has none
    sequence: int  # 0, 1, …: trials of the run that were begun before, other attempts included


class Heat(Struct, frozen=True, kw_only=True):
    """One reading of the machine's temperatures, and of what its CPU's clock is limited to."""

    celsius: dict[str, float] = field(default_factory=dict)  # of "cpu", "cuda:0", …
    cpu_clock_limit_percent: float | None = None  # of its highest clock; below 100 it is held back


class Cooling(Struct, frozen=True, kw_only=True):
    """What a trial waited for, how long, and how warm the machine was meanwhile."""

    rule: str | None = None  # such as "back_to_start_k: 3"; None: the study asks for none
    max_wait_s: float | None = None
    waited_s: float | None = None  # None: it waited for nothing, `missing["waited_s"]` says why
    reached: bool | None = None  # False: max_wait_s was over first
    target: Heat | None = None  # what it waited for
    due: Heat | None = None  # when its turn came
    start: Heat | None = None  # when it was begun
    end: Heat | None = None  # when its process was gone
    method: dict[str, str] = field(default_factory=dict)  # figure -> where it was read
    missing: dict[str, str] = field(default_factory=dict)  # figure -> why there is none
