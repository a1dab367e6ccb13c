"""A loaded RWKV-4 model and its forward pass.

    model = load_model("RWKV-4-….pth", "cpu fp32i8 *3 -> cpu fp32")
    logits, state = model.forward([510, 1563])
    logits, state = model.forward([247], state)

Knows tokens as numbers; knows nothing of text, sampling or benchmarks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from harness.errors import BadInput
from harness.runtime import ops
from harness.runtime.blocks import Block
from harness.runtime.checkpoint import read_header
from harness.runtime.devices import require_devices
from harness.runtime.dtypes import NAMES, TORCH_DTYPES
from harness.runtime.effective import EffectiveSlot
from harness.runtime.matrices import Matrix
from harness.runtime.shape import ModelShape
from harness.runtime.state import State, empty_layer
from harness.runtime.strategy import LayerPlan, canonical, rescale_layer, resolve, warnings
from harness.runtime.synthetic import RandomSource, parse_random
from harness.runtime.tensors import FileSource, TensorSource
from harness.runtime.weights import Fold, StreamedMatrix, Weights, load_weights

FOLDS = ("float32", "file")


def load_model(
    weights: str | Path, strategy: str, *, fold: Fold = "float32", seed: int = 0
) -> Model:
    """Load a checkpoint, or `random:SIZE`, under a strategy.

    `fold` is the dtype in which ln0 is folded into the embedding: "float32", or "file" for the
    file's own, as the official package does. `seed` is that of random weights.

    Raises `StrategyError`, `CheckpointError`, `Unsupported` (a device that is not here) or
    `BadInput`.
    """
    if fold not in FOLDS:
        raise BadInput(f"fold is '{fold}'; allowed are {' and '.join(FOLDS)}")
    source: TensorSource
    random_shape = parse_random(str(weights))
    if random_shape is not None:
        source = RandomSource(random_shape, seed)
    else:
        source = FileSource(read_header(weights))
    try:
        plans = resolve(strategy, source.shape.n_layer)
        require_devices(plans)
        with torch.no_grad():
            loaded = load_weights(source, plans, rescale=rescale_layer(strategy), fold=fold)
    finally:
        source.close()
    return Model(source.shape, canonical(strategy), plans, loaded)


class Model:
    """A placed model. Make one with `load_model`."""

    def __init__(
        self, shape: ModelShape, strategy: str, plans: tuple[LayerPlan, ...], weights: Weights
    ) -> None:
        self.shape = shape
        self.strategy = strategy
        self.plans = plans
        self.weights = weights
        self._devices = tuple(torch.device(plan.device) for plan in plans)
        self._dtypes = tuple(TORCH_DTYPES[plan.dtype] for plan in plans)

    def forward(
        self,
        tokens: Sequence[int] | Sequence[Sequence[int]],
        state: State | None = None,
        *,
        full_output: bool = False,
    ) -> tuple[torch.Tensor, State]:
        """Feed tokens and return float32 logits with the state behind them.

        tokens [T] gives logits [V], or [T, V] with `full_output`; rows of equal length [B][T] give
        [B, V] or [B, T, V]. `state` is None for an empty one, and is never written to. Logits lie
        on the last slot's device. Raises `BadInput` for an empty, ragged or out-of-range input, or
        a state of another batch or model.
        """
        ids, is_batch = self._ids(tokens)
        with torch.no_grad():
            logits, state = self.forward_ids(ids, state, full_output=full_output)
        return (logits if is_batch else logits[0]), state

    def forward_ids(
        self, ids: torch.Tensor, state: State | None, *, full_output: bool = False
    ) -> tuple[torch.Tensor, State]:
        """The same for checked int64 ids [B, T] on the CPU: logits [B, V] or [B, T, V]."""
        state = self._checked_state(ids.shape[0], state)
        x = self.weights.emb[ids]
        new_layers = []
        for block, layer, device, dtype in zip(
            self.weights.blocks, state.layers, self._devices, self._dtypes, strict=False
        ):
            x = x.to(device=device, dtype=dtype)
            x, new_layer = block.forward(x, layer)
            new_layers.append(new_layer)
        if not full_output:
            x = x[:, -1]
        x = x.to(device=self._devices[-1], dtype=self._dtypes[-1])
        last = self.weights.head
        x = ops.layer_norm(x, last.ln_weight, last.ln_bias)
        return last.head(x).float(), State(tuple(new_layers))

    def empty_state(self, batch: int = 1) -> State:
        """The state before the first token."""
        return State(
            tuple(
                empty_layer(batch, self.shape.n_embd, dtype, device)
                for dtype, device in zip(self._dtypes[:-1], self._devices[:-1], strict=True)
            )
        )

    def effective_plan(self) -> tuple[EffectiveSlot, ...]:
        """Per slot, the device, formats, bytes and kernels that the loaded tensors show."""
        slots = [_effective_block(i, block) for i, block in enumerate(self.weights.blocks)]
        last = self.weights.head
        slots.append(
            _effective_slot(
                len(slots), [last.ln_weight, last.ln_bias], {"head": last.head}, others={}
            )
        )
        return tuple(slots)

    def weight_bytes(self) -> dict[str, int]:
        """Bytes of weights per device, as measured on the loaded tensors; the host is `cpu`."""
        total: Counter[str] = Counter()
        total["cpu"] += _nbytes(self.weights.emb)
        for block in self.weights.blocks:
            vectors, matrices = _parts(block)
            for vector in vectors:
                total[str(vector.device)] += _nbytes(vector)
            for matrix in matrices.values():
                total[str(matrix.weight.device)] += matrix.nbytes
        last = self.weights.head
        total[str(last.head.weight.device)] += (
            last.head.nbytes + _nbytes(last.ln_weight) + _nbytes(last.ln_bias)
        )
        return dict(total)

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
        if len(state.layers) != self.shape.n_layer:
            raise BadInput(
                f"the state has {len(state.layers)} layers, this model {self.shape.n_layer}"
            )
        if state.layers[0].att_x.dtype != self._dtypes[0]:
            raise BadInput(
                f"the state is of another strategy: {state.layers[0].att_x.dtype}, and this model "
                f"begins in {self._dtypes[0]}"
            )
        if tuple(state.layers[0].att_x.shape) != (batch, self.shape.n_embd):
            raise BadInput(
                f"the state is {list(state.layers[0].att_x.shape)} per layer; {batch} rows of "
                f"tokens need [{batch}, {self.shape.n_embd}]"
            )
        return state


def _parts(block: Block) -> tuple[list[torch.Tensor], dict[str, Matrix]]:
    """A block's vectors, and its matrices by name."""
    vectors = []
    matrices: dict[str, Matrix] = {}
    for part, mix in (("att", block.att), ("ffn", block.ffn)):
        for name, value in vars(mix).items():
            if isinstance(value, torch.Tensor):
                vectors.append(value)
            else:
                matrices[f"{part}.{name}"] = value
    return vectors, matrices


def _effective_block(index: int, block: Block) -> EffectiveSlot:
    vectors, matrices = _parts(block)
    x = block.att.ln_weight
    others = {"wkv": "torch float32", "norms and mixing": ops.arithmetic(x.dtype, x.device)}
    return _effective_slot(index, vectors, matrices, others)


def _effective_slot(
    index: int, vectors: list[torch.Tensor], matrices: dict[str, Matrix], others: dict[str, str]
) -> EffectiveSlot:
    x = vectors[0]
    formats = sorted({matrix.weight_dtype for matrix in matrices.values()})
    return EffectiveSlot(
        slot=index,
        device=str(x.device),
        dtype=NAMES[x.dtype],
        weight_dtype="+".join(formats),
        streamed=any(isinstance(matrix, StreamedMatrix) for matrix in matrices.values()),
        bytes=sum(map(_nbytes, vectors)) + sum(matrix.nbytes for matrix in matrices.values()),
        kernels={name: matrix.kernel(x.dtype) for name, matrix in matrices.items()} | others,
    )


def _nbytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
