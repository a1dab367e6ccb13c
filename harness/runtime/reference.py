"""RWKV-4 in float64, token by token: the slow, obvious twin of `model.py`, and the truth in tests.

Written from the formulas (Peng et al. 2023) on the original, untransformed tensors: nothing is
folded, rescaled, transposed or quantised, and the WKV sums are those of the definition in
log-space, with no shared code but the checkpoint's names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from harness.runtime.wkv import EMPTY_EXPONENT

ReferenceState = dict[str, torch.Tensor]


class ReferenceModel:
    """One model in float64; holds all tensors, so it is for small models."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self._w = {name: t.double().squeeze() for name, t in tensors.items()}
        # squeeze() would also flatten matrices with a side of one; those keep their shape
        self._w |= {name: t.double() for name, t in tensors.items() if t.dim() == 2}
        self.n_layer = 1 + max(int(n.split(".")[1]) for n in self._w if n.startswith("blocks."))

    def forward(
        self, tokens: Sequence[int], state: ReferenceState | None = None
    ) -> tuple[torch.Tensor, ReferenceState]:
        """Logits [T, V] after each token, and the state after the last."""
        state = dict(state or {})
        logits = []
        for token in tokens:
            x = self._norm("blocks.0.ln0", self._w["emb.weight"][token])
            for i in range(self.n_layer):
                x = x + self._time_mix(f"blocks.{i}.", x, state)
                x = x + self._channel_mix(f"blocks.{i}.", x, state)
            logits.append(self._w["head.weight"] @ self._norm("ln_out", x))
        return torch.stack(logits), state

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        centred = x - x.mean()
        scale = torch.sqrt((centred**2).mean() + 1e-5)
        return centred / scale * self._w[f"{name}.weight"] + self._w[f"{name}.bias"]

    def _mixed(self, name: str, x: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
        mix = self._w[name].reshape(-1)
        return x * mix + previous * (1 - mix)

    def _time_mix(self, block: str, x: torch.Tensor, state: ReferenceState) -> torch.Tensor:
        w, att = self._w, f"{block}att."
        x = self._norm(f"{block}ln1", x)
        previous = state.get(att, torch.zeros_like(x))
        state[att] = x
        r = torch.sigmoid(
            w[f"{att}receptance.weight"] @ self._mixed(f"{att}time_mix_r", x, previous)
        )
        k = w[f"{att}key.weight"] @ self._mixed(f"{att}time_mix_k", x, previous)
        v = w[f"{att}value.weight"] @ self._mixed(f"{att}time_mix_v", x, previous)
        decay = -torch.exp(w[f"{att}time_decay"].reshape(-1))
        bonus = w[f"{att}time_first"].reshape(-1)
        # log of the sum of weights, and the weighted mean of values, of all tokens before this one
        log_sum = state.get(f"{att}log_sum", torch.full_like(x, EMPTY_EXPONENT))
        mean = state.get(f"{att}mean", torch.zeros_like(x))
        share = torch.sigmoid(bonus + k - log_sum)
        out = (1 - share) * mean + share * v
        aged = log_sum + decay
        share = torch.sigmoid(k - aged)
        state[f"{att}mean"] = (1 - share) * mean + share * v
        state[f"{att}log_sum"] = torch.logaddexp(aged, k)
        result: torch.Tensor = w[f"{att}output.weight"] @ (r * out)
        return result

    def _channel_mix(self, block: str, x: torch.Tensor, state: ReferenceState) -> torch.Tensor:
        w, ffn = self._w, f"{block}ffn."
        x = self._norm(f"{block}ln2", x)
        previous = state.get(ffn, torch.zeros_like(x))
        state[ffn] = x
        r = torch.sigmoid(
            w[f"{ffn}receptance.weight"] @ self._mixed(f"{ffn}time_mix_r", x, previous)
        )
        k = torch.relu(w[f"{ffn}key.weight"] @ self._mixed(f"{ffn}time_mix_k", x, previous)) ** 2
        result: torch.Tensor = r * (w[f"{ffn}value.weight"] @ k)
        return result
