"""How many bytes of a disk a cache may hold. Knows numbers and one variable."""

from __future__ import annotations

import os

from harness.errors import BadInput
from harness.sizes import parse_size, unit_meant

BUDGET_VARIABLE = "HARNESS_CACHE_BUDGET"
SPARED_BYTES = 10 * 2**30  # that stay free on the disk, where no budget is given
_SMALL_SHARE = 20  # a twentieth of what is free is always allowed


def usual_budget(used: int, free: int) -> int:
    """What the cache may hold where nobody said: half of what would be free without it.

    And no more than leaves `SPARED_BYTES` free, but for the share of `within_disk`.
    """
    without = used + free
    return min(without // 2, within_disk(without, SPARED_BYTES))


def within_disk(free: int, spared: int) -> int:
    """How many of `free` bytes may be taken so that `spared` stay.

    On a disk that is nearly full, a twentieth: small models and their references are kept there
    too, instead of being computed again for each run.
    """
    return max(free // _SMALL_SHARE, free - spared)


def budget_given() -> int | None:
    """The budget in the environment, if any; raises `BadInput` for one that is no size.

    A number without a unit is one of bytes, but none below 1 MiB: `5` is hardly meant so, and would
    empty the cache. `0` is none.
    """
    text = os.environ.get(BUDGET_VARIABLE)
    if not text:
        return None
    given = parse_size(text)
    if given is None:
        raise BadInput(
            f"{BUDGET_VARIABLE} is '{text}'; it takes a size such as 50GiB, 500MB, or 0 for none"
        )
    meant = unit_meant(text)
    if given and meant is not None:
        raise BadInput(f"{BUDGET_VARIABLE} is '{text}', which has no unit. Do you mean {meant}?")
    return given
