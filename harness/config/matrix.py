"""The matrix of a study: every combination of its axes, minus what is excluded.

Pure. Used by `checks.py` on a study that may still have problems, and by `plan/` on a good one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import NamedTuple


class Combination(NamedTuple):
    """One point of the matrix."""

    model: str
    engine: str
    strategy: str
    threads: int
    workload: str


class Axes(NamedTuple):
    """The values of each axis, in the order of the study; strategies are canonical."""

    models: tuple[str, ...]
    engines: tuple[str, ...]
    strategies: tuple[str, ...]
    threads: tuple[int, ...]
    workloads: tuple[str, ...]


def combinations(
    axes: Axes, excluded: Iterable[Mapping[str, object]] = ()
) -> tuple[Combination, ...]:
    """The matrix in order, models outermost; a selector leaves out what agrees with all it says."""
    selectors = [dict(selector) for selector in excluded]
    return tuple(
        point
        for point in (Combination(*values) for values in product(*axes))
        if not any(_matches(point, selector) for selector in selectors)
    )


def _matches(point: Combination, selector: Mapping[str, object]) -> bool:
    return all(getattr(point, name) == value for name, value in selector.items())
