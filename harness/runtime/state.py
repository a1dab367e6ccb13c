"""The state of an RWKV-4 model: a value, batch first.

Feeding tokens returns a new state; nothing a caller holds is written to, so that a state can be
kept, shared and continued in two ways. Dimension letters, used throughout `runtime`: B batch,
T tokens, C channels (n_embd), F ffn width, V vocabulary, L layers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from harness.runtime.wkv import EMPTY_EXPONENT, WkvState


class LayerState(NamedTuple):
    """What one block remembers, on the block's device."""

    att_x: torch.Tensor  # [B, C] in the activations' dtype: the last input of time-mix
    wkv: WkvState  # three times [B, C], float32
    ffn_x: torch.Tensor  # [B, C] in the activations' dtype: the last input of channel-mix


class State(NamedTuple):
    """One `LayerState` per block."""

    layers: tuple[LayerState, ...]

    @property
    def batch(self) -> int:
        """Rows."""
        return int(self.layers[0].att_x.shape[0])


def empty_layer(batch: int, n_embd: int, dtype: torch.dtype, device: torch.device) -> LayerState:
    """The state of a block that has seen nothing."""

    def filled(value: float, dtype: torch.dtype) -> torch.Tensor:
        return torch.full((batch, n_embd), value, dtype=dtype, device=device)

    wkv = WkvState(
        filled(0, torch.float32), filled(0, torch.float32), filled(EMPTY_EXPONENT, torch.float32)
    )
    return LayerState(filled(0, dtype), wkv, filled(0, dtype))
