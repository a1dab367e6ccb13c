"""The options of `recommend` that ask for the same again, or for what lets a strategy pass."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.report.asked import typed_share, typed_size
from harness.report.format import share
from harness.report.nearest import Miss
from harness.report.recommend import Wishes

_MIB = 2**20


def loosened(miss: Miss) -> list[str]:
    """The limits to be given instead, so that the strategy passes: rounded to its side."""
    given = []
    for name, value in miss.needs:
        if name == "min_agreement":
            given += ["--min-agreement", share(value).replace(" ", "")]
        else:
            least = typed_size(math.ceil(value / _MIB) * _MIB)
            given += [f"--{name.removesuffix('_bytes')}", least]
    return given


def wish_options(wishes: Wishes, without: Sequence[str] = ()) -> list[str]:
    """The options that ask for the same, but for some limits."""
    limits: list[tuple[str, str | None]] = [
        ("vram_bytes", None if wishes.vram_bytes is None else typed_size(wishes.vram_bytes)),
        ("ram_bytes", None if wishes.ram_bytes is None else typed_size(wishes.ram_bytes)),
        (
            "min_agreement",
            None if wishes.min_agreement is None else typed_share(wishes.min_agreement),
        ),
    ]
    given = []
    for name, typed in limits:
        if typed is not None and name not in without:
            given += [f"--{name.removesuffix('_bytes').replace('_', '-')}", typed]
    return given + (["--prefer", wishes.prefer] if wishes.prefer != "decode" else [])
