"""The WKV recurrence of RWKV-4's time-mix, in float32.

With decay w < 0 and bonus u per channel, and the state (aa, bb, pp) holding numerator and
denominator divided by exp(pp) (Peng et al., "RWKV: Reinventing RNNs for the Transformer Era",
2023, appendix on numerical stability):

    out_t = (e^pp aa + e^(u+k_t) v_t) / (e^pp bb + e^(u+k_t))
    e^pp' aa' = e^(w+pp) aa + e^(k_t) v_t          e^pp' bb' = e^(w+pp) bb + e^(k_t)

Any exponent pp near the largest term will do, because it cancels. Shapes: B batch, T tokens, C
channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

EMPTY_EXPONENT = -1e30  # pp of an empty state
_CHUNK = 128  # tokens whose exponents are made at once; bounds the workspace
_STRONGEST = -1e4  # decay beyond which exponents need not follow: exp of it is 0 many times over


class WkvState(NamedTuple):
    """Numerator, denominator and their common exponent, each float32 [B, C]."""

    aa: torch.Tensor
    bb: torch.Tensor
    pp: torch.Tensor


def wkv_one(
    w: torch.Tensor, u: torch.Tensor, k: torch.Tensor, v: torch.Tensor, state: WkvState
) -> tuple[torch.Tensor, WkvState]:
    """One token: w, u [C]; k, v [B, C] -> output [B, C] and the new state."""
    aa, bb, pp = state
    ahead = u + k
    p = torch.maximum(pp, ahead)
    old, new = torch.exp(pp - p), torch.exp(ahead - p)
    out = (old * aa + new * v) / (old * bb + new)
    decayed = w + pp
    p = torch.maximum(decayed, k)
    old, new = torch.exp(decayed - p), torch.exp(k - p)
    return out, WkvState(old * aa + new * v, old * bb + new, p)


def wkv_sequence(
    w: torch.Tensor, u: torch.Tensor, k: torch.Tensor, v: torch.Tensor, state: WkvState
) -> tuple[torch.Tensor, WkvState]:
    """T tokens: k, v [B, T, C] -> outputs [B, T, C] and the state after the last."""
    outputs = []
    for start in range(0, k.shape[1], _CHUNK):
        chunk = slice(start, start + _CHUNK)
        out, state = _wkv_chunk(w, u, k[:, chunk], v[:, chunk], state)
        outputs.append(out)
    return torch.cat(outputs, dim=1), state


def wkv_sequence_ref(
    w: torch.Tensor, u: torch.Tensor, k: torch.Tensor, v: torch.Tensor, state: WkvState
) -> tuple[torch.Tensor, WkvState]:
    """`wkv_sequence`, token by token: the slow, obvious twin."""
    outputs = []
    for k_t, v_t in zip(k.unbind(1), v.unbind(1), strict=True):
        out, state = wkv_one(w, u, k_t, v_t, state)
        outputs.append(out)
    return torch.stack(outputs, dim=1), state


def running_max(x: torch.Tensor) -> torch.Tensor:
    """The largest of x[:, :t + 1] at each t; x [B, T, C]."""
    if x.device.type == "mps":  # which has no cummax
        return running_max_doubling(x)
    return torch.cummax(x, dim=1).values


def running_max_doubling(x: torch.Tensor) -> torch.Tensor:
    """The same from maximum alone: spans of 1, 2, 4, … tokens, each from two of the last."""
    span = 1
    while span < x.shape[1]:
        x = torch.cat((x[:, :span], torch.maximum(x[:, span:], x[:, :-span])), dim=1)
        span *= 2
    return x


def _wkv_chunk(
    w: torch.Tensor, u: torch.Tensor, k: torch.Tensor, v: torch.Tensor, state: WkvState
) -> tuple[torch.Tensor, WkvState]:
    """A chunk: all exponents at once, so that a token's serial part is one multiply-add.

    The exponent before token t is the largest of pp + t·w and k_i + (t-1-i)·w for i < t, which is
    t·w + max(pp, the running maximum of k_i - (i+1)·w). Rounding in it is harmless: the weights
    below are made from the exponents as they came out, so that whatever they are cancels. A decay
    so strong that t·w would leave k no digits is bounded there (and only there).
    """
    n_tokens = k.shape[1]
    steps = torch.arange(1, n_tokens + 1, dtype=k.dtype, device=k.device)[:, None]  # [T, 1]
    drift = steps * w.clamp(min=_STRONGEST)  # [T, C]
    highest = running_max(k - drift)
    after = drift + torch.maximum(state.pp[:, None], highest)  # exponent after each token
    before = torch.cat((state.pp[:, None], after[:, :-1]), dim=1)
    keep = torch.exp(w + before - after)
    gain = torch.exp(k - after)
    # numerator and denominator side by side: [2, B, T, C]
    terms = torch.stack((gain * v, gain))
    sums = torch.empty_like(terms)
    running = torch.stack((state.aa, state.bb))
    for t in range(n_tokens):
        sums[:, :, t] = running
        running = torch.addcmul(terms[:, :, t], keep[:, t], running)
    ahead = u + k
    p = torch.maximum(before, ahead)
    old, new = torch.exp(before - p), torch.exp(ahead - p)
    out = (old * sums[0] + new * v) / (old * sums[1] + new)
    # cloned, because a view would keep the exponents of the whole chunk alive
    return out, WkvState(running[0], running[1], after[:, -1].clone())
