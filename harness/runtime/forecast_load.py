"""The peak of memory while a model is loaded, by going through the steps of `weights.py`.

The head is read first, then the embedding, then block after block, one tensor at a time. At each
step there is what was placed before, the tensor being placed, and the temporaries it is made from.
Knows no torch.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from harness.runtime.forecast_stored import (
    HOST,
    embedding_bytes,
    is_streamed,
    scale_bytes,
    slot_matrices,
    streaming_buffers,
    vector_bytes,
)
from harness.runtime.shape import ModelShape
from harness.runtime.strategy import UINT8, LayerPlan
from harness.runtime.tensor_info import ITEM_BYTES

Source = Literal["original", "converted", "random"]

FOLD_ROWS = 4096  # of the embedding, normalised at a time (`transform.py`)
MOVED_ITEMS = 2**24  # of a matrix, copied to a device at a time (`matrices.py`)
DRAWN_ITEMS = 2**20  # random numbers, drawn at a time (`synthetic.py`)
_FP32 = ITEM_BYTES["fp32"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    """One tensor: what stays, and the most that there is of it and its temporaries at once."""

    stays: Counter[str]
    most: Counter[str]


def loading_peaks(
    shape: ModelShape, plans: tuple[LayerPlan, ...], *, source: Source, file_dtype: str
) -> dict[str, int]:
    """Peak bytes per device, as written in the strategy; the host is `cpu`.

    `file_dtype` is the format of an original file's tensors; a converted file holds the plan's.
    """
    whole = _in_turn(_steps(shape, plans, source, file_dtype))
    placed, peak = whole.stays, whole.most
    placed.update(streaming_buffers(shape, plans))  # made when all slots are read
    return {device: max(peak[device], placed[device]) for device in {*peak, *placed}}


def _in_turn(steps: Iterable[_Step]) -> _Step:
    """Steps one after the other, as one."""
    placed: Counter[str] = Counter()
    peak: Counter[str] = Counter()
    for step in steps:
        for device, most in step.most.items():
            peak[device] = max(peak[device], placed[device] + most)
        placed.update(step.stays)
    return _Step(stays=placed, most=peak)


def _steps(
    shape: ModelShape, plans: tuple[LayerPlan, ...], source: Source, file_dtype: str
) -> Iterator[_Step]:
    last = len(plans) - 1
    yield _slot(shape, plans[last], source, file_dtype, is_head=True)
    yield _embedding(shape, plans, source, file_dtype)
    for plan in plans[:last]:
        yield _slot(shape, plan, source, file_dtype, is_head=False)


def _embedding(
    shape: ModelShape, plans: tuple[LayerPlan, ...], source: Source, file_dtype: str
) -> _Step:
    stays = embedding_bytes(shape, plans)
    most = stays
    if source != "converted":
        # the file's rows, and some of them as float32 before and behind the norm
        rows = 2 * min(FOLD_ROWS, shape.n_vocab) * shape.n_embd * _FP32
        most += shape.n_vocab * shape.n_embd * ITEM_BYTES[file_dtype] + rows
    return _Step(stays=Counter({HOST: stays}), most=Counter({HOST: most}))


@functools.cache
def _slot(
    shape: ModelShape, plan: LayerPlan, source: Source, file_dtype: str, *, is_head: bool
) -> _Step:
    """All of one slot; most slots of a plan are alike."""
    return _in_turn(_slot_steps(shape, plan, source, file_dtype, is_head=is_head))


def _slot_steps(
    shape: ModelShape, plan: LayerPlan, source: Source, file_dtype: str, *, is_head: bool
) -> Iterator[_Step]:
    vectors = Counter({plan.device: vector_bytes(shape, plan, is_head=is_head)})
    yield _Step(stays=vectors, most=vectors)
    held_on = HOST if is_streamed(plan, is_head=is_head) else plan.device
    for n_out, n_in in slot_matrices(shape, is_head=is_head):
        n = n_out * n_in
        stays = Counter({held_on: n * ITEM_BYTES[plan.weight_dtype]})
        stays[plan.device] += scale_bytes(n_out, n_in, plan)
        if plan.weight_dtype == UINT8:
            most = _int8(n, source, file_dtype)
            if plan.device != HOST:
                most[held_on] += n
        else:
            most = _dense(n, plan, held_on, plan.dtype if source == "converted" else file_dtype)
        if source == "random":
            most[HOST] += 3 * DRAWN_ITEMS * _FP32
        yield _Step(stays=stays, most=most)


def _int8(n: int, source: Source, file_dtype: str) -> Counter[str]:
    """Quantising n numbers on the host: the file's and float32, float32 and int8, int8 twice."""
    if source == "converted":
        return Counter({HOST: 2 * n})
    read = ITEM_BYTES[file_dtype]
    cast = read if read == _FP32 else read + _FP32
    return Counter({HOST: n * max(cast, _FP32 + 1)})


def _dense(n: int, plan: LayerPlan, held_on: str, file_dtype: str) -> Counter[str]:
    """Reading n numbers, and laying them out where they stay."""
    read, stays = n * ITEM_BYTES[file_dtype], n * ITEM_BYTES[plan.weight_dtype]
    if held_on != HOST:
        return Counter({HOST: read, held_on: stays + min(n, MOVED_ITEMS) * ITEM_BYTES[file_dtype]})
    # What is read in its final format stays as it is, unless it goes into a streaming buffer, or is
    # fp32, which is turned for the CPU.
    if plan.device == HOST and file_dtype == plan.weight_dtype != "fp32":
        return Counter({HOST: read})
    return Counter({HOST: read + stays})
