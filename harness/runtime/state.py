"""The state of an RWKV-4 model: a value, batch first.

Feeding tokens returns a new state; nothing a caller holds is written to, so that a state can be
kept, shared and continued in two ways. Dimension letters, used throughout `runtime`: B batch,
T tokens, C channels (n_embd), F ffn width, V vocabulary, L layers.

A state belongs to the weights, not to the strategy: `like` and `StateForm.adopt` carry it from one
strategy to another. It is what comes behind LayerNorms and the key and value products, and so is
the same whether activations are halved on the way (the rescaling of fp16) or not, but for the
LayerNorm's epsilon, which weighs four times as much behind each halving; beyond that only the
rounding of `att_x` and `ffn_x` to another dtype is lost. Files are `state_files.py`'s matter, the
layouts of other implementations `state_layouts.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch

from harness.errors import BadInput
from harness.runtime.wkv import EMPTY_EXPONENT, WkvState

TENSORS = ("att_x", "aa", "bb", "pp", "ffn_x")  # of a layer, in the order of its fields


class LayerState(NamedTuple):
    """What one block remembers, on the block's device."""

    att_x: torch.Tensor  # [B, C] in the activations' dtype: the last input of time-mix
    wkv: WkvState  # three times [B, C], float32
    ffn_x: torch.Tensor  # [B, C] in the activations' dtype: the last input of channel-mix

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The five tensors that `TENSORS` names."""
        return (self.att_x, *self.wkv, self.ffn_x)

    @staticmethod
    def of(tensors: Iterable[torch.Tensor]) -> LayerState:
        """The layer of five such tensors."""
        att_x, aa, bb, pp, ffn_x = tensors
        return LayerState(att_x, WkvState(aa, bb, pp), ffn_x)


class State(NamedTuple):
    """One `LayerState` per block."""

    layers: tuple[LayerState, ...]

    @property
    def batch(self) -> int:
        """Rows."""
        return int(self.layers[0].att_x.shape[0])

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(t.numel() * t.element_size() for layer in self.layers for t in layer.tensors())

    def fork(self) -> State:
        """A deep copy: not even an in-place operation on its tensors reaches this state."""
        return self.map(torch.clone)

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> State:
        """The state of all tensors, each changed."""
        return State(tuple(LayerState.of(map(change, layer.tensors())) for layer in self.layers))

    def rows(self, rows: int | Sequence[int]) -> State:
        """A copy of one row, or of several in the order given; a row may be taken twice.

        Raises `BadInput` for a row that is not there.
        """
        wanted = [rows] if isinstance(rows, int) else list(rows)
        if not wanted or not all(0 <= row < self.batch for row in wanted):
            raise BadInput(
                f"rows {wanted} of a state of {self.batch}; allowed are one or more of "
                f"0..{self.batch - 1}"
            )
        return self.map(lambda tensor: tensor[wanted])

    @staticmethod
    def stack(states: Sequence[State]) -> State:
        """The rows of all states in one; a copy.

        Raises `BadInput` for states of another model or strategy than the first one's.
        """
        if not states:
            raise BadInput("no states to stack; give one or more")
        form = StateForm.of(states[0])
        for state in states[1:]:
            form.check(state, state.batch)
        layers = []
        for blocks in zip(*(state.layers for state in states), strict=True):
            tensors = zip(*(layer.tensors() for layer in blocks), strict=True)
            layers.append(LayerState.of(map(torch.cat, tensors)))
        return State(tuple(layers))

    def like(self, other: State) -> State:
        """A copy in the dtypes and on the devices of `other`, a state of the same model.

        Raises `BadInput` where the models differ.
        """
        return StateForm.of(other).adopt(self)


def empty_layer(batch: int, n_embd: int, dtype: torch.dtype, device: torch.device) -> LayerState:
    """The state of a block that has seen nothing."""

    def filled(value: float, dtype: torch.dtype) -> torch.Tensor:
        return torch.full((batch, n_embd), value, dtype=dtype, device=device)

    wkv = WkvState(
        filled(0, torch.float32), filled(0, torch.float32), filled(EMPTY_EXPONENT, torch.float32)
    )
    return LayerState(filled(0, dtype), wkv, filled(0, dtype))


class StateForm:
    """What the states of a model under a strategy look like: the same for any number of rows."""

    def __init__(
        self, n_embd: int, dtypes: Sequence[torch.dtype], devices: Sequence[torch.device]
    ) -> None:
        """`dtypes` of the activations and `devices`, one per block."""
        self.n_embd = n_embd
        # "cuda" becomes the "cuda:0" that tensors on it report
        devices = [torch.empty(0, device=device).device for device in devices]
        self._blocks = list(zip(dtypes, devices, strict=True))
        # of all tensors in a row, as `check` compares them
        float32 = torch.float32
        self._dtypes = [d for dtype in dtypes for d in (dtype, float32, float32, float32, dtype)]
        self._devices = [device for device in devices for _ in TENSORS]

    @classmethod
    def of(cls, state: State) -> StateForm:
        """The form of a given state."""
        first = [layer.att_x for layer in state.layers]
        return cls(first[0].shape[-1], [x.dtype for x in first], [x.device for x in first])

    def empty(self, batch: int) -> State:
        """A state that has seen nothing."""
        return State(tuple(empty_layer(batch, self.n_embd, *block) for block in self._blocks))

    def adopt(self, state: State) -> State:
        """A copy of a state of the same model, made under whatever strategy, in this form.

        Raises `BadInput` for a state of another number of layers or channels.
        """
        self._check_layers(state)
        layers = []
        for index, (layer, (dtype, device)) in enumerate(
            zip(state.layers, self._blocks, strict=True)
        ):
            for name, tensor in zip(TENSORS, layer.tensors(), strict=True):
                if tensor.shape != (state.batch, self.n_embd):
                    raise BadInput(self._of_another_model(index, name, tensor, state.batch))
            att_x, wkv, ffn_x = layer
            layers.append(
                LayerState(
                    att_x.to(device, dtype, copy=True),
                    WkvState(*(t.to(device, torch.float32, copy=True) for t in wkv)),
                    ffn_x.to(device, dtype, copy=True),
                )
            )
        return State(tuple(layers))

    def check(self, state: State, batch: int) -> None:
        """Raise `BadInput` unless `state` has this form and `batch` rows.

        Runs at each call of a model: three lists are compared, and words are made only on failure.
        """
        self._check_layers(state)
        tensors: list[torch.Tensor] = []
        for att_x, wkv, ffn_x in state.layers:
            tensors += (att_x, *wkv, ffn_x)
        if (
            [t.shape for t in tensors] != [(batch, self.n_embd)] * len(self._dtypes)
            or [t.dtype for t in tensors] != self._dtypes
            or [t.device for t in tensors] != self._devices
        ):
            self._explain(tensors, batch)

    def _check_layers(self, state: State) -> None:
        if not isinstance(state, State):
            raise BadInput(
                f"the state is a {type(state).__name__}. `from_layout` of harness.runtime makes a "
                "State of another implementation's."
            )
        if len(state.layers) != len(self._blocks):
            raise BadInput(
                f"the state has {len(state.layers)} layers, this model {len(self._blocks)}: "
                "continue it with the model that made it"
            )

    def _explain(self, tensors: Sequence[torch.Tensor], batch: int) -> None:
        """Raise for the first tensor that does not fit."""
        for i, (tensor, dtype, device) in enumerate(
            zip(tensors, self._dtypes, self._devices, strict=True)
        ):
            index, name = i // len(TENSORS), TENSORS[i % len(TENSORS)]
            if tensor.dim() != 2 or tensor.shape[1] != self.n_embd:
                raise BadInput(self._of_another_model(index, name, tensor, batch))
            if tensor.shape[0] != batch:
                raise BadInput(
                    f"layer {index} of the state has {tensor.shape[0]} rows in {name}; {batch} "
                    "rows of tokens need as many. state.rows() takes rows out, State.stack() "
                    "joins states."
                )
            if (tensor.dtype, tensor.device) != (dtype, device):
                raise BadInput(
                    f"layer {index} of the state has {name} in {tensor.dtype} on {tensor.device}, "
                    f"and this model keeps it in {dtype} on {device}: the state is of another "
                    "strategy. model.adopt(state) converts it."
                )

    def _of_another_model(self, index: int, name: str, tensor: torch.Tensor, batch: int) -> str:
        return (
            f"layer {index} of the state has {name} {list(tensor.shape)}, and this model needs "
            f"[{batch}, {self.n_embd}]: continue it with the model that made it"
        )
