"""What a step of a placed model must move and multiply, at the least: the work behind a roofline.

Bytes: every weight once per decode step, whatever the batch; for each row one row of the embedding,
and the state, read and written. Activations are left out: they stay in caches. Operations: two for
each number of a matrix and each token of a prompt; the head is applied to the last token alone.

Counts what must be done, not what an implementation does besides, such as casting int8. Takes slots
as they were read back from the loaded model. Knows no torch, no times, and no machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.runtime.forecast_stored import HOST, slot_matrices
from harness.runtime.shape import ModelShape
from harness.runtime.strategy import UINT8, device_key
from harness.runtime.tensor_info import ITEM_BYTES


class Slot(Protocol):
    """Where one slot lies and what it computes in: of an effective plan, a record or a strategy."""

    @property
    def device(self) -> str:
        """Cpu, cuda, cuda:0, mps."""

    @property
    def dtype(self) -> str:
        """Of activations: fp32, fp16 or bf16."""

    @property
    def weight_dtype(self) -> str:
        """Of matrices: the same, or uint8."""

    @property
    def streamed(self) -> bool:
        """Whether its matrices are copied to the device for each step."""


class LoadedSlot(Slot, Protocol):
    """A slot whose bytes are known."""

    @property
    def bytes(self) -> int:
        """All its weights: matrices, vectors, scales."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """Bytes of one decode step."""

    read: dict[str, int]  # per device, from its memory
    bus: dict[str, int]  # per device that slots are streamed to, from host memory


def decode_traffic(slots: Sequence[LoadedSlot], shape: ModelShape, batch: int) -> Traffic:
    """Bytes that one step over `batch` rows must move."""
    read: Counter[str] = Counter({HOST: batch * _embedding_row_bytes(slots, shape)})
    bus: Counter[str] = Counter()
    for index, slot in enumerate(slots):
        is_head = index == len(slots) - 1
        device = device_key(slot.device)
        read[device] += slot.bytes
        if not is_head:
            read[device] += 2 * batch * state_bytes(slot, shape)  # read, and written
        if crosses_bus(slot):
            bus[device] += matrix_items(shape, is_head=is_head) * _weight_item_bytes(slot)
    return Traffic(read=dict(read), bus=dict(bus))


def prefill_flop(
    slots: Sequence[Slot], shape: ModelShape, tokens: int, batch: int
) -> dict[str, dict[str, int]]:
    """Operations to feed `tokens` tokens in each of `batch` rows: device -> dtype -> operations."""
    found: dict[str, dict[str, int]] = {}
    for index, slot in enumerate(slots):
        is_head = index == len(slots) - 1
        times = batch * (1 if is_head else tokens)
        of_device = found.setdefault(device_key(slot.device), {})
        dtype = multiplied_in(slot)
        of_device[dtype] = of_device.get(dtype, 0) + 2 * times * matrix_items(
            shape, is_head=is_head
        )
    return found


def matrix_items(shape: ModelShape, *, is_head: bool) -> int:
    """Numbers in the matrices of a block, or of the head."""
    return sum(n_out * n_in for n_out, n_in in slot_matrices(shape, is_head=is_head))


def state_bytes(slot: Slot, shape: ModelShape) -> int:
    """Of one row in one block: two last inputs, and three WKV tensors in float32."""
    return shape.n_embd * (2 * ITEM_BYTES[slot.dtype] + 3 * ITEM_BYTES["fp32"])


def multiplied_in(slot: Slot) -> str:
    """The format in which a slot's products of many tokens are computed.

    int8 is cast to the activations' format; on the host, for fp16, to float32 (`matrices.py`).
    """
    if slot.weight_dtype == UINT8 and slot.dtype == "fp16" and slot.device == HOST:
        return "fp32"
    return slot.dtype


def crosses_bus(slot: Slot) -> bool:
    """Whether the slot's matrices are copied to the device for each step."""
    return slot.streamed and slot.device != HOST


def _embedding_row_bytes(slots: Sequence[Slot], shape: ModelShape) -> int:
    """It lies on the host, in the first slot's format."""
    return shape.n_embd * ITEM_BYTES[slots[0].dtype] if slots else 0


def _weight_item_bytes(slot: Slot) -> int:
    return ITEM_BYTES[slot.weight_dtype]
