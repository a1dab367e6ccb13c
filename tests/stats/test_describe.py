from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats import mad, median, quantile, support

values = st.lists(
    st.floats(min_value=-1e6, max_value=1e6, allow_nan=False), min_size=1, max_size=40
)


@given(values)
def test_as_many_values_lie_below_the_median_as_above(samples):
    centre = median(samples)
    assert sum(v < centre for v in samples) <= len(samples) / 2
    assert sum(v > centre for v in samples) <= len(samples) / 2


def test_one_wild_value_moves_neither_median_nor_mad():
    quiet = [10.0, 11.0, 12.0, 13.0, 14.0]
    wild = [10.0, 11.0, 12.0, 13.0, 1e9]
    assert median(wild) == median(quiet)
    assert mad(wild) == mad(quiet) == 1.0


def test_there_is_no_spread_of_one_value():
    assert mad([3.0]) is None
    assert mad([]) is None


def test_the_median_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no values"):
        median([])


@pytest.mark.parametrize("q, needed", [(0.5, 2), (0.9, 20), (0.1, 20), (0.99, 100), (0.01, 100)])
def test_a_quantile_needs_support(q, needed):
    assert support(q) == needed
    assert quantile(list(range(needed - 1)), q) is None
    assert quantile(list(range(needed)), q) == pytest.approx(np.quantile(np.arange(needed), q))


@pytest.mark.parametrize("q", [0.0, 1.0, -0.1, 99])
def test_a_quantile_outside_0_to_1_is_refused(q):
    with pytest.raises(ValueError, match="between 0 and 1"):
        support(q)
