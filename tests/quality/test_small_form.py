import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import BadInput, ReferenceUnusable
from harness.quality.kl_bounds import Others, kl_bounds
from harness.quality.small_form import KEPT, compare_small, condense, joined_forms
from harness.quality.tokens import compare_rows
from tests.quality.rows import SHAPES, log_softmax, make_row, two_rows


def both(reference, candidate, targets):
    return (
        compare_rows(reference, candidate, targets),
        compare_small(condense(reference, targets), candidate),
    )


@settings(max_examples=150)
@given(two_rows(least=KEPT + 1))
def test_the_divergence_lies_within_the_bounds(rows):
    reference, candidate, target = rows
    full, small = both(reference[None], candidate[None], [target])
    (kl,), (least,), (most,) = full.kl, small.kl, small.kl_most
    if kl is None:
        assert most is None
    else:
        assert least <= kl
        assert most is None or kl <= most


@settings(max_examples=60)
@given(two_rows(least=KEPT + 1))
def test_all_but_the_divergence_is_exact(rows):
    reference, candidate, target = rows
    full, small = both(reference[None], candidate[None], [target])
    assert small.agree == full.agree
    assert small.log_p == full.log_p
    assert small.reference_log_p == full.reference_log_p
    assert small.not_finite == full.not_finite


@settings(max_examples=60)
@given(two_rows().filter(lambda rows: len(rows[0]) <= KEPT))
def test_up_to_64_tokens_it_is_the_full_form(rows):
    reference, candidate, target = rows
    full, small = both(reference[None], candidate[None], [target])
    assert small.kl == small.kl_most
    assert small.kl == (full.kl if full.kl == [None] else [pytest.approx(full.kl[0], abs=1e-12)])
    assert small.log_p == full.log_p


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SHAPES), st.sampled_from([2, 65, 768, 50277]))
def test_the_reference_against_itself_may_be_without_a_difference(seed, shape, n_vocab):
    row = make_row(np.random.default_rng(seed), n_vocab, shape)[None]
    scored = compare_small(condense(row, [1]), row)
    assert 0 <= scored.kl[0] < 1e-9
    assert scored.kl_most[0] >= 0
    assert scored.agree == [1]
    assert scored.log_p == scored.reference_log_p


def test_every_distribution_that_fits_lies_within_the_bounds():
    """The numbers in the middle may be anywhere: the small form does not say where."""
    rng = np.random.default_rng(11)
    reference = make_row(rng, 200, "long tail")
    candidate = make_row(rng, 200, "long tail")
    small = compare_small(condense(reference[None], [0]), candidate[None])
    rest = np.argsort(-reference, kind="stable")[KEPT:]
    found = []
    for order in [np.sort(rest), *(rng.permutation(rest) for _ in range(200))]:
        moved = reference.copy()
        moved[rest] = reference[order]
        found += compare_rows(moved[None], candidate[None], [0]).kl
    # Those that put the others where the strategy has least, and most, of all:
    by_candidate = rest[np.argsort(candidate[rest])]
    for order in (by_candidate, by_candidate[::-1]):
        moved = reference.copy()
        moved[order] = np.sort(reference[rest])
        found += compare_rows(moved[None], candidate[None], [0]).kl
    assert small.kl[0] <= min(found)
    assert max(found) <= small.kl_most[0]
    # And they are no wider than need be: most of what is between them can be.
    assert max(found) - min(found) > 0.5 * (small.kl_most[0] - small.kl[0])


@pytest.mark.parametrize(
    ("shape", "noise", "share", "most"),
    [("flat", 0.1, 0.95, 1.05), ("peaked", 1.0, 0.5, 3.0), ("long tail", 0.1, 0.6, None)],
)
def test_how_near_the_bounds_are(shape, noise, share, most):
    rng = np.random.default_rng(7)
    reference = np.stack([make_row(rng, 5000, shape) for _ in range(6)])
    candidate = np.stack([log_softmax(row + noise * rng.normal(size=5000)) for row in reference])
    full, small = both(reference, candidate, [0] * 6)
    assert sum(small.kl) >= share * sum(full.kl)
    assert most is None or sum(small.kl_most) <= most * sum(full.kl)


