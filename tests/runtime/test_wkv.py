"""The chunked WKV against its token-by-token twin, through carried state."""

import pytest
import torch

from harness.runtime.wkv import (
    EMPTY_EXPONENT,
    WkvState,
    running_max_doubling,
    wkv_one,
    wkv_sequence,
    wkv_sequence_ref,
)

B, C = 2, 24


def inputs(n_tokens, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    k, v = (torch.randn(B, n_tokens, C, generator=generator) * scale for _ in range(2))
    w = -torch.exp(torch.linspace(-6, 3, C))
    u = torch.randn(C, generator=generator)
    return w, u, k, v


def empty():
    zeros = torch.zeros(B, C)
    return WkvState(zeros, zeros, torch.full_like(zeros, EMPTY_EXPONENT))


def value(state):
    """What a state means: numerator over denominator, and the denominator's logarithm."""
    return state.aa / state.bb, state.bb.log() + state.pp


@pytest.mark.parametrize("n_tokens", [1, 2, 127, 128, 129, 300])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_chunks_equal_tokens(n_tokens, scale):
    w, u, k, v = inputs(n_tokens, scale)
    out, state = wkv_sequence(w, u, k, v, empty())
    expected, expected_state = wkv_sequence_ref(w, u, k, v, empty())
    torch.testing.assert_close(out, expected, rtol=2e-5, atol=2e-5 * scale)
    for got, want in zip(value(state), value(expected_state), strict=True):
        torch.testing.assert_close(got, want, rtol=2e-5, atol=2e-4 * scale)


def test_a_sequence_goes_on_where_another_ended():
    w, u, k, v = inputs(150)
    whole, _ = wkv_sequence(w, u, k, v, empty())
    first, state = wkv_sequence(w, u, k[:, :70], v[:, :70], empty())
    second, state = wkv_sequence(w, u, k[:, 70:149], v[:, 70:149], state)
    last, _ = wkv_one(w, u, k[:, 149], v[:, 149], state)
    joined = torch.cat((first, second, last[:, None]), dim=1)
    torch.testing.assert_close(joined, whole, rtol=1e-5, atol=1e-5)


def test_the_first_output_is_the_first_value():
    w, u, k, v = inputs(1)
    out, _ = wkv_sequence(w, u, k - 200.0, v, empty())  # far below what exp(k) can hold
    torch.testing.assert_close(out, v)


def test_decay_forgets():
    _, u, k, v = inputs(2)
    slow = wkv_sequence(torch.full((C,), -1e-6), u, k, v, empty())[0][:, 1]
    fast = wkv_sequence(torch.full((C,), -50.0), u, k, v, empty())[0][:, 1]
    later = wkv_sequence(
        torch.full((C,), -50.0),
        u,
        torch.cat((k, k[:, :1]), 1),
        torch.cat((v, v[:, :1]), 1),
        empty(),
    )[0][:, 2]
    torch.testing.assert_close(slow, fast)  # the last token has not aged yet
    share = torch.sigmoid(u + k[:, 0] - k[:, 1])
    torch.testing.assert_close(later, (1 - share) * v[:, 1] + share * v[:, 0])


@pytest.mark.parametrize("scale", [10.0, 100.0])
@pytest.mark.parametrize("decay", [-1e2, -3e3, -1e5, -1e8])
def test_decays_that_forget_at_once_stay_finite(decay, scale):
    _, u, k, v = inputs(300, scale)
    w = torch.full((C,), decay)
    out, _ = wkv_sequence(w, u, k, v, empty())
    expected, _ = wkv_sequence_ref(w, u, k, v, empty())
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)


def test_states_are_values():
    w, u, k, v = inputs(5)
    state = wkv_sequence(w, u, k, v, empty())[1]
    kept = WkvState(*(t.clone() for t in state))
    wkv_sequence(w, u, k, v, state)
    wkv_one(w, u, k[:, 0], v[:, 0], state)
    assert all(torch.equal(a, b) for a, b in zip(state, kept, strict=True))


@pytest.mark.parametrize("n_tokens", [1, 2, 3, 8, 127, 128])
def test_the_running_maximum_without_cummax_is_the_same(n_tokens):
    x = torch.randn(2, n_tokens, 5, generator=torch.Generator().manual_seed(n_tokens))
    assert torch.equal(running_max_doubling(x), torch.cummax(x, dim=1).values)
