"""Pure statistics on floats: used by measuring and by reporting, knows neither."""

from harness.stats.describe import mad, median, quantile, support
from harness.stats.intervals import LEVEL, Estimate, Ratio, estimate, proportion, ratio

__all__ = [
    "LEVEL",
    "Estimate",
    "Ratio",
    "estimate",
    "mad",
    "median",
    "proportion",
    "quantile",
    "ratio",
    "support",
]
