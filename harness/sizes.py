"""Sizes in bytes as people write and read them: IEC units, three digits. Knows nothing else."""

from __future__ import annotations

import re

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_IEC = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SI = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_LEAST_BARE = 2**20  # bytes that a number without a unit may mean; below, one was forgotten
_WRITTEN = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[kmgt]?)(?P<tail>ib|i|b)?")


def parse_size(text: str) -> int | None:
    """Bytes of `8GiB`, `8G`, `8Gi` (8 × 2^30), `8GB` (8 × 10^9) or `8`; None for anything else."""
    match = _WRITTEN.fullmatch(text.strip().lower())
    if match is None or (not match["unit"] and match["tail"] in ("i", "ib")):
        return None
    factor = _SI[match["unit"]] if match["unit"] and match["tail"] == "b" else _IEC[match["unit"]]
    return int(float(match["number"]) * factor)


def unit_meant(text: str) -> str | None:
    """What a number without a unit hardly means in bytes, with one; None where all is said.

    `8` becomes `8GiB`, `8192` becomes `8192MiB`; from 1 MiB on a number may be one of bytes.
    """
    number = text.strip()
    n_bytes = parse_size(number)
    if n_bytes is None or n_bytes >= _LEAST_BARE or not number[-1].isdigit():
        return None
    return f"{number}{'GiB' if n_bytes < 1024 else 'MiB'}"


def size(n_bytes: float) -> str:
    """`727 MiB`, `1.60 GiB`."""
    number, unit = _scaled(n_bytes)
    return f"{number} {unit}"


def short_size(n_bytes: float) -> str:
    """The same for narrow tables: `727Mi`, `1.60Gi`; – for none."""
    if n_bytes == 0:
        return "–"
    number, unit = _scaled(n_bytes)
    return f"{number}{unit.removesuffix('B') or 'B'}"


def _scaled(n_bytes: float) -> tuple[str, str]:
    value, unit = float(n_bytes), _UNITS[0]
    for unit in _UNITS:
        if round(value) < 1000 or unit == _UNITS[-1]:
            break
        value /= 1024
    if unit == "B":
        return f"{value:.0f}", unit
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else (
        f"{value:.2f}"
    ), unit
