"""When enough trials have been made."""

import math
import statistics

import pytest

from harness.stats import estimate, half_width, is_known


def test_half_width_is_the_longer_side_of_the_interval_of_the_estimate():
    values = [100.0, 103.0, 98.0, 101.0]
    found = estimate(values)
    half = half_width(values)
    assert half == max(found.high / found.value - 1, 1 - found.low / found.value)
    logs = [math.log(value) for value in values]
    reach = 3.182446 * statistics.stdev(logs) / 2  # Student's t of 3 degrees, over the root of 4
    assert math.log(found.high) == pytest.approx(statistics.fmean(logs) + reach, abs=1e-6)


@pytest.mark.parametrize("values", [[60.0, 100.0, 100.5, 101.0], [100.0, 100.5, 101.0, 160.0]])
def test_both_sides_lie_within_the_half_width(values):
    found, half = estimate(values), half_width(values)
    reaches = (1 - found.low / found.value, found.high / found.value - 1)
    assert half == pytest.approx(max(reaches))
    assert (reaches[0] > reaches[1]) == (values[0] == 60.0)  # once the lower side is the longer


@pytest.mark.parametrize("values", [[], [100.0], [100.0, 100.0, 100.0], [1.0, -1.0], [0.0, 1.0]])
def test_without_an_interval_nothing_is_known(values):
    assert half_width(values) is None
    assert not is_known(values, 0.5)


def test_known_is_what_lies_within_the_share():
    values = [100.0, 103.0, 98.0, 101.0]
    half = half_width(values)
    assert is_known(values, half)
    assert not is_known(values, half * 0.999)


def test_the_unit_does_not_matter():
    values = [100.0, 103.0, 98.0, 101.0]
    assert half_width([value / 7 for value in values]) == pytest.approx(half_width(values))
