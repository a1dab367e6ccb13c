"""The `depth` workload of a study: decode speed behind more and more context.

Knows the settings and how a number of tokens is written; the sweep is in `measure/depth.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

THOUSAND = 1000  # what `k` stands for
MOST_TOKENS = 1_000_000

Tokens = (
    Annotated[int, Meta(ge=0, le=MOST_TOKENS)]
    | Annotated[
        str,
        Meta(
            pattern=r"^(1000|[0-9]{1,3})k$(?!\n)",
            description="A number of tokens such as 4k, at most 1000k; k is 1000.",
        ),
    ]
)
_Count = Annotated[int, Meta(ge=1, le=MOST_TOKENS)]


class Depth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `depth` workload: decode speed behind contexts of several lengths, in one process."""

    at: Annotated[
        list[Tokens],
        Meta(
            min_length=1,
            description="Tokens of context behind which decoding is timed: 0, 512, 4k (k is 1000).",
        ),
    ] = field(default_factory=lambda: [0, "1k", "4k", "16k"])
    generate_tokens: Annotated[_Count, Meta(description="Tokens decoded at each depth.")] = 32
    passes: Annotated[
        _Count, Meta(description="Visits of each depth, per trial, in shuffled order.")
    ] = 3
    trials: Annotated[_Count, Meta(description="Trials per cell, each a fresh process.")] = 3

    strategies: Annotated[
        Literal["all", "reference"],
        Meta(
            description="Which strategies it is run with: all, or the study's reference alone. "
            "Flat or not is the architecture's; a strategy hardly changes it."
        ),
    ] = "all"

    @property
    def depths(self) -> tuple[int, ...]:
        """`at` as numbers, the least first."""
        return tuple(sorted({n_tokens(one) for one in self.at}))


def n_tokens(written: int | str) -> int:
    """512 of `512`, 4000 of `4k`; raises ValueError for what is no such number."""
    if isinstance(written, int):
        return written
    return int(written.removesuffix("k")) * THOUSAND
