"""How fast this machine is, in a tenth of a second and without an engine: for forecasts of time.

Two figures, each the best of a few repetitions, since whatever disturbs them makes them worse: how
long Python takes for a fixed piece of work, and how fast one thread copies memory. Coarse on
purpose: what a strategy really does, a run measures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_ROUNDS = 5
_COPIED_BYTES = 2**25  # more than the caches of most machines
_STEPS = 20_000


@dataclass(frozen=True, kw_only=True, slots=True)
class MachineSpeed:
    """What was measured."""

    python_s: float  # of a fixed piece of work
    copy_bytes_per_s: float  # read and written bytes both counted


def probe_speed() -> MachineSpeed:
    """Measure both."""
    source = np.zeros(_COPIED_BYTES, dtype=np.uint8)
    source += 1  # so that each page is there
    target = np.ones_like(source)
    return MachineSpeed(
        python_s=_best(_python_work),
        copy_bytes_per_s=2 * _COPIED_BYTES / _best(lambda: np.copyto(target, source)),
    )


def _python_work() -> None:
    counts: dict[int, int] = {}
    for step in range(_STEPS):
        key = step * 7919 % 1021
        counts[key] = counts.get(key, 0) + 1


def _best(work: Callable[[], None]) -> float:
    """The shortest of a few repetitions, in seconds."""
    found = []
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        work()
        found.append(time.perf_counter() - begin)
    return min(found)
