"""The matrix of a study: every combination of its axes, minus what is excluded.

Pure. Used by `checks.py` on a study that may still have problems, and by `plan/` on a good one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import NamedTuple

WITH_TOKENIZER = ("answers", "quality")  # workloads that read or write text
SPEED = "speed"  # the workload that several batch sizes are measured of


class Combination(NamedTuple):
    """One point of the matrix."""

    model: str
    engine: str
    strategy: str
    threads: int
    workload: str
    batch: int = 1


class Axes(NamedTuple):
    """The values of each axis, in the order of the study; strategies are canonical.

    `batches` is an axis of the workload `speed` alone: all others run one row at a time.
    """

    models: tuple[str, ...]
    engines: tuple[str, ...]
    strategies: tuple[str, ...]
    threads: tuple[int, ...]
    workloads: tuple[str, ...]
    batches: tuple[int, ...] = (1,)


def combinations(
    axes: Axes, excluded: Iterable[Mapping[str, object]] = ()
) -> tuple[Combination, ...]:
    """The matrix in order, models outermost; a selector leaves out what agrees with all it says."""
    selectors = [dict(selector) for selector in excluded]
    return tuple(
        point
        for point in _points(axes)
        if not any(_matches(point, selector) for selector in selectors)
    )


def _points(axes: Axes) -> Iterator[Combination]:
    for model, engine, strategy, threads, workload in product(
        axes.models, axes.engines, axes.strategies, axes.threads, axes.workloads
    ):
        for batch in axes.batches if workload == SPEED else (1,):
            yield Combination(model, engine, strategy, threads, workload, batch)


def _matches(point: Combination, selector: Mapping[str, object]) -> bool:
    if "batch" in selector and point.workload != SPEED:
        return False
    return all(getattr(point, name) == value for name, value in selector.items())
