"""Lengths of time on the command line, and as words."""

import re

import click
import pytest

from harness.cli.durations import Duration, about, counting


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("60s", 60),
        ("20m", 1200),
        ("20min", 1200),
        ("1h30m", 5400),
        ("1h 30m 5s", 5405),
        ("0.5h", 1800),
        ("90m", 5400),
        ("1h5s", 3605),
        (" 2h ", 7200),
    ],
)
def test_times_are_read(written, seconds):
    assert Duration().convert(written, None, None) == seconds


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("20", "A number needs its unit. Write 20m, 60s or 1h30m."),
        ("soon", "'soon' is no time. Write 20m"),
        ("", "'' is no time. Write"),
        ("-5m", "is no time. Write"),
        ("1m1h", "is no time. Write"),
        ("5d", "is no time. Write"),
        ("0s", "is no time at all"),
        ("0h0m", "is no time at all"),
        ("9000h", "more than a year"),
        ("1e3s", "is no time. Write"),
        ("infs", "is no time. Write"),
    ],
)
def test_what_is_no_time_is_refused_in_words(written, said):
    with pytest.raises(click.BadParameter, match=re.escape(said)):
        Duration().convert(written, None, None)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.02, "0.1 s"),
        (2.55, "2.5 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (99.4, "99 s"),
        (99.6, "1 min 40 s"),
        (154, "2 min 30 s"),
        (156, "2 min 40 s"),
        (179, "3 min"),
        (599, "10 min"),
        (640, "11 min"),
        (3569, "59 min"),
        (3571, "1 h"),
        (11700, "3 h 20 min"),
        (7201, "2 h"),
        (47 * 3600, "47 h"),
        (49 * 3600, "3 days"),
    ],
)
def test_times_are_said_in_two_units(seconds, words):
    assert about(seconds) == words


def test_time_that_goes_on_changes_with_each_second():
    said = [counting(seconds) for seconds in (0.9, 59.9, 60, 161, 162, 3661)]
    assert said == ["0 s", "59 s", "1 min 0 s", "2 min 41 s", "2 min 42 s", "61 min 1 s"]
