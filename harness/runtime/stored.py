"""Which tensors a plan needs stored, whatever devices it names: the formats of a converted file.

Two strategies that need the same stored tensors can share one converted file: `cpu fp32i8 *20` and
`cpu fp32i8`, or `cuda fp16` and `cuda:0 fp16 -> cuda:1 fp16`. Knows names, formats and shapes; no
files, no torch.

Stored tensors bear the names of the original ones, ln0 excepted, which is folded into `emb.weight`.
An int8 matrix comes with four vectors: `<name>_mx`, `_rx` [out], `_my`, `_ry` [in] (`quantise.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from math import prod
from typing import Literal

from harness.runtime.shape import ModelShape
from harness.runtime.strategy import UINT8, rescale_layer, resolve
from harness.runtime.tensor_info import ITEM_BYTES

Fold = Literal["float32", "file"]
FOLDS: tuple[Fold, ...] = ("float32", "file")
Form = Literal["safetensors", "pth"]  # of a converted file: ours, and the official package's

BLOCK_VECTORS = (
    *("ln1.weight", "ln1.bias", "ln2.weight", "ln2.bias"),
    *("att.time_mix_k", "att.time_mix_v", "att.time_mix_r", "ffn.time_mix_k", "ffn.time_mix_r"),
)
WKV_VECTORS = ("att.time_decay", "att.time_first")  # always float32; decay as -exp(time_decay)
HEAD_VECTORS = ("ln_out.weight", "ln_out.bias")
RESCALED = ("att.output.weight", "ffn.value.weight")
SCALES = ("_mx", "_rx", "_my", "_ry")


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotFormat:
    """The formats of one slot."""

    dtype: str  # of vectors, and of the embedding in slot 0: fp32, fp16, bf16
    weight_dtype: str  # of matrices: the same, or uint8

    def __str__(self) -> str:
        return f"{self.dtype}{'i8' if self.weight_dtype == UINT8 else ''}"


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredPlan:
    """The formats of all slots, and what else is baked into the numbers."""

    slots: tuple[SlotFormat, ...]  # n_layer blocks, then ln_out and head
    rescale: int  # blocks between halvings; 0 where no stored number is divided
    fold: Fold  # the precision in which ln0 went into the embedding

    @property
    def key(self) -> str:
        """A text that is equal for plans that store equal tensors, and only for those."""
        runs = [(str(slot), len(list(same))) for slot, same in groupby(self.slots)]
        formats = " ".join(f"{name}*{count}" for name, count in runs)
        return f"1 {formats} rescale={self.rescale} fold={self.fold}"

    def divisor(self, name: str) -> int:
        """What a stored matrix is divided by, so that float16 does not overflow."""
        if not self.rescale or not name.endswith(RESCALED):
            return 1
        return 1 << (slot_of(name, len(self.slots) - 1) // self.rescale)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredTensor:
    """Format and shape of one stored tensor."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Its bytes."""
        return prod(self.shape) * ITEM_BYTES[self.dtype]


def stored_plan(strategy: str, n_layer: int, fold: Fold = "float32") -> StoredPlan:
    """What `strategy` needs stored of a model of `n_layer` blocks; raises `StrategyError`."""
    return StoredPlan(
        slots=tuple(
            SlotFormat(dtype=plan.dtype, weight_dtype=plan.weight_dtype)
            for plan in resolve(strategy, n_layer)
        ),
        rescale=effective_rescale(rescale_layer(strategy), n_layer),
        fold=fold,
    )


def effective_rescale(rescale: int, n_layer: int) -> int:
    """`rescale`, or 0 where it divides nothing that is stored: in the first `rescale` blocks."""
    return rescale if rescale < n_layer else 0


def stored_tensors(shape: ModelShape, plan: StoredPlan) -> dict[str, StoredTensor]:
    """Every stored tensor by name, in file order; matrices are [out, in]."""
    channels = (shape.n_embd,)
    tensors = {
        "emb.weight": StoredTensor(dtype=plan.slots[0].dtype, shape=(shape.n_vocab, shape.n_embd))
    }
    for i, slot in enumerate(plan.slots[:-1]):
        block = f"blocks.{i}."
        for name in BLOCK_VECTORS:
            tensors[block + name] = StoredTensor(dtype=slot.dtype, shape=channels)
        for name in WKV_VECTORS:
            tensors[block + name] = StoredTensor(dtype="fp32", shape=channels)
        for name, size in shape.matrices.items():
            tensors |= _matrix(block + name, size, slot)
    head = plan.slots[-1]
    for name in HEAD_VECTORS:
        tensors[name] = StoredTensor(dtype=head.dtype, shape=channels)
    return tensors | _matrix("head.weight", (shape.n_vocab, shape.n_embd), head)


def _matrix(name: str, size: tuple[int, int], slot: SlotFormat) -> dict[str, StoredTensor]:
    tensors = {name: StoredTensor(dtype=slot.weight_dtype, shape=size)}
    if slot.weight_dtype == UINT8:
        n_out, n_in = size
        for suffix, n in zip(SCALES, (n_out, n_out, n_in, n_in), strict=True):
            tensors[name + suffix] = StoredTensor(dtype=slot.dtype, shape=(n,))
    return tensors


def slot_of(name: str, n_layer: int) -> int:
    """The slot that a tensor belongs to; the embedding to the first, the head to the last."""
    if name.startswith("blocks."):
        return int(name.split(".", 2)[1])
    return 0 if name.startswith("emb.") else n_layer


def differences(have: StoredPlan, want: StoredPlan) -> tuple[str, ...]:
    """In words, per run of slots, where stored tensors of one model are not those wanted of it.

    How the embedding was folded is no difference: it cannot be undone, and both are right.
    """
    found = []
    pairs = list(enumerate(zip(have.slots, want.slots, strict=True)))
    for (got, needed), run in groupby(pairs, key=lambda pair: pair[1]):
        if got != needed:
            numbers = [index for index, _ in run]
            where = f"slots {numbers[0]}-{numbers[-1]} hold"
            if len(numbers) == 1:
                where = f"slot {numbers[0]} holds"
            found.append(f"{where} {got}, not {needed}")
    if have.rescale != want.rescale:
        found.append(f"{_halvings(have.rescale)}, not {_halvings(want.rescale)}")
    return tuple(found)


def _halvings(rescale: int) -> str:
    if not rescale:
        return "weights as they are (as without an fp16 stage)"
    return f"weights for halving every {rescale} blocks (as with an fp16 stage)"
