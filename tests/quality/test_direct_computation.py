"""Every figure of quality, from rows to a summary, against a direct computation in float64.

Over what models do give at times: hardly any doubt, no preference at all, ties for the first place,
tokens that cannot be, and what came being all but impossible.
"""

import math

import numpy as np
import pytest

from harness.quality.small_form import compare_small, condense
from harness.quality.summary import summarise
from harness.quality.tokens import compare_rows, joined
from tests.quality.rows import SHAPES, log_softmax, make_row

NO_DIFFERENCE = 1e-9


def near(value):
    return pytest.approx(value, rel=1e-6, abs=1e-6)


def one_hot(n_vocab, at):
    logits = np.zeros(n_vocab)
    logits[at] = 90.0  # beyond what float32 tells from certainty
    return log_softmax(logits)


def two_firsts(n_vocab, first, second):
    logits = np.full(n_vocab, -3.0)
    logits[[first, second]] = 6.0
    return log_softmax(logits)


def passage(n_vocab, n, seed):
    """Rows of a reference and of a strategy near it [n, V], and the tokens that came."""
    rng = np.random.default_rng(seed)
    reference = [
        one_hot(n_vocab, 3),
        one_hot(n_vocab, n_vocab - 1),
        np.full(n_vocab, -math.log(n_vocab), dtype=np.float32),
        two_firsts(n_vocab, 5, 9),
        two_firsts(n_vocab, 5, 9),
        *(make_row(rng, n_vocab, SHAPES[i % len(SHAPES)]) for i in range(n - 5)),
    ]
    candidate = [log_softmax(row + 0.05 * rng.normal(size=n_vocab)) for row in reference]
    candidate[1] = one_hot(n_vocab, 0)  # as sure of another token
    candidate[3] = two_firsts(n_vocab, 5, 700)  # the first of both is the same
    candidate[4] = two_firsts(n_vocab, 4, 9)  # and here it is not
    targets = rng.integers(n_vocab, size=n).tolist()
    targets[0] = 4  # e^-90 under the reference
    return np.stack(reference), np.stack(candidate), targets


def logs(row):
    wide = [float(x) for x in row]
    high = max(wide)
    total = math.log(math.fsum(math.exp(x - high) for x in wide))
    return [x - high - total for x in wide]


def first(row):
    """The lowest id of the largest."""
    return min(range(len(row)), key=lambda token: (-row[token], token))


