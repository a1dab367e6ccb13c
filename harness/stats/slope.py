"""How a quantity changes along an axis: one slope per trial, and an interval over trials.

Points of one trial share its process and the machine's mood, so each trial is first reduced to one
slope of its own; only the trials are independent of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from msgspec import Struct

from harness.stats.intervals import LEVEL

Verdict = Literal["flat", "not flat", "cannot tell"]


class Slope(Struct, frozen=True, kw_only=True):
    """The mean of `n` trials' slopes, each a share of its trial's own level, and its interval."""

    value: float
    low: float | None  # None: n is 1, or all slopes are equal
    high: float | None
    n: int

    def verdict(self, within: float) -> Verdict:
        """Flat: the whole interval lies within ± `within`; not flat: the whole of it outside."""
        if self.low is None or self.high is None:
            return "cannot tell"
        if -within <= self.low and self.high <= within:
            return "flat"
        if self.low > within or self.high < -within:
            return "not flat"
        return "cannot tell"


def relative_slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Of (x, y): the least-squares line's rise per unit of x, as a share of y at the least x.

    None where fewer than two different x are there, or the line is not above 0 at the least x.
    """
    places = [x for x, _ in points]
    if len(set(places)) < 2:
        return None
    x, y = np.asarray(points, dtype=np.float64).T
    deviation = x - x.mean()
    rise = float(deviation @ (y - y.mean()) / (deviation @ deviation))
    level = float(y.mean() + rise * (x.min() - x.mean()))
    return rise / level if level > 0 else None


def slope(trials: Sequence[float]) -> Slope:
    """The mean over trials with Student's t interval; raises ValueError without trials."""
    if len(trials) == 0:
        raise ValueError("statistics of no values")
    centre = float(np.mean(trials))
    if len(trials) < 2 or min(trials) == max(trials):
        return Slope(value=centre, low=None, high=None, n=len(trials))
    from scipy import stats

    half = float(stats.t.ppf((1 + LEVEL) / 2, len(trials) - 1) * stats.sem(trials))
    return Slope(value=centre, low=centre - half, high=centre + half, n=len(trials))
