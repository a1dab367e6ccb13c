"""What was really loaded, read back from the placed tensors: never copied from the request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import torch

from harness.runtime import ops
from harness.runtime.blocks import Block
from harness.runtime.devices import HOST, device_name
from harness.runtime.dtypes import NAMES
from harness.runtime.effective import EffectiveSlot
from harness.runtime.matrices import Matrix
from harness.runtime.strategy import LayerPlan
from harness.runtime.streaming import StreamedBlock
from harness.runtime.weights import Weights


def effective_plan(weights: Weights, plans: tuple[LayerPlan, ...]) -> tuple[EffectiveSlot, ...]:
    """Per slot, the device, formats, bytes and kernels."""
    slots = [
        _effective_block(i, block, plan)
        for i, (block, plan) in enumerate(zip(weights.blocks, plans[:-1], strict=True))
    ]
    last = weights.head
    vectors = [last.ln_weight, last.ln_bias]
    norm = {"norm": ops.arithmetic(last.ln_weight.dtype, last.ln_weight.device)}
    slots.append(_effective_slot(len(slots), vectors, {"head": last.head}, norm, streamed=False))
    return tuple(slots)


def weight_bytes(weights: Weights) -> dict[str, int]:
    """Bytes of weights per device; the host is `cpu`."""
    total: Counter[str] = Counter()
    tensors = [weights.emb, weights.head.ln_weight, weights.head.ln_bias]
    matrices = [weights.head.head]
    for placed in weights.blocks:
        block_vectors, block_matrices = _parts(_block(placed))
        tensors += block_vectors
        matrices += block_matrices.values()
    for matrix in matrices:
        tensors += [matrix.weight, *matrix.others]
    for tensor in tensors:
        total[device_name(tensor.device)] += nbytes([tensor])
    return dict(total)


def locked_bytes(weights: Weights) -> int:
    """Host memory that is page-locked for streamed slots."""
    lanes = {placed.lane for placed in weights.blocks if isinstance(placed, StreamedBlock)}
    return sum(lane.locked_bytes for lane in lanes)


def nbytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of all of them."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _block(placed: Block | StreamedBlock) -> Block:
    return placed.block if isinstance(placed, StreamedBlock) else placed


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


def _effective_block(index: int, placed: Block | StreamedBlock, plan: LayerPlan) -> EffectiveSlot:
    block = _block(placed)
    vectors, matrices = _parts(block)
    x = block.att.ln_weight
    others = {"wkv": "torch float32", "norms and mixing": ops.arithmetic(x.dtype, x.device)}
    if isinstance(placed, StreamedBlock):
        streamed = True
        # Kernels are those that run on the device, not those of the host's copy.
        with placed.ready() as on_device:
            _, matrices = _parts(on_device)
        others["weights"] = placed.lane.how
    else:
        # On the CPU there is nothing to stream: matrices in host memory are where they are used.
        in_host = all(matrix.weight.device.type == HOST for matrix in matrices.values())
        streamed = plan.streamed and in_host
    return _effective_slot(index, vectors, matrices, others, streamed=streamed)


def _effective_slot(
    index: int,
    vectors: list[torch.Tensor],
    matrices: dict[str, Matrix],
    others: dict[str, str],
    *,
    streamed: bool,
) -> EffectiveSlot:
    x = vectors[0]
    formats = sorted({matrix.weight_dtype for matrix in matrices.values()})
    return EffectiveSlot(
        slot=index,
        device=device_name(x.device),
        dtype=NAMES[x.dtype],
        weight_dtype="+".join(formats),
        streamed=streamed,
        bytes=nbytes(vectors) + sum(nbytes([m.weight, *m.others]) for m in matrices.values()),
        kernels={name: matrix.kernel(x.dtype) for name, matrix in matrices.items()} | others,
    )
