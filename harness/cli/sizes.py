"""Sizes of memory as people write and read them."""

from __future__ import annotations

import re

import click

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_IEC = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SI = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_WRITTEN = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[kmgt]?)(?P<tail>ib|i|b)?")


class Size(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on
    """Bytes: `8GiB`, `8G` and `8Gi` are 8 × 2^30; `8GB` is 8 × 10^9, as on a disk's label."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """A number of bytes; more than none."""
        if isinstance(value, int):
            return value
        match = _WRITTEN.fullmatch(str(value).strip().lower())
        unit, tail = (match["unit"], match["tail"]) if match else ("", None)
        if match is None or (not unit and tail in ("i", "ib")):
            self.fail(
                f"'{value}' is not a size. Write 8GiB (or 8G), 8192MiB, or 8.5GB for powers of 10.",
                param,
                ctx,
            )
        factor = _SI[unit] if unit and tail == "b" else _IEC[unit]
        n_bytes = int(float(match["number"]) * factor)
        if n_bytes < 1:
            self.fail(f"'{value}' is no memory at all", param, ctx)
        return n_bytes


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
