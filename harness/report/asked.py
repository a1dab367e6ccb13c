"""Limits as they are typed: sizes and shares that mean exactly so much when they are read again.

Knows numbers; which limits there are is `recommend.py`'s.
"""

from __future__ import annotations

from decimal import Decimal

_UNITS = {
    **{f"{prefix}iB": 2 ** (10 * power) for power, prefix in enumerate("KMGT", start=1)},
    **{f"{prefix}B": 10 ** (3 * power) for power, prefix in enumerate("kMGT", start=1)},
}


def typed_size(n_bytes: int) -> str:
    """`8GiB`, `8500MB`, `7B`: the shortest that is no byte more or less; `0` for none."""
    if n_bytes == 0:
        return "0"
    whole = [f"{n_bytes // of}{unit}" for unit, of in _UNITS.items() if n_bytes % of == 0]
    return min([*whole, f"{n_bytes}B"], key=len)


def typed_share(share: float) -> str:
    """`99.5%` of 0.995: all the digits that it has, and none that it has not."""
    return f"{(Decimal(repr(share)) * 100).normalize():f}%"


def asked_share(share: float) -> str:
    """The same in a sentence: a limit is no measured figure, and is never rounded."""
    return typed_share(share).replace("%", " %")