def test_the_entropy_tightens_both_bounds():
    rng = np.random.default_rng(8)
    p = rng.dirichlet(np.full(300, 0.5))
    log_q = np.log(rng.dirichlet(np.full(300, 5.0)))
    entropy = float(-(p @ np.log(p)))
    least, most = kl_bounds(0.0, Others(mass=1.0, entropy=entropy, most=p.max()), log_q)
    log_sum_inequality = -np.log(np.exp(log_q).sum())
    ordered = np.sort(log_q)
    n = int(np.ceil(1 / p.max()))
    filled = -(p.max() * ordered[: n - 1].sum() + (1 - p.max() * (n - 1)) * ordered[n - 1])
    assert least > log_sum_inequality + 0.05
    assert most < filled - entropy - 0.05
    assert least <= p @ (np.log(p) - log_q) <= most


def test_the_cap_tightens_the_upper_bound():
    """Others that are all equally likely cannot all be the one that is hardly possible."""
    log_q = np.full(100, -5.0)
    log_q[0] = -50.0
    entropy = float(np.log(100))  # which alone leaves nothing open, so say that it is less
    capped = kl_bounds(0.0, Others(mass=1.0, entropy=1.0, most=0.01), log_q)
    free = kl_bounds(0.0, Others(mass=1.0, entropy=1.0, most=1.0), log_q)
    assert capped[1] == pytest.approx(0.01 * 50 + 0.99 * 5 - 1.0)
    assert free[1] > capped[1] + 10
    even = kl_bounds(0.0, Others(mass=1.0, entropy=entropy, most=1.0), log_q)
    assert even[1] == pytest.approx(0.01 * 50 + 0.99 * 5 - entropy, rel=0.3)


def test_the_cap_counts_what_is_left_behind_full_ones():
    """0.1, 0.1 and 0.05 on the three that the strategy has least of: nothing can be further."""
    log_q = np.array([-1.0, -50.0, -2.0, -40.0, -30.0])
    p = np.array([0.1, 0.1, 0.05])
    entropy = float(-(p @ np.log(p)))
    _, most = kl_bounds(0.0, Others(mass=0.25, entropy=entropy, most=0.1), log_q)
    assert most == pytest.approx(0.1 * 50 + 0.1 * 40 + 0.05 * 30 - entropy)


def test_others_that_are_as_likely_as_the_last_one_kept_leave_nothing_open():
    reference = log_softmax([5.0, *[0.0] * 199])[None]
    candidate = reference.copy()
    candidate[0, 150] = -50.0
    full, small = both(reference, candidate, [0])
    assert small.kl_most == pytest.approx(full.kl, rel=1e-6)


def test_others_without_any_mass_add_nothing():
    assert kl_bounds(0.5, Others(mass=0.0, entropy=0.0, most=0.0), np.array([-np.inf])) == (
        pytest.approx(0.5),
        pytest.approx(0.5),
    )


def test_no_bound_is_below_nothing():
    hardly = Others(mass=1e-20, entropy=0.0, most=1e-20)
    assert kl_bounds(0.0, hardly, np.array([-np.inf, -1.0])) == (0.0, np.inf)
    assert min(kl_bounds(0.0, hardly, np.array([-1.0, -1.0]))) == 0.0


def test_a_strategy_that_excludes_others_has_no_upper_bound():
    rng = np.random.default_rng(9)
    reference = make_row(rng, 100, "usual")[None]
    rest = np.argsort(-reference[0])[KEPT:]
    candidate = reference.copy()
    candidate[0, rest[0]] = -np.inf
    scored = compare_small(condense(reference, [0]), candidate)
    assert scored.kl[0] >= 0
    assert scored.kl_most == [None]
    candidate[0, rest] = -np.inf  # then it is infinite for certain
    assert compare_small(condense(reference, [0]), candidate).kl == [None]
    candidate[0] = reference[0]
    candidate[0, int(reference[0].argmax())] = -np.inf
    assert compare_small(condense(reference, [0]), candidate).kl == [None]


