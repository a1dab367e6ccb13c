import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.quality.summary import P99_TOKENS, Divergence, summarise
from harness.records.quality import ScoredTokens

KL = st.floats(0, 50)
LOG_P = st.floats(-60, 0)
NO_FIGURES = {
    "kl_mean",
    "kl_median",
    "kl_p99",
    "agreement",
    "agreement_low",
    "agreement_high",
    "perplexity",
    "reference_perplexity",
    "perplexity_ratio",
    "probability_rms",
}


def scored(n=4, **fields):
    usual = {
        "kl": [0.1] * n,
        "agree": [1] * n,
        "log_p": [-1.0] * n,
        "reference_log_p": [-1.0] * n,
    }
    return ScoredTokens(**{**usual, **fields})


def near(value):
    return pytest.approx(value, rel=1e-9, abs=1e-12)


@given(st.lists(st.tuples(KL, st.integers(0, 1), LOG_P, LOG_P), min_size=1, max_size=250))
def test_each_figure_is_what_an_obvious_computation_gives(tokens):
    kl, agree, log_p, reference = (list(column) for column in zip(*tokens, strict=True))
    n = len(tokens)
    summary = summarise(ScoredTokens(kl=kl, agree=agree, log_p=log_p, reference_log_p=reference))
    ordered = sorted(kl)
    assert summary.tokens == n
    assert summary.is_exact
    assert summary.kl_mean.value == summary.kl_mean.most == near(sum(kl) / n)
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    assert summary.kl_median == Divergence(value=near(middle), most=near(middle))
    if n < 100:
        assert summary.kl_p99 is None
    else:
        at = 0.99 * (n - 1)
        below, above = ordered[int(at)], ordered[min(n - 1, int(at) + 1)]
        assert summary.kl_p99.value == near(below + (at - int(at)) * (above - below))
    assert summary.agreement == near(sum(agree) / n)
    p, q = [np.exp(x) for x in reference], [np.exp(x) for x in log_p]
    assert summary.perplexity == near(math.exp(-math.fsum(log_p) / n))
    assert summary.reference_perplexity == near(math.exp(-math.fsum(reference) / n))
    ratio = summary.perplexity / summary.reference_perplexity
    assert summary.perplexity_ratio == pytest.approx(ratio, rel=1e-9)
    squares = sum((a - b) ** 2 for a, b in zip(p, q, strict=True))
    assert summary.probability_rms == near((squares / n) ** 0.5)


def test_the_interval_of_the_agreement_is_wilsons():
    summary = summarise(scored(n=200, agree=[1] * 190 + [0] * 10))
    z, n, p = 1.959963984540054, 200, 0.95
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert summary.agreement_low == near(centre - half)
    assert summary.agreement_high == near(centre + half)
    all_agree = summarise(scored(n=200))
    assert all_agree.agreement == all_agree.agreement_high == 1
    assert 0.97 < all_agree.agreement_low < 1


def test_no_tokens_have_no_figures():
    summary = msgspec.to_builtins(summarise(scored(n=0)))
    assert {name for name, value in summary.items() if value is None} == NO_FIGURES
    assert summary["tokens"] == summary["not_finite"] == 0


def test_one_token_has_figures():
    summary = msgspec.to_builtins(summarise(scored(n=1)))
    assert {name for name, value in summary.items() if value is None} == {"kl_p99"}


def test_the_99th_percentile_needs_a_hundred_tokens():
    assert P99_TOKENS == 100
    assert summarise(scored(n=99)).kl_p99 is None
    assert summarise(scored(n=100)).kl_p99 == Divergence(value=near(0.1), most=near(0.1))


def test_the_small_form_gives_every_divergence_a_range():
    kl = [x / 100 for x in range(100)]
    summary = summarise(scored(n=100, kl=kl, kl_most=[2 * x + 1 for x in kl]))
    assert not summary.is_exact
    for figure in (summary.kl_mean, summary.kl_median, summary.kl_p99):
        assert figure.most == near(2 * figure.value + 1)
    assert summary.kl_median.value == near(0.495)
    unbounded = summarise(scored(n=100, kl=kl, kl_most=[*kl[1:], None]))
    assert unbounded.kl_mean == Divergence(value=near(0.495), most=None)


@pytest.mark.parametrize(
    ("fields", "gone"),
    [
        ({"kl": [0.1, None]}, {"kl_mean", "kl_median"}),
        ({"log_p": [-1.0, None]}, {"perplexity", "perplexity_ratio", "probability_rms"}),
    ],
)
def test_a_token_without_a_number_leaves_no_figure_that_it_belongs_to(fields, gone):
    summary = msgspec.to_builtins(summarise(scored(n=2, not_finite=3, agree=[1, 0], **fields)))
    assert {name for name, value in summary.items() if value is None} == {"kl_p99"} | gone
    assert summary["agreement"] == 0.5
    assert summary["not_finite"] == 3


def test_a_perplexity_beyond_all_floats_is_none():
    summary = summarise(scored(n=2, log_p=[-2000.0, -2000.0]))
    assert summary.perplexity is None
    assert summary.perplexity_ratio is None
    assert summary.probability_rms == near(np.exp(-1.0))


def test_a_summary_is_plain_json():
    assert json.loads(msgspec.json.encode(summarise(scored(n=0))))["kl_mean"] is None
