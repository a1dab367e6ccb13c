"""Slopes along an axis, and what can be said of them."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats import Slope, relative_slope, slope

WITHIN = 0.02


def test_a_line_is_found_exactly_as_a_share_of_its_beginning():
    assert relative_slope([(0, 2.0), (1, 2.1), (4, 2.4)]) == pytest.approx(0.05)
    assert relative_slope([(2, 4.0), (3, 3.0)]) == pytest.approx(-0.25)  # of y at the least x
    assert relative_slope([(0, 3.0), (5, 3.0), (5, 3.0)]) == 0


def test_there_is_no_slope_of_one_place_or_from_nothing():
    assert relative_slope([(1, 2.0), (1, 3.0)]) is None
    assert relative_slope([]) is None
    assert relative_slope([(0, 0.0), (1, 1.0)]) is None


def test_one_trial_and_trials_that_are_equal_give_no_interval_and_no_verdict():
    for trials in ([0.0], [0.001, 0.001, 0.001]):
        found = slope(trials)
        assert (found.low, found.high, found.n) == (None, None, len(trials))
        assert found.value == pytest.approx(trials[0])
        assert found.verdict(WITHIN) == "cannot tell"
    with pytest.raises(ValueError, match="no values"):
        slope([])


def test_the_interval_is_students_over_trials():
    found = slope([0.01, 0.02, 0.03])
    # t of 2 degrees of freedom at 97.5 %, times the standard error 0.01 / sqrt(3)
    half = 4.302653 * 0.01 / np.sqrt(3)
    assert found.value == pytest.approx(0.02)
    assert (found.low, found.high) == (pytest.approx(0.02 - half), pytest.approx(0.02 + half))


@pytest.mark.parametrize(
    "low, high, verdict",
    [
        (-0.02, 0.02, "flat"),
        (0.001, 0.019, "flat"),  # it rises for sure, and too little to matter
        (-0.021, 0.01, "cannot tell"),
        (0.01, 0.03, "cannot tell"),
        (-0.5, 0.5, "cannot tell"),
        (0.021, 0.03, "not flat"),
        (-0.9, -0.03, "not flat"),
    ],
)
def test_flat_needs_the_whole_interval(low, high, verdict):
    assert Slope(value=(low + high) / 2, low=low, high=high, n=3).verdict(WITHIN) == verdict


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """2,000 sweeps of a flat model, 3 trials each, with noise per trial and per point."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(2000):
        slopes = []
        for _ in range(3):
            level = rng.normal(10, 1)
            points = [(x, level * rng.normal(1, 0.01)) for x in (0, 1, 4, 16)]
            slopes.append(relative_slope(points))
        found = slope(slopes)
        held += found.low <= 0 <= found.high
    assert 0.93 <= held / 2000 <= 0.97
