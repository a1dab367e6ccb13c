import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import BadInput, ReferenceUnusable
from harness.quality.tokens import compare_rows, joined
from harness.records.quality import ScoredTokens
from tests.quality.rows import SHAPES, log_softmax, make_row, obvious, two_rows


def near(value):
    return pytest.approx(value, rel=1e-6, abs=1e-6)


@settings(max_examples=60)
@given(two_rows())
def test_each_figure_is_what_an_obvious_computation_gives(rows):
    reference, candidate, target = rows
    scored = compare_rows(reference[None], candidate[None], [target])
    kl, agree, log_p, reference_log_p = obvious(reference, candidate, target)
    assert scored.kl == ([near(kl)] if np.isfinite(kl) else [None])
    assert scored.agree == [agree]
    assert scored.log_p == ([near(log_p)] if np.isfinite(log_p) else [None])
    assert scored.reference_log_p == [near(reference_log_p)]
    assert scored.not_finite == np.isinf(candidate).sum()
    assert scored.kl_most == []


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SHAPES), st.sampled_from([2, 64, 768, 50277]))
def test_the_reference_against_itself_is_without_a_difference(seed, shape, n_vocab):
    rows = make_row(np.random.default_rng(seed), n_vocab, shape)[None]
    scored = compare_rows(rows, rows.copy(), [0])
    assert scored.kl == [0.0]
    assert scored.agree == [1]
    assert scored.log_p == scored.reference_log_p


def test_a_divergence_is_never_negative():
    """Rounding of float32 and the order of a sum leave nothing below 0."""
    rng = np.random.default_rng(3)
    rows = np.stack([make_row(rng, 5000, "usual") for _ in range(32)])
    moved = rows + rng.normal(0, 1e-7, (32, 1)).astype(np.float32)  # as much on every token
    nudged = np.nextafter(rows, rng.choice([-1, 1], rows.shape) * np.float32(np.inf))
    for other in (moved, nudged):
        scored = compare_rows(rows, other, [0] * 32)
        assert all(0 <= kl < 1e-9 for kl in scored.kl)


def test_logits_count_as_well_as_log_probabilities():
    rng = np.random.default_rng(4)
    reference, candidate = (make_row(rng, 300, "usual")[None] for _ in range(2))
    scored = compare_rows(reference + np.float32(8), candidate - np.float32(8), [7])
    same = compare_rows(reference, candidate, [7])
    assert scored.kl == near(same.kl)
    assert scored.log_p == near(same.log_p)


def test_of_equal_tokens_the_one_with_the_lowest_id_is_the_likeliest():
    reference = np.log(np.float32([[0.4, 0.4, 0.2]]))
    assert compare_rows(reference, np.log(np.float32([[0.4, 0.4, 0.2]])), [0]).agree == [1]
    assert compare_rows(reference, np.log(np.float32([[0.3, 0.4, 0.3]])), [0]).agree == [0]
    assert compare_rows(reference, np.log(np.float32([[0.4, 0.3, 0.3]])), [0]).agree == [1]


def test_a_row_that_is_not_finite_counts_and_spoils_no_other():
    rows = np.stack([make_row(np.random.default_rng(s), 50, "usual") for s in range(6)])
    best = int(rows[1].argmax())
    other = rows.copy()
    other[1, (best + 1) % 50] = np.nan
    other[2, 3] = np.inf
    other[3, :] = -np.inf
    other[4, (int(rows[4].argmax()) + 1) % 50] = -np.inf
    targets = [0] * 6
    targets[4] = (int(rows[4].argmax()) + 1) % 50
    scored = compare_rows(rows, other, targets)
    assert scored.agree == [1, 0, 0, 0, 1, 1]  # the last but one still knows its best token
    assert scored.kl == [0.0, None, None, None, None, 0.0]
    assert [one is None for one in scored.log_p] == [False, True, True, True, True, False]
    assert scored.not_finite == 1 + 1 + 50 + 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_never_agrees_by_chance(bad):
    rows = log_softmax([3.0, 0.0, 1.0])[None]
    other = rows.copy()
    other[0, 0] = bad  # where the reference has its best token
    assert compare_rows(rows, other, [0]).agree == [0]
    assert compare_rows(rows, np.full_like(rows, -np.inf), [0]).agree == [0]


def test_what_has_no_probability_under_the_reference_costs_nothing():
    reference = log_softmax([0.0, 0.0, -2000.0])
    candidate = np.float32([np.log(0.5), np.log(0.5), -np.inf])
    scored = compare_rows(reference[None], candidate[None], [0])
    assert scored.kl == [near(0.0)]
    assert scored.not_finite == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_reference_that_is_not_finite_is_no_reference(bad):
    reference = np.zeros((2, 5), dtype=np.float32)
    reference[1, 2] = bad
    with pytest.raises(ReferenceUnusable, match="reference itself gave 1 NaN or infinite"):
        compare_rows(reference, np.zeros((2, 5), dtype=np.float32), [0, 0])


@pytest.mark.parametrize(
    ("shape", "targets", "match"),
    [
        ((2, 6), [0, 0], r"rows of shape \[2, 6\], the reference has \[2, 5\]"),
        ((1, 5), [0, 0], r"rows of shape \[1, 5\]"),
        ((2, 5), [0], "1 tokens for 2 rows"),
        ((2, 5), [0, 5], r"Token 5 is outside the vocabulary 0\.\.4"),
        ((2, 5), [-1, 0], "Token -1 is outside"),
    ],
)
def test_rows_that_do_not_belong_together(shape, targets, match):
    with pytest.raises(BadInput, match=match):
        compare_rows(np.zeros((2, 5), np.float32), np.zeros(shape, np.float32), targets)


def test_no_rows_give_no_tokens():
    empty = np.zeros((0, 5), dtype=np.float32)
    assert compare_rows(empty, empty, []) == ScoredTokens(
        kl=[], agree=[], log_p=[], reference_log_p=[]
    )
    assert joined([]) == compare_rows(empty, empty, [])


def test_chunks_joined_are_the_whole():
    rng = np.random.default_rng(5)
    reference = np.stack([make_row(rng, 80, "usual") for _ in range(7)])
    candidate = np.stack([make_row(rng, 80, "usual") for _ in range(7)])
    candidate[5, 0] = np.nan
    targets = rng.integers(80, size=7).tolist()
    parts = [slice(0, 3), slice(3, 6), slice(6, 7)]
    chunks = [compare_rows(reference[one], candidate[one], targets[one]) for one in parts]
    assert joined(iter(chunks)) == compare_rows(reference, candidate, targets)


def test_what_is_exact_is_joined_with_what_is_bounded():
    exact = ScoredTokens(kl=[1.0, None], agree=[1, 0], log_p=[-1.0, None], reference_log_p=[-1, -2])
    bounded = ScoredTokens(kl=[2.0], kl_most=[3.0], agree=[1], log_p=[-1.0], reference_log_p=[-3])
    both = joined([exact, bounded])
    assert both.kl == [1.0, None, 2.0]
    assert both.kl_most == [1.0, None, 3.0]
