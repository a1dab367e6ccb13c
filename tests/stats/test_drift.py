"""Whether what is measured changed while it was measured."""

import math

import numpy as np
import pytest

from harness.stats import drift


def exact(level, positions, per_position):
    return [(at, level * math.exp(per_position * at)) for at in positions]


def test_an_exact_slope_of_two_levels_is_found():
    found = drift([exact(100, (2, 5, 6), -0.02), exact(7, (3, 4, 7), -0.02)])
    assert found.value == pytest.approx(math.exp(-0.02 * 5))
    assert found.low == pytest.approx(found.high)
    assert (found.n, found.groups) == (6, 2)
    assert found.is_real


def test_a_difference_between_groups_is_no_drift():
    random = np.random.Generator(np.random.PCG64(1))
    early = [(at, 100 * math.exp(random.normal(0, 0.01))) for at in range(6)]
    late = [(at, 200 * math.exp(random.normal(0, 0.01))) for at in range(6, 12)]
    found = drift([early, late])
    assert not found.is_real
    assert 0.9 < found.value < 1.1


def test_the_interval_covers_the_truth_as_often_as_promised():
    random = np.random.Generator(np.random.PCG64(0))
    covered = 0
    for _ in range(1000):
        order = random.permutation(12)
        groups = [
            [(at, level * math.exp(-0.01 * at + random.normal(0, 0.02))) for at in order[start::3]]
            for start, level in enumerate((10, 50, 900))
        ]
        found = drift(groups)
        span = 11
        covered += found.low <= math.exp(-0.01 * span) <= found.high
    assert 925 <= covered <= 972  # 950, more than 3 deviations either way


@pytest.mark.parametrize(
    "groups",
    [
        [],
        [[]],
        [[(0, 1.0)], [(1, 2.0)], [(2, 3.0)]],  # one trial each
        [[(0, 1.0), (1, 2.0)]],  # a line through two points
        [[(3, 1.0), (3, 2.0), (3, 2.5)]],  # no place apart
        [[(0, 1.0), (1, 0.0), (2, 1.0)]],
    ],
)
def test_too_few_samples_tell_nothing(groups):
    assert drift(groups) is None


def test_a_group_of_one_adds_nothing():
    group = exact(5, (0, 2, 4, 9), 0.01)
    assert drift([group, [(4, 1000.0)]]) == drift([group])
