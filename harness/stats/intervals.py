"""Estimates with their uncertainty: of one quantity over trials, of a ratio, of a proportion.

A sample here is a *trial*: a fresh process. Tokens and passes of one trial share its process, its
memory layout and the machine's mood, so pooling them as if they were independent gives an interval
that is far too narrow; reduce each trial to one value first.

One sample gives no interval, and neither do samples that are all equal: that their spread was not
seen does not mean that there is none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from harness.stats.describe import median

LEVEL = 0.95


class Estimate(Struct, frozen=True, kw_only=True):
    """The median of `n` values, its interval at `LEVEL`, and the range of the values."""

    value: float
    low: float | None  # None: n is 1, or all values are equal
    high: float | None
    minimum: float
    maximum: float
    n: int


class Ratio(Struct, frozen=True, kw_only=True):
    """A ratio of two medians, and its interval at `LEVEL`."""

    value: float
    low: float | None
    high: float | None

    @property
    def differs_from_one(self) -> bool:
        """Whether the interval leaves 1 out; False where there is no interval to tell by."""
        return self.low is not None and self.high is not None and not self.low <= 1 <= self.high


def estimate(values: Sequence[float]) -> Estimate:
    """The median over trials with Student's t interval of the logarithms.

    With the three to five trials that are usual, no interval of the median reaches 95 % without an
    assumption: here, that the logarithms scatter evenly around their centre. Times and speeds are
    greater than 0 and disturbed by factors; an interval of the values themselves would reach below
    0 where they scatter much. Values of 0 or less give no interval. Raises ValueError without
    values.
    """
    centre = median(values)
    low, high = _student(values)
    if low is not None and high is not None:
        # The median of few values can lie outside the interval of their mean. Widening it can only
        # raise the coverage.
        low, high = min(low, centre), max(high, centre)
    return Estimate(
        value=centre,
        low=low,
        high=high,
        minimum=float(min(values)),
        maximum=float(max(values)),
        n=len(values),
    )


def ratio(values: Sequence[float], reference: Sequence[float]) -> Ratio:
    """How many times the reference: ratio of the medians, with Welch's interval of the logarithms.

    All values are greater than 0. No interval where either side has one value only, or where
    neither side scatters. A side of two trials that is also the noisier one is covered less often
    than promised (about 87 %); from three on the promise holds. Raises ValueError when a side is
    empty.
    """
    from scipy import stats

    centre = median(values) / median(reference)
    if min(len(values), len(reference)) < 2:
        return Ratio(value=centre, low=None, high=None)
    sides = [np.log(np.asarray(side, dtype=np.float64)) for side in (values, reference)]
    # scipy 1.10 tests by Welch but does not give the interval, hence its two lines here.
    errors = [side.var(ddof=1) / side.size for side in sides]
    if sum(errors) <= np.finfo(np.float64).eps:
        return Ratio(value=centre, low=None, high=None)
    freedom = sum(errors) ** 2 / sum(
        error**2 / (side.size - 1) for error, side in zip(errors, sides, strict=True)
    )
    half = stats.t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(sum(errors))
    difference = sides[0].mean() - sides[1].mean()
    return Ratio(
        value=centre,
        low=min(centre, float(np.exp(difference - half))),
        high=max(centre, float(np.exp(difference + half))),
    )


def proportion(right: int, of: int) -> tuple[float, float]:
    """Wilson's interval of a proportion, each end between 0 and 1. `of` is at least 1."""
    from scipy import stats

    interval = stats.binomtest(right, of).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def _student(values: Sequence[float]) -> tuple[float | None, float | None]:
    from scipy import stats

    if len(values) < 2 or min(values) == max(values) or min(values) <= 0:
        return None, None
    logs = np.log(np.asarray(values, dtype=np.float64))
    low, high = stats.t.interval(LEVEL, logs.size - 1, loc=logs.mean(), scale=stats.sem(logs))
    return float(np.exp(low)), float(np.exp(high))
