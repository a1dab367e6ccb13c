"""Made-up rows of log-probabilities, and the slow and obvious way to compare two."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

SHAPES = ("peaked", "flat", "tied", "usual", "long tail")


def log_softmax(logits):
    """Float32 log-probabilities as an engine gives them."""
    wide = np.asarray(logits, dtype=np.float64)
    return (wide - np.log(np.exp(wide - wide.max()).sum()) - wide.max()).astype(np.float32)


def make_row(rng, n_vocab, shape):
    noise = rng.normal(size=n_vocab)
    if shape == "peaked":
        noise *= 0.5
        noise[rng.integers(n_vocab)] += rng.choice([20.0, 100.0, 2000.0])
    elif shape == "flat":
        noise *= rng.choice([0.0, 1e-4])
    elif shape == "tied":
        noise = np.round(noise)
    elif shape == "long tail":
        noise = -1.3 * np.log(1.0 + rng.permutation(n_vocab)) + 0.3 * noise
    else:
        noise *= 4
    return log_softmax(noise)


@st.composite
def two_rows(draw, least=2, infinite=True):
    """A reference's row, a strategy's (near or far, perhaps with -inf in it), and a token."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_vocab = draw(st.one_of(st.integers(least, 300), st.sampled_from([768, 5000, 50277])))
    reference = make_row(rng, n_vocab, draw(st.sampled_from(SHAPES)))
    distance = draw(st.sampled_from([0.0, 1e-3, 0.1, 2.0, None]))
    if distance is None:
        candidate = make_row(rng, n_vocab, draw(st.sampled_from(SHAPES)))
    else:
        candidate = log_softmax(reference + distance * rng.normal(size=n_vocab))
    if infinite and draw(st.booleans()):
        candidate[rng.integers(n_vocab, size=max(1, n_vocab // 50))] = -np.inf
    return reference, candidate, int(rng.integers(n_vocab))


def obvious(reference, candidate, target):
    """KL, agreement and the target's two log-probabilities, one token after another."""

    def exactly(row):
        wide = [float(x) for x in row]
        high = max(wide)
        total = np.log(sum(np.exp(x - high) for x in wide))
        return [x - high - total for x in wide]

    with np.errstate(all="ignore"):
        p, q = exactly(reference), exactly(candidate)
        kl = sum(np.exp(a) * (a - b) for a, b in zip(p, q, strict=True) if np.exp(a) > 0)
    best = [list(row).index(max(row)) for row in (reference, candidate)]
    return kl, int(best[0] == best[1]), q[target], p[target]
