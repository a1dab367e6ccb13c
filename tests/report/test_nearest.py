"""By how much a limit must give, against trying every value that an option could need."""

import random
from dataclasses import replace

import pytest
from test_recommend import GIB, OPTIONS, option, random_wishes

from harness.report.nearest import nearest
from harness.report.recommend import Wishes, recommend
from harness.report.retyped import loosened as as_options
from harness.sizes import parse_size


def narrow_wishes(rng):
    """Limits that mostly leave nothing."""
    wishes = random_wishes(rng)
    return replace(
        wishes,
        ram_bytes=int(rng.uniform(1, 4) * GIB),
        vram_bytes=rng.choice([0, GIB, 2 * GIB]),
        min_agreement=rng.choice([None, 0.98, 0.999]),
    )


def loosened(wishes, needs):
    return replace(wishes, **dict(needs))


def fewest_by_trying(wishes):
    """How many limits must give at least, by leaving out every set of them."""
    names = ("ram_bytes", "vram_bytes", "min_agreement")
    given = [name for name in names if getattr(wishes, name) is not None]
    sets = [[n for at, n in enumerate(given) if bits >> at & 1] for bits in range(2 ** len(given))]
    # A figure that a limit asks for must be known, so it is set to what anything keeps to.
    open_ = {"ram_bytes": 2**60, "vram_bytes": 2**60, "min_agreement": 0.0}
    sizes = [
        len(one)
        for one in sets
        if recommend(OPTIONS, replace(wishes, **{name: open_[name] for name in one})).best
    ]
    return min(sizes, default=None)


@pytest.mark.parametrize("seed", range(100))
def test_the_least_that_lets_one_pass_is_named(seed):
    wishes = narrow_wishes(random.Random(seed))
    misses = nearest(OPTIONS, wishes)
    if recommend(OPTIONS, wishes).best is not None:
        return
    assert {len(miss.needs) for miss in misses} <= {fewest_by_trying(wishes)}
    assert bool(misses) == (fewest_by_trying(wishes) is not None)
    for miss in misses:
        found = recommend(OPTIONS, loosened(wishes, miss.needs))
        assert miss.option in (found.best, found.runner_up, *found.others)
        if len(miss.needs) == 1:  # nothing passes with less
            [(name, value)] = miss.needs
            less = value + 1e-9 if name == "min_agreement" else value - 1
            assert recommend(OPTIONS, loosened(wishes, [(name, less)])).best is None


def test_the_limits_that_are_named_to_be_typed_let_it_pass():
    for seed in range(100):
        wishes = narrow_wishes(random.Random(seed))
        for miss in nearest(OPTIONS, wishes):
            words = as_options(miss)
            given = dict(zip(words[::2], words[1::2], strict=True))
            for name, value in miss.needs:
                typed = given[f"--{name.removesuffix('_bytes').replace('_', '-')}"]
                if name == "min_agreement":
                    assert value - 1e-4 <= float(typed.removesuffix("%")) / 100 <= value
                else:
                    assert value <= parse_size(typed) < value + 2**20


def test_the_nearest_in_parts_of_what_is_allowed_comes_first():
    options = [
        option("a bit large", 1.0, 1.0, 11, 0, 0.99),
        option("far off", 9.0, 9.0, 1, 0, 0.90),
        option("twice as large", 5.0, 5.0, 20, 0, 0.99),
    ]
    misses = nearest(options, Wishes(ram_bytes=10 * GIB, min_agreement=0.98))
    assert [(miss.option.name, miss.needs) for miss in misses] == [
        ("a bit large", (("ram_bytes", 11 * GIB),)),
        ("far off", (("min_agreement", 0.90),)),
    ]
    off_by_less = [replace(options[1], agreement=0.979), *options]
    assert nearest(off_by_less, Wishes(ram_bytes=10 * GIB, min_agreement=0.98))[0].needs == (
        ("min_agreement", 0.979),
    )


def test_one_that_breaks_fewer_limits_is_nearer():
    options = [
        option("two, by little", 1.0, 1.0, 10.1, 4.1, 0.99),
        option("one, by much", 1.0, 1.0, 40, 3, 0.99),
    ]
    wishes = Wishes(ram_bytes=10 * GIB, vram_bytes=4 * GIB)
    assert [miss.option.name for miss in nearest(options, wishes)] == ["one, by much"]
    assert nearest(options[:1], wishes)[0].needs == (
        ("vram_bytes", int(4.1 * GIB)),
        ("ram_bytes", int(10.1 * GIB)),
    )


def test_of_several_limits_the_one_that_is_missed_most_counts():
    options = [
        option("one by far", 9.0, 9.0, 40, 4.4, 0.99),
        option("both by half", 1.0, 1.0, 15, 6, 0.99),
    ]
    [miss] = nearest(options, Wishes(ram_bytes=10 * GIB, vram_bytes=4 * GIB))
    assert miss.option.name == "both by half"


def test_no_limit_that_gives_helps_what_failed_or_was_not_measured():
    options = [
        option("failed", 1.0, 1.0, 11, 0, 0.99, unfit="crashed"),
        option("no speed", None, 1.0, 11, 0, 0.99),
        option("no quality", 1.0, 1.0, 11, 0, None),
    ]
    assert nearest(options, Wishes(ram_bytes=10 * GIB, min_agreement=0.9)) == ()
    assert [miss.option.name for miss in nearest(options, Wishes(ram_bytes=10 * GIB))] == [
        "no quality"
    ]


def test_where_nothing_is_allowed_the_least_is_nearest():
    options = [option("b", 1.0, 1.0, 1, 2, 0.98), option("a", 2.0, 1.0, 1, 3, 0.99)]
    assert nearest(options, Wishes(vram_bytes=0))[0].option.name == "b"
    assert nearest(options, Wishes(min_agreement=1.0))[0].option.name == "a"
