"""Whether what is measured changed while it was measured: one slope for several groups of samples.

Knows floats only: positions (the place of a trial in its run) and values greater than 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from harness.stats.intervals import LEVEL

Sample = tuple[float, float]  # position, value


class Drift(Struct, frozen=True, kw_only=True):
    """How many times the value at the last position is that at the first, and its interval."""

    value: float  # 1: no change; 0.8: it fell by 20 %
    low: float
    high: float
    n: int  # samples
    groups: int

    @property
    def is_real(self) -> bool:
        """Whether the interval leaves 1 out."""
        return not self.low <= 1 <= self.high


def drift(groups: Sequence[Sequence[Sample]]) -> Drift | None:
    """The change from the first position to the last that all groups share.

    Each group has a level of its own; the logarithms of its values lie around one straight line
    whose slope is the same in all groups (least squares, Student's t interval at `LEVEL`). None
    where there are too few samples for an interval, or none of a group's lie apart: with one
    sample per group a change cannot be told from a difference between groups.
    """
    from scipy import stats

    kept = [group for group in groups if len(group) > 1 and all(value > 0 for _, value in group)]
    n = sum(len(group) for group in kept)
    freedom = n - len(kept) - 1
    if freedom < 1:
        return None
    positions = [np.array([position for position, _ in group], dtype=np.float64) for group in kept]
    x = np.concatenate([one - one.mean() for one in positions])
    logs = [np.log([value for _, value in group]) for group in kept]
    y = np.concatenate([one - one.mean() for one in logs])
    spread = float(x @ x)
    if spread == 0:
        return None
    slope = float(x @ y) / spread
    residual = float(((y - slope * x) ** 2).sum())
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * float(
        np.sqrt(residual / freedom / spread)
    )
    everywhere = np.concatenate(positions)
    span = float(everywhere.max() - everywhere.min())
    with np.errstate(over="ignore"):  # numbers at the end of what a float holds
        value, low, high = np.exp([slope * span, (slope - half) * span, (slope + half) * span])
    return Drift(value=float(value), low=float(low), high=float(high), n=n, groups=len(kept))
