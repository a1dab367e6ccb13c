from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report import format as fmt


@given(st.floats(1e-3, 1e12))
def test_numbers_keep_three_significant_digits(value):
    shown = float(fmt.number(value).replace(",", ""))
    assert shown == pytest.approx(value, rel=0.00502)


@pytest.mark.parametrize(
    "value, shown",
    [(0, "0"), (9.996, "10.0"), (99.96, "100"), (1234.5, "1,234"), (-1.5, "−1.50"),
     (1e300, "1.00e+300"), (2e-9, "2.00e−09"),
     (float("nan"), "not a number"), (float("inf"), "∞")],
)  # fmt: skip
def test_numbers_at_the_edges(value, shown):
    assert fmt.number(value) == shown


def test_both_ends_of_an_interval_have_the_decimals_of_its_value():
    assert fmt.interval(9.871, 11.2345, 10.5) == "9.9 to 11.2"
    assert fmt.interval(None, 11.0, 10.5) is None


def test_an_interval_that_says_nothing_shows_no_numbers():
    assert fmt.interval(1.0, 10.0, 3.0) == "1.00 to 10.00"
    assert fmt.interval(1.0, 10.1, 3.0) == "too noisy to tell"
    assert fmt.interval(-1.0, 10.1, 3.0) == "−1.00 to 10.10"  # of a difference
    assert fmt.seconds_interval(0.01, 0.11) == "too noisy to tell"


@pytest.mark.parametrize(
    "low, high, shown",
    [(0.0123, 0.0223, "12.3 to 22.3 ms"), (0.9, 1.1, "900 ms to 1.10 s"),
     (2.0, 3.0, "2.00 to 3.00 s"), (None, 3.0, None)],
)  # fmt: skip
def test_an_interval_of_times_names_its_unit_once(low, high, shown):
    assert fmt.seconds_interval(low, high) == shown


@pytest.mark.parametrize(
    "n_bytes, shown",
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (310 * 2**20, "310 MiB"),
     (int(5.5 * 2**30), "5.50 GiB"), (2**50, "1,024 TiB")],
)  # fmt: skip
def test_sizes_are_in_iec_units(n_bytes, shown):
    assert fmt.size(n_bytes) == shown


@given(st.integers(1, 2**49))
def test_a_size_is_read_in_a_unit_that_fits(n_bytes):
    name, unit = fmt.unit_of(n_bytes)
    assert 1 <= n_bytes / unit < 1024
    assert fmt.size(n_bytes).endswith(f" {name}")


@pytest.mark.parametrize(
    "value, shown", [(0.0123, "12.3 ms"), (0.9999, "1,000 ms"), (1.5, "1.50 s"), (61.04, "61.0 s")]
)
def test_seconds(value, shown):
    assert fmt.seconds(value) == shown


@pytest.mark.parametrize(
    "items, shown",
    [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")],
)
def test_listings(items, shown):
    assert fmt.listing(items) == shown


@pytest.mark.parametrize(
    "iso, shown",
    [
        (None, "–"),
        ("2024-05-01T10:02:03+00:00", "2024-05-01 10:02 UTC"),
        ("yesterday", "yesterday"),
    ],
)
def test_clock_times(iso, shown):
    assert fmt.clock_time(iso) == shown


@given(st.text(), st.integers(4, 60))
def test_an_elided_text_fits_and_a_short_one_is_whole(text, width):
    shown = fmt.elided(text, width)
    assert fmt.columns_of(shown) <= width
    assert (shown == text) == (fmt.columns_of(text) <= width)


def test_an_elided_name_keeps_both_ends():
    assert fmt.elided("cuda fp16 -> cpu fp32 -> cpu bf16", 16) == "cuda fp16…bf16"