def directly(reference, candidate, targets):
    """The figures that a summary has, token by token and number by number."""
    kl, same, log_p, log_q = [], 0, [], []
    for row, other, target in zip(reference, candidate, targets, strict=True):
        p, q = logs(row), logs(other)
        kl.append(math.fsum(math.exp(a) * (a - b) for a, b in zip(p, q, strict=True)))
        same += first(row.tolist()) == first(other.tolist())
        log_p.append(p[target])
        log_q.append(q[target])
    n, ordered = len(kl), sorted(kl)
    place = 0.99 * (n - 1)
    low = int(place)
    high = min(low + 1, n - 1)
    share, z = same / n, 1.959963984540054
    middle, half = (
        (share + z * z / 2 / n),
        z * math.sqrt(share * (1 - share) / n + (z / 2 / n) ** 2),
    )
    return {
        "kl_mean": math.fsum(kl) / n,
        "kl_median": (ordered[(n - 1) // 2] + ordered[n // 2]) / 2,
        "kl_p99": ordered[low] + (place - low) * (ordered[high] - ordered[low]),
        "agreement": share,
        "agreement_low": (middle - half) / (1 + z * z / n),
        "agreement_high": (middle + half) / (1 + z * z / n),
        "perplexity": math.exp(-math.fsum(log_q) / n),
        "reference_perplexity": math.exp(-math.fsum(log_p) / n),
        "perplexity_ratio": math.exp((math.fsum(log_p) - math.fsum(log_q)) / n),
        "probability_rms": math.sqrt(
            math.fsum((math.exp(a) - math.exp(b)) ** 2 for a, b in zip(log_p, log_q, strict=True))
            / n
        ),
    }


CASES = [(777, 130), (50277, 8), (65536, 8)]


@pytest.mark.parametrize(("n_vocab", "n"), CASES)
def test_every_figure_is_that_of_a_direct_computation(n_vocab, n):
    reference, candidate, targets = passage(n_vocab, n, seed=n_vocab)
    expected = directly(reference, candidate, targets)
    chunks = [slice(0, 3), slice(3, 4), slice(4, n)]
    full = summarise(
        joined(compare_rows(reference[one], candidate[one], targets[one]) for one in chunks)
    )
    small = summarise(compare_small(condense(reference, targets), candidate))
    assert full.tokens == small.tokens == n
    assert full.is_exact
    assert not small.is_exact
    for name, value in expected.items():
        if name == "kl_p99" and n < 100:
            assert full.kl_p99 is small.kl_p99 is None
        elif name.startswith("kl_"):
            assert getattr(full, name).value == getattr(full, name).most == near(value)
            assert getattr(small, name).value <= value
            assert getattr(small, name).most is None or value <= getattr(small, name).most
        else:
            assert getattr(full, name) == near(value), name
            assert getattr(small, name) == near(value), name
    assert expected["agreement"] < 1
    assert expected["kl_mean"] > 0.1


@pytest.mark.parametrize(("n_vocab", "n"), CASES)
def test_the_reference_against_itself_shows_no_difference(n_vocab, n):
    reference, _, targets = passage(n_vocab, n, seed=n_vocab)
    summary = summarise(compare_rows(reference, reference.copy(), targets))
    figures = [summary.kl_mean, summary.kl_median, *([summary.kl_p99] if n >= 100 else [])]
    for found in figures:
        assert 0 <= found.value < NO_DIFFERENCE
        assert found.value == found.most
    assert summary.agreement == summary.agreement_high == 1
    assert summary.perplexity == summary.reference_perplexity
    assert summary.perplexity_ratio == 1
    assert summary.probability_rms == 0
    small = summarise(compare_small(condense(reference, targets), reference.copy()))
    assert small.kl_mean.value < NO_DIFFERENCE
    assert (small.agreement, small.perplexity_ratio, small.probability_rms) == (1, 1, 0)


def test_ties_for_the_first_place_go_to_the_lowest_id_on_either_side():
    rows = [two_firsts(100, 5, 9), two_firsts(100, 5, 70), two_firsts(100, 4, 9)]
    reference = np.stack([rows[0]] * 3)
    for form in (lambda r: r, lambda r: condense(r, [0, 0, 0])):
        compare = compare_rows if form(reference) is reference else compare_small
        extra = ([0, 0, 0],) if compare is compare_rows else ()
        assert compare(form(reference), np.stack(rows), *extra).agree == [1, 1, 0]


def test_a_strategy_that_rules_out_what_came_has_no_perplexity_and_says_how_often():
    reference, candidate, targets = passage(777, 130, seed=1)
    candidate[7, targets[7]] = -np.inf
    for scored in (
        compare_rows(reference, candidate, targets),
        compare_small(condense(reference, targets), candidate),
    ):
        summary = summarise(scored)
        assert summary.not_finite == 1
        assert summary.perplexity is summary.perplexity_ratio is summary.probability_rms is None
        assert summary.reference_perplexity is not None
        assert summary.agreement is not None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_row_that_is_no_distribution_is_counted_and_no_mean_hides_it(bad):
    reference, _, targets = passage(777, 130, seed=2)
    same = reference.copy()
    same[50, 3] = bad
    summary = summarise(compare_rows(reference, same, targets))
    assert summary.not_finite == 1
    assert summary.agreement == 129 / 130
    assert summary.kl_mean is summary.kl_median is summary.kl_p99 is summary.perplexity is None


def test_a_single_token_has_an_interval_and_no_percentile():
    reference, candidate, targets = passage(777, 6, seed=3)
    summary = summarise(compare_rows(reference[5:], candidate[5:], targets[5:]))
    assert (summary.tokens, summary.agreement, summary.agreement_high) == (1, 1, 1)
    assert summary.agreement_low == pytest.approx(1 / (1 + 1.959963984540054**2))
    assert summary.kl_p99 is None
    assert summary.kl_mean == summary.kl_median