@pytest.mark.parametrize("n_vocab", [10, 100])
def test_a_row_with_nan_counts_and_spoils_no_other(n_vocab):
    reference = np.stack([make_row(np.random.default_rng(s), n_vocab, "usual") for s in range(3)])
    candidate = reference.copy()
    candidate[1, 0] = np.nan
    scored = compare_small(condense(reference, [0] * 3), candidate)
    assert scored.agree == [1, 0, 1]
    assert [one is None for one in scored.kl] == [False, True, False]
    assert [one is None for one in scored.kl_most] == [False, True, False]
    assert [one is None for one in scored.log_p] == [False, True, False]
    assert scored.not_finite == 1


def test_the_kept_tokens_are_the_likeliest_with_the_lowest_ids():
    rng = np.random.default_rng(10)
    for n_vocab in (64, 65, 500):
        row = log_softmax(np.round(rng.normal(size=n_vocab)))
        form = condense(row[None], [3])
        ranked = sorted(range(n_vocab), key=lambda i: (-row[i], i))[:KEPT]
        assert form.ids[0].tolist() == ranked
        assert form.log_p[0].tolist() == row[ranked].tolist()
        assert form.log_p.dtype == np.float32


def test_the_sums_are_those_of_an_obvious_computation():
    row = make_row(np.random.default_rng(12), 300, "usual")
    p = np.exp(row.astype(np.float64))
    total = p.sum()
    p /= total
    ranked = sorted(range(300), key=lambda i: (-row[i], i))
    form = condense(row[None], [17])
    assert form.entropy[0] == pytest.approx(-sum(x * np.log(x) for x in p), rel=1e-12)
    assert form.others[0] == pytest.approx(np.log(sum(p[i] for i in ranked[KEPT:])), rel=1e-12)
    assert form.log_sum[0] == pytest.approx(np.log(total), abs=1e-12)
    assert form.target_log_p[0] == pytest.approx(np.log(p[17]), rel=1e-12)
    assert form.targets.tolist() == [17]


def test_chunks_joined_are_the_whole_and_give_its_rows():
    rng = np.random.default_rng(13)
    reference = np.stack([make_row(rng, 90, "usual") for _ in range(5)])
    targets = rng.integers(90, size=5).tolist()
    whole = condense(reference, targets)
    parts = [condense(reference[:2], targets[:2]), condense(reference[2:], targets[2:])]
    assert compare_small(joined_forms(parts), reference) == compare_small(whole, reference)
    some = whole.rows(1, 4)
    assert len(some) == 3
    assert compare_small(some, reference[1:4]) == compare_small(
        condense(reference[1:4], targets[1:4]), reference[1:4]
    )


def test_what_cannot_be_joined():
    rows = np.zeros((1, 70), dtype=np.float32)
    with pytest.raises(BadInput, match="all of one vocabulary"):
        joined_forms([condense(rows, [0]), condense(rows[:, :50], [0])])
    with pytest.raises(BadInput, match="where there are some"):
        joined_forms([])


def test_what_does_not_belong_together_is_refused():
    rows = np.zeros((2, 70), dtype=np.float32)
    with pytest.raises(BadInput, match=r"rows of shape \[2, 71\], the reference has \[2, 70\]"):
        compare_small(condense(rows, [0, 1]), np.zeros((2, 71), dtype=np.float32))
    with pytest.raises(BadInput, match="Token 70 is outside"):
        condense(rows, [0, 70])
    rows[1, 5] = np.nan
    with pytest.raises(ReferenceUnusable, match="reference itself"):
        condense(rows, [0, 1])


def test_no_rows_are_a_small_form_too():
    empty = np.zeros((0, 70), dtype=np.float32)
    assert compare_small(condense(empty, []), empty).kl == []
