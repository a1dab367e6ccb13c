"""What computing takes beside the weights: activations and workspace of one forward pass.

Counts the tensors that are alive at once at the three moments where most are: in the chunk of the
WKV recurrence, in the first product of the channel-mix, and at the logits (`blocks.py`, `wkv.py`,
`matrices.py`). Activations are what passes from operation to operation; workspace is what one
operation needs for itself. Letters as in `state.py`: B batch, T tokens, C channels, F ffn width.
Knows no torch.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.runtime.forecast_stored import HOST, slot_matrices
from harness.runtime.shape import ModelShape
from harness.runtime.strategy import UINT8, LayerPlan
from harness.runtime.tensor_info import ITEM_BYTES

WKV_CHUNK = 128  # tokens whose exponents are made at once (`wkv.py`)
TILE_ITEMS = 2**18  # int8 weights cast at a time on the host (`matrices.py`)
DEVICE_TILE_ITEMS = 2**24  # and on an accelerator
# Alive in a chunk of the recurrence, each [B, T, C] in float32: exponents before and after, their
# drift and running maximum, keep and gain, terms and sums (two each), u + k, p, old, new, out, and
# three more inside the expression that makes `out`.
WKV_TENSORS = 18
WKV_ONE_TENSORS = 12  # the same for a single token
# glibc's heap keeps what is freed between tensors that live on. A prefill, which makes and drops
# tensors of a dozen sizes, grows it to about three times what is alive: measured between 2 and 4,
# with torch 2.0 and 2.13, C = 768 and 1024. Only blocks below 32 MiB come from the heap.
HEAP_SPREAD = 3
HEAP_LARGEST = 2**25
_FP32 = ITEM_BYTES["fp32"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """Bytes on one device while something is done, beside weights and state."""

    activations: int = 0
    workspace: int = 0

    @property
    def bytes(self) -> int:
        """Both."""
        return self.activations + self.workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """One forward pass."""

    batch: int
    tokens: int  # of each row
    half_on_cpu: bool  # torch computes in half precision on the CPU

    @property
    def rows(self) -> int:
        """B × T."""
        return self.batch * self.tokens


def device_work(
    shape: ModelShape, slots: Iterable[tuple[int, LayerPlan]], one: Pass, *, on_host: bool
) -> Phase:
    """The most that any of a device's slots takes; on the host, with what its heap keeps."""
    works = [_slot_work(shape, plan, one, is_head=index == shape.n_layer) for index, plan in slots]
    most = max((work.phase for work in works), key=lambda phase: phase.bytes, default=Phase())
    if not on_host:
        return most
    from_heap = max((work.from_heap for work in works), default=0)
    mapped = max((work.phase.bytes - work.from_heap for work in works), default=0)
    total = HEAP_SPREAD * from_heap + mapped
    return Phase(activations=most.activations, workspace=total - most.activations)


@dataclass(frozen=True, kw_only=True, slots=True)
class _SlotWork:
    """The moment of a slot where most is alive, and how much of it a heap serves."""

    phase: Phase
    from_heap: int


@functools.cache  # most slots of a plan are alike
def _slot_work(shape: ModelShape, plan: LayerPlan, one: Pass, *, is_head: bool) -> _SlotWork:
    moments = _head(shape, plan, one) if is_head else _block(shape, plan, one)
    worst = max(moments, key=lambda phase: phase.bytes)
    cast = _cast_weight(shape, plan, one, is_head=is_head)
    return _SlotWork(
        phase=Phase(activations=worst.activations, workspace=worst.workspace + cast),
        from_heap=worst.bytes + (cast if cast < HEAP_LARGEST else 0),
    )


def _block(shape: ModelShape, plan: LayerPlan, one: Pass) -> Iterator[Phase]:
    item = ITEM_BYTES[plan.dtype]
    channels = one.rows * shape.n_embd
    previous = 0 if one.tokens == 1 else 1
    # x, its norm, the shifted norm, r; then k and v in float32
    through = channels * ((3 + previous) * item + 2 * _FP32)
    if one.tokens == 1:
        yield Phase(activations=through, workspace=WKV_ONE_TENSORS * channels * _FP32)
    else:
        chunk = one.batch * min(one.tokens, WKV_CHUNK) * shape.n_embd
        done = channels - chunk  # outputs of the chunks before
        yield Phase(activations=through, workspace=(WKV_TENSORS * chunk + done) * _FP32)
    # x before the block, behind its time-mix, and the difference; the norm, the shifted norm, r,
    # the mixed input of the product
    through = channels * (6 + previous) * item
    hidden = one.rows * shape.dim_ffn
    if plan.weight_dtype == UINT8:
        product = _int8_product(plan, one.rows, shape.dim_ffn, shape.n_embd)
        yield Phase(activations=through, workspace=product)
    else:
        # before and behind the squared relu
        yield Phase(activations=through + 2 * hidden * item)


def _head(shape: ModelShape, plan: LayerPlan, one: Pass) -> Iterator[Phase]:
    """Only the last token of each row becomes logits."""
    item = ITEM_BYTES[plan.dtype]
    through = (one.rows + one.batch) * shape.n_embd * item
    logits = one.batch * shape.n_vocab
    yield Phase(activations=through, workspace=logits * (item + (0 if item == _FP32 else _FP32)))
    if plan.weight_dtype == UINT8:
        product = _int8_product(plan, one.batch, shape.n_vocab, shape.n_embd)
        yield Phase(activations=through, workspace=product)


def _int8_product(plan: LayerPlan, rows: int, n_out: int, n_in: int) -> int:
    """`matrices.Int8Matrix`: the scaled input, then a tile beside the main product, or the terms.

    The terms are the main product, the offset and their sum; all but the first are float32.
    """
    item = ITEM_BYTES[plan.dtype]
    in_float32 = plan.dtype == "fp16" and plan.device == HOST
    tile = _FP32 if in_float32 else item
    scaled = rows * n_in * (item + tile if in_float32 else item)
    if plan.dtype == "fp16" and not in_float32:  # `matrices.half_product`
        scaled += rows * n_in * 2 * _FP32
    most = TILE_ITEMS if plan.device == HOST else DEVICE_TILE_ITEMS
    main = rows * n_out * tile
    tiled = main + min(max(most, n_in), n_out * n_in) * tile
    terms = main + rows * n_out * ((2 if tile == _FP32 else 3) * _FP32)
    return scaled + max(tiled, terms)


def _cast_weight(shape: ModelShape, plan: LayerPlan, one: Pass, *, is_head: bool) -> int:
    """A half matrix as float32, whole, where torch cannot compute with it on the CPU."""
    if plan.device != HOST or plan.weight_dtype != "fp16" or one.half_on_cpu:
        return 0
    return max(n_out * n_in for n_out, n_in in slot_matrices(shape, is_head=is_head)) * _FP32
