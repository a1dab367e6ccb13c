"""The part of a study that says in which order trials run, how many, and what each waits for.

Knows the settings only: the order itself is in `plan/order.py`, the rule that stops in
`stats/stopping.py`, the waiting in `measure/cooldown.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

OrderKind = Literal["randomised", "sequential"]


class Until(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Trials until the speeds are known well enough, in place of a fixed number."""

    relative_ci: Annotated[
        float,
        Meta(
            gt=0,
            lt=1,
            description="Enough is known when the 95 % interval of decode and prefill speed of "
            "every cell lies within this share of the value: 0.02 is ± 2 %.",
        ),
    ] = 0.02
    min_trials: Annotated[
        int,
        Meta(ge=2, le=10_000, description="Good trials of each cell at least; 2 or more."),
    ] = 3
    max_trials: Annotated[
        int, Meta(ge=2, le=10_000, description="Trials of each cell at most.")
    ] = 20


class Cooldown(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a trial waits for before it begins; exactly one of the first two is given."""

    below_c: Annotated[
        Annotated[float, Meta(gt=0, le=150)] | None,
        Meta(description="Every temperature is at most this many °C."),
    ] = None
    back_to_start_k: Annotated[
        Annotated[float, Meta(ge=0, le=100)] | None,
        Meta(
            description="Every temperature is at most this many kelvin above what it was before "
            "the run's first trial, and the clock limit of the CPU is back at what it was.",
        ),
    ] = None
    max_wait_s: Annotated[
        float, Meta(gt=0, le=3600, description="After this many seconds it begins anyway.")
    ] = 120.0
