"""How many bytes of weights a plan puts on each device, before anything is loaded.

Counts what `model.py` stores: matrices in their weight dtype (int8 with its scale vectors),
vectors in the activation dtype, WKV vectors in fp32, the embedding on the CPU, and the matrices of
streamed slots in host memory.
"""

from __future__ import annotations

from collections import Counter

from harness.runtime.shape import ModelShape
from harness.runtime.strategy import UINT8, LayerPlan

BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, UINT8: 1}
HOST = "cpu"


def weight_bytes(shape: ModelShape, plans: tuple[LayerPlan, ...]) -> dict[str, int]:
    """Bytes per device, as written in the strategy; the host is `cpu`."""
    total: Counter[str] = Counter()
    total[HOST] += shape.n_vocab * shape.n_embd * BYTES[plans[0].dtype]
    for plan in plans[:-1]:
        vectors = 9 * shape.n_embd * BYTES[plan.dtype] + 2 * shape.n_embd * BYTES["fp32"]
        total[plan.device] += vectors
        for n_out, n_in in shape.matrices.values():
            held_on = HOST if plan.streamed else plan.device
            total[held_on] += n_out * n_in * BYTES[plan.weight_dtype]
            total[plan.device] += _scale_bytes(n_out, n_in, plan)
    head = plans[-1]
    total[head.device] += 2 * shape.n_embd * BYTES[head.dtype]
    total[head.device] += shape.n_vocab * shape.n_embd * BYTES[head.weight_dtype]
    total[head.device] += _scale_bytes(shape.n_vocab, shape.n_embd, head)
    return dict(total)


def _scale_bytes(n_out: int, n_in: int, plan: LayerPlan) -> int:
    """The vectors of an int8 matrix: mx, rx [out], my, ry [in], and what is derived in fp32."""
    if plan.weight_dtype != UINT8:
        return 0
    scheme = 2 * (n_out + n_in) * BYTES[plan.dtype]
    return scheme + (3 * n_in + 4 * n_out) * BYTES["fp32"]
