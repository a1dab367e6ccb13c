"""Limits as they are typed: read again, they mean exactly the same."""

import random

import pytest

from harness.cli.recommend import Share
from harness.cli.sizes import SizeOrNone
from harness.report.asked import asked_share, typed_share, typed_size
from harness.report.recommend import Wishes
from harness.report.retyped import wish_options


@pytest.mark.parametrize(
    ("n_bytes", "typed"),
    [
        (0, "0"),
        (8 * 2**30, "8GiB"),
        (7 * 2**29, "3584MiB"),
        (8 * 10**9, "8GB"),
        (8_500_000_000, "8500MB"),
        (2**40, "1TiB"),
        (3 * 2**10, "3KiB"),
        (1, "1B"),
        (2**30 + 1, "1073741825B"),
    ],
)
def test_a_size_is_typed_as_short_as_can_be(n_bytes, typed):
    assert typed_size(n_bytes) == typed


@pytest.mark.parametrize(
    ("share", "typed"),
    [(0.99, "99%"), (0.99999, "99.999%"), (1.0, "100%"), (0.0, "0%"), (1e-05, "0.001%")],
)
def test_a_share_keeps_its_digits(share, typed):
    assert typed_share(share) == typed
    assert asked_share(share) == typed.replace("%", " %")


def test_what_is_typed_again_is_the_same_wish():
    rng = random.Random(0)
    for _ in range(300):
        wishes = Wishes(
            vram_bytes=rng.choice([0, rng.randrange(1, 2**40), rng.randrange(1, 999) * 2**20]),
            ram_bytes=rng.randrange(1, 2 ** rng.randrange(1, 41)),
            min_agreement=rng.choice([rng.random(), rng.randrange(10**5) / 10**5, 1e-09]),
        )
        typed = wish_options(wishes)
        given = dict(zip(typed[::2], typed[1::2], strict=True))
        assert SizeOrNone().convert(given["--vram"], None, None) == wishes.vram_bytes
        assert SizeOrNone().convert(given["--ram"], None, None) == wishes.ram_bytes
        assert Share().convert(given["--min-agreement"], None, None) == wishes.min_agreement
