"""A loaded RWKV-4 model and its forward pass.

    model = load_model("RWKV-4-….pth", "cpu fp32i8 *3 -> cpu fp32")
    logits, state = model.forward([510, 1563])
    logits, state = model.forward([247], state)

Knows tokens as numbers; knows nothing of text, sampling or benchmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from harness.errors import BadInput
from harness.runtime.allocator import returning_memory
from harness.runtime.devices import HOST, DeviceMap
from harness.runtime.dtypes import TORCH_DTYPES
from harness.runtime.effective import EffectiveSlot
from harness.runtime.inspection import effective_plan, locked_bytes, weight_bytes
from harness.runtime.shape import ModelShape
from harness.runtime.state import State, StateForm
from harness.runtime.stored import FOLDS, Fold
from harness.runtime.strategy import LayerPlan, canonical, rescale_layer, resolve, warnings
from harness.runtime.streaming import StreamedBlock
from harness.runtime.transform import open_stored
from harness.runtime.weights import Weights, load_weights

PREFILL_CHUNK = 256  # tokens fed at once: bounds the activations, and is where BLAS is fast already


def load_model(
    weights: str | Path,
    strategy: str,
    *,
    fold: Fold = "float32",
    seed: int = 0,
    devices: DeviceMap | None = None,
) -> Model:
    """Load a checkpoint, original or converted, or `random:SIZE`, under a strategy.

    `fold` is the dtype in which ln0 is folded into the embedding: "float32", or "file" for the
    file's own, as the official package does; a converted file is folded already. `seed` is that of
    random weights. `devices` stand for the device names of the strategy; by default, this
    machine's.

    Raises `StrategyError`, `CheckpointError` (also for a file converted to another plan),
    `Unsupported` (a device that is not here) or `BadInput`.
    """
    if fold not in FOLDS:
        raise BadInput(f"fold is '{fold}'; allowed are {' and '.join(FOLDS)}")
    devices = DeviceMap() if devices is None else devices
    stored = open_stored(weights, strategy, fold=fold, seed=seed)
    try:
        plans = resolve(strategy, stored.shape.n_layer)
        devices.require(plans)
        with torch.no_grad(), returning_memory():
            loaded = load_weights(stored, plans, devices, rescale=rescale_layer(strategy))
    finally:
        stored.close()
    return Model(stored.shape, canonical(strategy), plans, loaded, devices)


class Model:
    """A placed model. Make one with `load_model`."""

    def __init__(
        self,
        shape: ModelShape,
        strategy: str,
        plans: tuple[LayerPlan, ...],
        weights: Weights,
        devices: DeviceMap,
    ) -> None:
        self.shape = shape
        self.strategy = strategy
        self.plans = plans
        self.weights = weights
        self._map = devices
        self._devices = tuple(devices[plan.device] for plan in plans)
        self._dtypes = tuple(TORCH_DTYPES[plan.dtype] for plan in plans)
        self._embedding = replace(plans[0], device=HOST)  # where it lies, and in what
        self._form = StateForm(shape.n_embd, self._dtypes[:-1], self._devices[:-1])

    def forward(
        self,
        tokens: Sequence[int] | Sequence[Sequence[int]],
        state: State | None = None,
        *,
        full_output: bool = False,
        chunk_tokens: int = PREFILL_CHUNK,
    ) -> tuple[torch.Tensor, State]:
        """Feed tokens and return float32 logits with the state behind them.

        tokens [T] gives logits [V], or [T, V] with `full_output`; rows of equal length [B][T] give
        [B, V] or [B, T, V]. `state` is None for an empty one, and is never written to. Logits lie
        on the last slot's device. More than `chunk_tokens` tokens are fed in chunks of so many,
        which bounds memory and changes nothing else. Raises `BadInput` for an empty, ragged or
        out-of-range input, or a state of another batch or model.
        """
        if chunk_tokens < 1:
            raise BadInput(f"chunk_tokens is {chunk_tokens}; it must be 1 or more")
        ids, is_batch = self._ids(tokens)
        with torch.no_grad():
            logits, state = self._forward_chunks(ids, state, chunk_tokens, full_output=full_output)
        return (logits if is_batch else logits[0]), state

    def _forward_chunks(
        self, ids: torch.Tensor, state: State | None, size: int, *, full_output: bool
    ) -> tuple[torch.Tensor, State]:
        """Chunk by chunk; only the last one needs logits, unless all are wanted."""
        state = self._checked_state(ids.shape[0], state)
        outputs = []
        for chunk in ids.split(size, dim=1):  # type: ignore[no-untyped-call]
            x, state = self._blocks(chunk, state)
            if full_output:
                outputs.append(self._head(x))
        if full_output:
            return torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0], state
        return self._head(x[:, -1]), state

    def _blocks(self, ids: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """ids [B, T] through the embedding and all blocks: x [B, T, C] and the new state."""
        x = self.weights.emb[ids]
        new_layers = []
        before = self._embedding
        for i, (block, layer) in enumerate(zip(self.weights.blocks, state.layers, strict=True)):
            x = self._map.move(x, before, self.plans[i], i)
            before = self.plans[i]
            if isinstance(block, StreamedBlock):
                with block.ready() as on_device:
                    x, new_layer = on_device.forward(x, layer)
            else:
                x, new_layer = block.forward(x, layer)
            new_layers.append(new_layer)
        return self._map.move(x, before, self.plans[-1], len(new_layers)), State(tuple(new_layers))

    def _head(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., C] -> float32 logits [..., V]."""
        return self.weights.head.logits(x)

    def empty_state(self, batch: int = 1) -> State:
        """The state before the first token."""
        return self._form.empty(batch)

    def adopt(self, state: State) -> State:
        """A copy of a state as this model keeps it: of another strategy, a file or a converter.

        It must be of the same weights. Raises `BadInput` for another number of layers or channels.
        """
        return self._form.adopt(state)

    def effective_plan(self) -> tuple[EffectiveSlot, ...]:
        """Per slot, the device, formats, bytes and kernels that the loaded tensors show."""
        return effective_plan(self.weights, self.plans)

    def weight_bytes(self) -> dict[str, int]:
        """Bytes of weights per device, as measured on the loaded tensors; the host is `cpu`.

        The device buffers of streamed slots are workspace and do not count.
        """
        return weight_bytes(self.weights)

    def locked_bytes(self) -> int:
        """Host memory that is page-locked for streamed slots; 0 where none could be locked."""
        return locked_bytes(self.weights)

    def plan_warnings(self) -> tuple[str, ...]:
        """What the user may not expect of the plan: stages cut, dropped or stretched."""
        return warnings(self.strategy, self.shape.n_layer)

    def _ids(self, tokens: Any) -> tuple[torch.Tensor, bool]:
        """Checked ids [B, T], and whether the input had rows."""
        try:
            ids = torch.as_tensor(tokens)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise BadInput(f"tokens must be ids, or rows of ids of one length: {error}") from error
        if ids.numel() == 0 or ids.dim() not in (1, 2):
            raise BadInput(
                f"tokens have shape {list(ids.shape)}; allowed are [T] and [B, T], not empty"
            )
        if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
            raise BadInput(f"tokens are {ids.dtype}; ids are whole numbers")
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= self.shape.n_vocab:
            wrong = low if low < 0 else high
            raise BadInput(
                f"token {wrong} is outside the vocabulary 0..{self.shape.n_vocab - 1}. "
                "A tokenizer of another model?"
            )
        is_batch = ids.dim() == 2
        return ids.to(device="cpu", dtype=torch.int64).reshape(-1, ids.shape[-1]), is_batch

    def _checked_state(self, batch: int, state: State | None) -> State:
        if state is None:
            return self.empty_state(batch)
        self._form.check(state, batch)
        return state
