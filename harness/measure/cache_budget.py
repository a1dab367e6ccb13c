"""How many bytes the cache of converted weights may hold. Knows numbers and one variable."""

from __future__ import annotations

import os
import re

from harness.errors import BadInput

BUDGET_VARIABLE = "HARNESS_CACHE_BUDGET"
SPARED_BYTES = 10 * 2**30  # that stay free on the disk, where no budget is given
_UNITS = {"": 1, "B": 1} | {
    name: base**power
    for base, names in ((1000, "kB MB GB TB"), (1024, "KiB MiB GiB TiB"))
    for power, name in enumerate(names.split(), start=1)
}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)")


def usual_budget(used: int, free: int) -> int:
    """What the cache may hold where nobody said: half of what would be free without it.

    And never so much that less than `SPARED_BYTES` stay free.
    """
    without = used + free
    return max(0, min(without // 2, without - SPARED_BYTES))


def parse_size(text: str) -> int | None:
    """Bytes from `50GiB`, `0.5 TB` or a plain number; None for anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2] not in _UNITS:
        return None
    return int(float(match[1]) * _UNITS[match[2]])


def size(nbytes: int) -> str:
    """For people, in IEC units."""
    if nbytes < 2**30:
        return f"{nbytes / 2**20:.1f} MiB"
    return f"{nbytes / 2**30:.2f} GiB"


def budget_given() -> int | None:
    """The budget in the environment, if any; raises `BadInput` for one that is no size."""
    text = os.environ.get(BUDGET_VARIABLE)
    if not text:
        return None
    given = parse_size(text)
    if given is None:
        raise BadInput(
            f"{BUDGET_VARIABLE} is '{text}'; it takes a size such as 50GiB, 500MB, or 0 for none"
        )
    return given
