"""How fast this machine is, in a tenth of a second and without an engine: for forecasts of time.

Two figures, each the best of some repetitions, since whatever disturbs them makes them worse: how
long Python takes for a fixed piece of work, and how fast one thread copies memory. They take turns,
so that both are looked at all the time, and a machine that is held up for a moment in neither; and
from one processor to the next, where the system allows that: on a shared machine one may be slow
for seconds while another is not. Coarse on purpose: what a strategy really does, a run measures.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle, islice, repeat

import numpy as np

_ROUNDS = 8
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
    python_s = copy_s = math.inf
    for _ in _on_each_processor(_ROUNDS):
        python_s = min(python_s, _seconds(_python_work))
        copy_s = min(copy_s, _seconds(lambda: np.copyto(target, source)))
    return MachineSpeed(python_s=python_s, copy_bytes_per_s=2 * _COPIED_BYTES / copy_s)


def _on_each_processor(rounds: int) -> Iterator[None]:
    """So many times, on the processors that this thread may use in turn; then on all of them."""
    if not hasattr(os, "sched_setaffinity"):  # macOS
        yield from repeat(None, rounds)
        return
    usable = os.sched_getaffinity(0)
    try:
        for processor in islice(cycle(sorted(usable)), rounds):
            with suppress(OSError):  # it is being taken away
                os.sched_setaffinity(0, {processor})
            yield
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, usable)


def _python_work() -> None:
    counts: dict[int, int] = {}
    for step in range(_STEPS):
        key = step * 7919 % 1021
        counts[key] = counts.get(key, 0) + 1


def _seconds(work: Callable[[], None]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
