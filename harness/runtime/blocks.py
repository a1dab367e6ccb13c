"""One RWKV-4 block: time-mix, then channel-mix, over a chunk of tokens with carried state.

The same code serves one token (T = 1) and whole sequences. Knows nothing of files, strategies or
other blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from harness.runtime import ops
from harness.runtime.matrices import Matrix
from harness.runtime.state import LayerState
from harness.runtime.wkv import WkvState, wkv_one, wkv_sequence


@dataclass(frozen=True, kw_only=True)
class TimeMix:
    """Vectors [C] in the activations' dtype, decay and bonus in float32, matrices [C, C]."""

    ln_weight: torch.Tensor
    ln_bias: torch.Tensor
    mix_k: torch.Tensor
    mix_v: torch.Tensor
    mix_r: torch.Tensor
    decay: torch.Tensor  # w = -exp(time_decay)
    bonus: torch.Tensor  # u = time_first
    key: Matrix
    value: Matrix
    receptance: Matrix
    output: Matrix


@dataclass(frozen=True, kw_only=True)
class ChannelMix:
    """Vectors [C] in the activations' dtype; matrices [F, C], [C, C] and [C, F]."""

    ln_weight: torch.Tensor
    ln_bias: torch.Tensor
    mix_k: torch.Tensor
    mix_r: torch.Tensor
    key: Matrix
    receptance: Matrix
    value: Matrix


@dataclass(frozen=True, kw_only=True)
class Block:
    """One layer's weights, and whether its activations are halved behind it."""

    att: TimeMix
    ffn: ChannelMix
    halve: bool

    def forward(self, x: torch.Tensor, state: LayerState) -> tuple[torch.Tensor, LayerState]:
        """x [B, T, C] -> the same shape, and the new state."""
        dx, att_x, wkv = time_mix(self.att, x, state.att_x, state.wkv)
        x = x + dx
        dx, ffn_x = channel_mix(self.ffn, x, state.ffn_x)
        x = x + dx
        if self.halve:
            x = x / 2
        return x, LayerState(att_x, wkv, ffn_x)


def time_mix(
    att: TimeMix, x: torch.Tensor, last: torch.Tensor, wkv_state: WkvState
) -> tuple[torch.Tensor, torch.Tensor, WkvState]:
    """The residual [B, T, C], the new last input [B, C] and the new WKV state."""
    xx = ops.layer_norm(x, att.ln_weight, att.ln_bias)
    previous = shift(xx, last)
    r = ops.sigmoid(att.receptance(ops.mix(xx, previous, att.mix_r)))
    k = att.key(ops.mix(xx, previous, att.mix_k)).float()
    v = att.value(ops.mix(xx, previous, att.mix_v)).float()
    if x.shape[1] == 1:
        out, wkv_state = wkv_one(att.decay, att.bonus, k[:, 0], v[:, 0], wkv_state)
        out = out[:, None]
    else:
        out, wkv_state = wkv_sequence(att.decay, att.bonus, k, v, wkv_state)
    return att.output(r * out.to(x.dtype)), xx[:, -1].clone(), wkv_state


def channel_mix(
    ffn: ChannelMix, x: torch.Tensor, last: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The residual [B, T, C] and the new last input [B, C]."""
    xx = ops.layer_norm(x, ffn.ln_weight, ffn.ln_bias)
    previous = shift(xx, last)
    r = ops.sigmoid(ffn.receptance(ops.mix(xx, previous, ffn.mix_r)))
    k = ops.squared_relu(ffn.key(ops.mix(xx, previous, ffn.mix_k)))
    return r * ffn.value(k), xx[:, -1].clone()


# The last input is cloned out of xx, which a state would otherwise keep alive for all T tokens.


def shift(xx: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Each position's predecessor: xx [B, T, C], last [B, C] -> [B, T, C]."""
    if xx.shape[1] == 1:
        return last[:, None]
    return torch.cat((last[:, None], xx[:, :-1]), dim=1)
