"""Pure statistics on floats: used by measuring and by reporting, knows neither."""

from harness.stats.describe import mad, median, quantile, support
from harness.stats.drift import Drift, drift
from harness.stats.intervals import LEVEL, Estimate, Ratio, estimate, proportion, ratio
from harness.stats.slope import Slope, relative_slope, slope
from harness.stats.stopping import half_width, is_known

__all__ = [
    "LEVEL",
    "Drift",
    "Estimate",
    "Ratio",
    "Slope",
    "drift",
    "estimate",
    "half_width",
    "is_known",
    "mad",
    "median",
    "proportion",
    "quantile",
    "ratio",
    "relative_slope",
    "slope",
    "support",
]
