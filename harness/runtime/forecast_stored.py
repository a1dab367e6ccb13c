"""Bytes of what a placed model stores per device: the same sums that `inspection.py` reads back.

Matrices in their weight dtype, vectors in the activations' dtype, the two WKV vectors in fp32, the
embedding on the host. The matrices of a streamed slot lie in host memory, and nothing else of it:
its vectors and the scale vectors of int8 lie on the device. Knows no torch.
"""

from __future__ import annotations

from collections import Counter

from harness.runtime.shape import ModelShape
from harness.runtime.stored import BLOCK_VECTORS, HEAD_VECTORS, WKV_VECTORS
from harness.runtime.strategy import UINT8, LayerPlan
from harness.runtime.tensor_info import ITEM_BYTES

HOST = "cpu"
# One buffer begins where the last one ends, rounded up so that any kernel can read it, and each
# device has two of them (`streaming.py`).
STREAM_ALIGNMENT = 256
STREAM_BUFFERS = 2


def embedding_bytes(shape: ModelShape, plans: tuple[LayerPlan, ...]) -> int:
    """The embedding, on the host in the first slot's dtype."""
    return shape.n_vocab * shape.n_embd * ITEM_BYTES[plans[0].dtype]


def vector_bytes(shape: ModelShape, plan: LayerPlan, *, is_head: bool) -> int:
    """The vectors of one slot, on its device."""
    if is_head:
        return len(HEAD_VECTORS) * shape.n_embd * ITEM_BYTES[plan.dtype]
    plain = len(BLOCK_VECTORS) * ITEM_BYTES[plan.dtype]
    return shape.n_embd * (plain + len(WKV_VECTORS) * ITEM_BYTES["fp32"])


def slot_matrices(shape: ModelShape, *, is_head: bool) -> tuple[tuple[int, int], ...]:
    """(out, in) of the matrices of a slot."""
    return ((shape.n_vocab, shape.n_embd),) if is_head else tuple(shape.matrices.values())


def scale_bytes(n_out: int, n_in: int, plan: LayerPlan) -> int:
    """The vectors of an int8 matrix: mx, rx [out], my, ry [in], and what is derived in fp32."""
    if plan.weight_dtype != UINT8:
        return 0
    scheme = 2 * (n_out + n_in) * ITEM_BYTES[plan.dtype]
    return scheme + (3 * n_in + 4 * n_out) * ITEM_BYTES["fp32"]


def is_streamed(plan: LayerPlan, *, is_head: bool) -> bool:
    """Whether the slot's matrices are copied over for each use; the head's never are."""
    return plan.streamed and plan.device != HOST and not is_head


def stored_parts(
    shape: ModelShape, plans: tuple[LayerPlan, ...]
) -> tuple[Counter[str], Counter[str]]:
    """Bytes of weights, and of int8's vectors, per device as written in the strategy."""
    weights: Counter[str] = Counter({HOST: embedding_bytes(shape, plans)})
    scales: Counter[str] = Counter()
    for index, plan in enumerate(plans):
        is_head = index == len(plans) - 1
        held_on = HOST if is_streamed(plan, is_head=is_head) else plan.device
        weights[plan.device] += vector_bytes(shape, plan, is_head=is_head)
        for n_out, n_in in slot_matrices(shape, is_head=is_head):
            weights[held_on] += n_out * n_in * ITEM_BYTES[plan.weight_dtype]
            scales[plan.device] += scale_bytes(n_out, n_in, plan)
    return weights, scales


def weight_bytes(shape: ModelShape, plans: tuple[LayerPlan, ...]) -> dict[str, int]:
    """Bytes of weights and scales per device, as written in the strategy; the host is `cpu`."""
    weights, scales = stored_parts(shape, plans)
    return dict(weights + scales)


def streaming_buffers(shape: ModelShape, plans: tuple[LayerPlan, ...]) -> dict[str, int]:
    """Bytes of the buffers of each device that slots are streamed to."""
    sizes: dict[str, list[int]] = {}
    for plan in plans[:-1]:
        if is_streamed(plan, is_head=False):
            sizes.setdefault(plan.device, []).append(_flat_bytes(shape, plan))
    return {device: max(each) * min(STREAM_BUFFERS, len(each)) for device, each in sizes.items()}


def _flat_bytes(shape: ModelShape, plan: LayerPlan) -> int:
    sizes = [a * b * ITEM_BYTES[plan.weight_dtype] for a, b in shape.matrices.values()]
    return sum(-(-size // STREAM_ALIGNMENT) * STREAM_ALIGNMENT for size in sizes)
