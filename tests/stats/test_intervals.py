"""The intervals are held to what they promise: how often they cover the truth, by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.stats import LEVEL, estimate, proportion, ratio

TRUTH = 100.0
SIMULATIONS = 2000


def coverage(draw, interval_of, truth):
    rng = np.random.default_rng(20230520)
    hits = 0
    for _ in range(SIMULATIONS):
        low, high = interval_of(draw(rng))
        hits += low <= truth <= high
    return hits / SIMULATIONS


def ends(result):
    return result.low, result.high


@pytest.mark.parametrize("trials", [2, 3, 5, 10])
def test_the_interval_over_trials_covers_the_truth_as_often_as_it_says(trials):
    found = coverage(
        lambda rng: rng.normal(TRUTH, 3.0, trials), lambda x: ends(estimate(x.tolist())), TRUTH
    )
    assert 0.93 <= found <= 0.97


def test_the_interval_of_speeds_that_scatter_much_stays_above_zero():
    wide = estimate([756.0, 1852.0, 1904.0])
    assert 0 < wide.low < 756
    assert wide.high > 1904
    found = coverage(
        lambda rng: rng.lognormal(np.log(TRUTH), 0.5, 3),
        lambda x: ends(estimate(x.tolist())),
        TRUTH,
    )
    assert 0.93 <= found <= 0.97


def test_values_of_zero_give_no_interval():
    assert ends(estimate([0.0, 1.0, 2.0])) == (None, None)


def test_tokens_are_not_independent_samples():
    """Why trials are the samples: pooled tokens claim a precision that is not there."""

    def tokens(rng):
        trial = rng.normal(TRUTH, 3.0, 3)  # what one process shares
        return (trial[:, None] + rng.normal(0.0, 3.0, (3, 64))).ravel()

    pooled = coverage(tokens, lambda x: ends(estimate(x.tolist())), TRUTH)
    by_trial = coverage(
        tokens, lambda x: ends(estimate(np.median(x.reshape(3, 64), axis=1).tolist())), TRUTH
    )
    assert pooled < 0.6
    assert by_trial > 0.93


@pytest.mark.parametrize("left, right", [(3, 3), (3, 5), (5, 5), (10, 10)])
def test_the_interval_of_a_ratio_covers_the_truth(left, right):
    found = coverage(
        lambda rng: (
            rng.lognormal(np.log(150), 0.04, left),
            rng.lognormal(np.log(100), 0.02, right),
        ),
        lambda sides: ends(ratio(sides[0].tolist(), sides[1].tolist())),
        1.5,
    )
    assert 0.93 <= found <= 0.985


@pytest.mark.parametrize("side", ["low", "high"])
def test_the_interval_of_a_ratio_ends_where_welchs_test_begins_to_reject(side):
    values, reference = [110.0, 118.0, 113.0], [99.0, 100.0, 103.0, 98.0]
    end = getattr(ratio(values, reference), side)
    shifted = np.log(values) - np.log(end)
    p = stats.ttest_ind(shifted, np.log(reference), equal_var=False).pvalue
    assert p == pytest.approx(1 - LEVEL)


def test_two_runs_of_the_same_thing_are_seldom_called_different():
    rng = np.random.default_rng(7)
    claims = sum(
        ratio(
            rng.normal(TRUTH, 2.0, 3).tolist(), rng.normal(TRUTH, 2.0, 3).tolist()
        ).differs_from_one
        for _ in range(1000)
    )
    assert claims <= 60


def test_a_clear_difference_is_seen():
    assert ratio([150.0, 151.0, 149.0], [100.0, 101.0, 99.0]).differs_from_one


@pytest.mark.parametrize("samples", [[5.0], [5.0, 5.0, 5.0]])
def test_one_value_or_no_spread_gives_no_interval_rather_than_one_of_no_width(samples):
    single = estimate(samples)
    assert (single.value, single.low, single.high) == (5.0, None, None)
    against = ratio(samples, samples)
    assert (against.value, against.low, against.high) == (1.0, None, None)
    assert not against.differs_from_one


def test_an_interval_never_leaves_out_its_own_estimate():
    skewed = [100.0] * 60 + [500.0] * 40
    found = estimate(skewed)
    assert found.low <= found.value <= found.high
    found = ratio(skewed, [100.0, 101.0] * 50)
    assert found.low <= found.value <= found.high


def test_the_range_and_the_count_are_those_of_the_values():
    found = estimate([3.0, 1.0, 2.0])
    assert (found.minimum, found.maximum, found.n) == (1.0, 3.0, 3)


@pytest.mark.parametrize("right, of", [(0, 20), (20, 20), (13, 20), (1, 1)])
def test_a_proportion_lies_within_its_interval_and_the_interval_within_0_to_1(right, of):
    low, high = proportion(right, of)
    assert -1e-12 <= low <= right / of <= high <= 1 + 1e-12
    assert low < high
