"""RWKV-4 as a differentiable module, for training small models on a CPU.

Knows the formulas and the official initialisation and key layout; knows nothing of corpora,
tokenizers or schedules. Inference never uses it: `harness.runtime.model` does that, and a test
holds the two equal.

Shapes: B batch, T tokens, C channels (n_embd), F = 4·C, V vocabulary, L layers.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

MINUS_INFINITY = -1e30  # the exponent of an empty state (finite, so that differences stay finite)


class TrainableRwkv4(nn.Module):
    """RWKV-4 with the parameter names of an original checkpoint: `state_dict()` is one."""

    def __init__(self, *, n_vocab: int, n_embd: int, n_layer: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(n_vocab, n_embd)
        self.blocks = nn.ModuleList(_Block(i, n_layer, n_embd) for i in range(n_layer))
        self.ln_out = nn.LayerNorm(n_embd)
        self.head = nn.Linear(n_embd, n_vocab, bias=False)
        nn.init.uniform_(self.emb.weight, -0.05, 0.05)
        nn.init.normal_(self.head.weight, std=0.5 / math.sqrt(n_embd))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits [B, T, V] of token ids [B, T], every row from an empty state."""
        x = self.emb(ids)
        for block in self.blocks:
            x = block(x)
        logits: torch.Tensor = self.head(self.ln_out(x))
        return logits


class _Block(nn.Module):
    def __init__(self, index: int, n_layer: int, n_embd: int) -> None:
        super().__init__()
        if index == 0:
            self.ln0 = nn.LayerNorm(n_embd)
        self.ln1 = nn.LayerNorm(n_embd)
        self.ln2 = nn.LayerNorm(n_embd)
        self.att = _TimeMix(index, n_layer, n_embd)
        self.ffn = _ChannelMix(index, n_layer, n_embd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if hasattr(self, "ln0"):
            x = self.ln0(x)
        x = x + self.att(self.ln1(x))
        y: torch.Tensor = x + self.ffn(self.ln2(x))
        return y


class _TimeMix(nn.Module):
    def __init__(self, index: int, n_layer: int, n_embd: int) -> None:
        super().__init__()
        depth = index / max(n_layer - 1, 1)  # 0 at the first layer, 1 at the last
        channel = torch.arange(n_embd) / max(n_embd - 1, 1)
        zigzag = ((torch.arange(n_embd) + 1) % 3 - 1) * 0.5
        self.time_decay = nn.Parameter(-5 + 8 * channel ** (0.7 + 1.3 * depth))
        self.time_first = nn.Parameter(math.log(0.3) + zigzag)
        mix = _initial_mix(index, n_layer, n_embd)
        self.time_mix_k = nn.Parameter(mix.clone())
        self.time_mix_v = nn.Parameter(mix + 0.3 * depth)
        self.time_mix_r = nn.Parameter(mix**0.5)
        self.key = _linear(n_embd, n_embd)
        self.value = _linear(n_embd, n_embd)
        self.receptance = _linear(n_embd, n_embd)
        self.output = _linear(n_embd, n_embd, zero=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        previous = _shift(x)
        k = self.key(torch.lerp(previous, x, self.time_mix_k))
        v = self.value(torch.lerp(previous, x, self.time_mix_v))
        r = torch.sigmoid(self.receptance(torch.lerp(previous, x, self.time_mix_r)))
        wkv = _wkv(-torch.exp(self.time_decay), self.time_first, k, v)
        y: torch.Tensor = self.output(r * wkv)
        return y


class _ChannelMix(nn.Module):
    def __init__(self, index: int, n_layer: int, n_embd: int) -> None:
        super().__init__()
        mix = _initial_mix(index, n_layer, n_embd)
        self.time_mix_k = nn.Parameter(mix.clone())
        self.time_mix_r = nn.Parameter(mix.clone())
        self.key = _linear(n_embd, 4 * n_embd)
        self.receptance = _linear(n_embd, n_embd, zero=True)
        self.value = _linear(4 * n_embd, n_embd, zero=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        previous = _shift(x)
        k = torch.relu(self.key(torch.lerp(previous, x, self.time_mix_k))) ** 2
        r = torch.sigmoid(self.receptance(torch.lerp(previous, x, self.time_mix_r)))
        y: torch.Tensor = r * self.value(k)
        return y


def _wkv(w: torch.Tensor, u: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The WKV recurrence, token by token: k, v [B, T, C]; w (negative), u [C] -> [B, T, C].

    The running exponent only stabilises: it cancels exactly, so no gradient flows through it.
    """
    a = torch.zeros_like(k[:, 0])
    b = torch.zeros_like(a)
    exponent = torch.full_like(a, MINUS_INFINITY)
    outputs = []
    for k_t, v_t in zip(k.unbind(1), v.unbind(1), strict=True):
        ahead = u + k_t
        p = torch.maximum(exponent, ahead).detach()
        old, new = torch.exp(exponent - p), torch.exp(ahead - p)
        outputs.append((old * a + new * v_t) / (old * b + new))
        decayed = w + exponent
        p = torch.maximum(decayed, k_t).detach()
        old, new = torch.exp(decayed - p), torch.exp(k_t - p)
        a = old * a + new * v_t
        b = old * b + new
        exponent = p
    return torch.stack(outputs, dim=1)


def _shift(x: torch.Tensor) -> torch.Tensor:
    """Each position gets its predecessor, the first gets zeros: [B, T, C] -> [B, T, C]."""
    return functional.pad(x, (0, 0, 1, -1))


def _initial_mix(index: int, n_layer: int, n_embd: int) -> torch.Tensor:
    """Token-shift weights at the start of training: deeper layers look less at the past."""
    ramp: torch.Tensor = torch.arange(n_embd) / n_embd
    return (ramp ** (1 - index / n_layer)).reshape(1, 1, n_embd)


def _linear(n_in: int, n_out: int, *, zero: bool = False) -> nn.Linear:
    layer = nn.Linear(n_in, n_out, bias=False)
    if zero:
        nn.init.zeros_(layer.weight)
    else:
        nn.init.normal_(layer.weight, std=1 / math.sqrt(n_in))
    return layer
