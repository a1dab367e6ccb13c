"""Numbers as people read them: three significant digits, IEC units. Knows no tables."""

from __future__ import annotations

import math
import unicodedata

MISSING = "–"
LEAST_PLAIN, MOST_PLAIN = 1e-6, 1e15  # between them a number is written out
_IEC = ("B", "KiB", "MiB", "GiB", "TiB")
# An interval whose ends differ by more than this factor says only that its trials are too noisy.
WIDEST = 10.0
TOO_NOISY = "too noisy to tell"


def number(value: float, like: float | None = None) -> str:
    """Three significant digits; with `like`, as many decimals as that number gets.

    Beyond all reason as `1.00e+20`.
    """
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    scale = value if like is None else like
    if abs(value) >= MOST_PLAIN or 0 < abs(scale) < LEAST_PLAIN:
        return f"{value:.2e}".replace("-", "−")  # its zeros would fill the page
    text = f"{value:,.{_decimals(scale)}f}"
    return text.replace("-", "−")


def interval(low: float | None, high: float | None, like: float) -> str | None:
    """`low to high` with the decimals of `like`, or that it is too wide to say anything.

    None where there is no interval. An end of 0 or below, as of a difference, is told as it is.
    """
    if low is None or high is None:
        return None
    return TOO_NOISY if too_wide(low, high) else f"{number(low, like)} to {number(high, like)}"


def too_wide(low: float, high: float) -> bool:
    """Whether the ends of an interval, both above 0, differ by more than `WIDEST` times."""
    return low > 0 and high > WIDEST * low


def size(n_bytes: float) -> str:
    """Bytes in the largest IEC unit that leaves a number of at least 1."""
    name, unit = unit_of(n_bytes)
    return f"{int(n_bytes)} B" if unit == 1 else f"{number(n_bytes / unit)} {name}"


def unit_of(n_bytes: float) -> tuple[str, int]:
    """Name of that unit, and its bytes."""
    steps = 0
    while abs(n_bytes) >= 1024 ** (steps + 1) and steps + 1 < len(_IEC):
        steps += 1
    return _IEC[steps], 1024**steps


def seconds(value: float) -> str:
    """Seconds, or milliseconds below one."""
    return f"{number(value)} s" if abs(value) >= 1 else f"{number(value * 1e3)} ms"


def seconds_interval(low: float | None, high: float | None) -> str | None:
    """`1.20 to 1.31 s`: the unit once where both ends have it; None where there is no interval."""
    if low is None or high is None:
        return None
    if too_wide(low, high):
        return TOO_NOISY
    first, second = seconds(low), seconds(high)
    (least, unit), (_, other) = first.rsplit(" ", 1), second.rsplit(" ", 1)
    return f"{least if unit == other else first} to {second}"


def milliseconds(value_s: float) -> str:
    """Milliseconds without the unit, for a column that names it."""
    return number(value_s * 1e3)


def clock_time(iso: str | None) -> str:
    """`2024-05-01 10:00 UTC` of a time in UTC by ISO 8601; what is not one is shown as it is."""
    if iso is None:
        return MISSING
    date, separator, time = iso.partition("T")
    return f"{date} {time[:5]} UTC" if separator else iso


def percent(share: float) -> str:
    """A share as whole percent."""
    return f"{share * 100:.0f} %"


def share(value: float) -> str:
    """A share from 0 to 1 as percent with two decimals, cut: only all of them are `100 %`."""
    cut = math.floor(round(value * 1e4, 6)) / 100
    return f"{cut:.0f} %" if cut in (0, 100) else f"{cut:.2f} %"


def count(n: int, one: str, many: str | None = None) -> str:
    """`1 trial`, `3 trials`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def in_words(kind: str) -> str:
    """An outcome's kind as a reader would say it: `out of memory (host)`, `not a number`."""
    for where in ("host", "device"):
        if kind == f"out_of_memory_{where}":
            return f"out of memory ({where})"
    return kind.replace("_", " ")


def elided(text: str, width: int) -> str:
    """At most `width` columns of a text, with "…" for its middle: names differ at both ends."""
    if columns_of(text) <= width:
        return text
    head, tail = text, text[len(text) - width // 3 :]
    while columns_of(tail) > width // 3:
        tail = tail[1:]
    while columns_of(head) + 1 + columns_of(tail) > width:
        head = head[:-1]
    return f"{head.rstrip()}…{tail.lstrip()}"


def columns_of(text: str) -> int:
    """How wide a text is, in letters: an East Asian character is as wide as two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def listing(items: list[str] | tuple[str, ...], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def _decimals(value: float) -> int:
    if value == 0:
        return 0
    magnitude = abs(value)
    # Rounding may carry into the next power of ten: 9.996 reads 10.0, not 10.00.
    digits = math.floor(math.log10(float(f"{magnitude:.2e}")))
    return max(0, 2 - digits)
