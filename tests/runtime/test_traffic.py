"""Bytes and operations of a step: held to what a loaded model says of itself."""

import pytest

from harness.runtime import load_model
from harness.runtime.effective import EffectiveSlot
from harness.runtime.inspection import nbytes, weight_bytes
from harness.runtime.shape import ModelShape
from harness.runtime.strategy import resolve
from harness.runtime.traffic import crosses_bus, decode_traffic, multiplied_in, prefill_flop
from tests.runtime.conftest import CASES

SHAPE = ModelShape(n_layer=2, n_embd=64, n_vocab=100, dim_ffn=256)
BLOCK_ITEMS = 5 * 64 * 64 + 2 * 64 * 256
HEAD_ITEMS = 100 * 64
STATE_FP32 = 64 * (2 * 4 + 3 * 4)


def slot(index, device="cpu", dtype="fp32", weight_dtype=None, n_bytes=1000, *, streamed=False):
    return EffectiveSlot(
        slot=index,
        device=device,
        dtype=dtype,
        weight_dtype=weight_dtype or dtype,
        streamed=streamed,
        bytes=n_bytes,
        kernels={},
    )


def test_a_step_reads_all_slots_one_row_of_the_embedding_and_the_state_twice():
    slots = [slot(0), slot(1), slot(2, n_bytes=500)]
    traffic = decode_traffic(slots, SHAPE, 1)
    assert traffic.read == {"cpu": 2500 + 64 * 4 + 2 * 2 * STATE_FP32}
    assert traffic.bus == {}


def test_rows_of_a_batch_share_the_weights_and_nothing_else():
    slots = [slot(0), slot(1), slot(2)]
    one, four = (decode_traffic(slots, SHAPE, batch).read["cpu"] for batch in (1, 4))
    assert four - 3000 == 4 * (one - 3000)


def test_each_device_reads_its_own_and_the_embedding_lies_on_the_host():
    slots = [slot(0, "cuda", "fp16"), slot(1, "cuda:0", "fp16"), slot(2, n_bytes=500)]
    state = 64 * (2 * 2 + 3 * 4)
    assert decode_traffic(slots, SHAPE, 1).read == {
        "cpu": 64 * 2 + 500,
        "cuda:0": 2000 + 2 * 2 * state,
    }


def test_streamed_matrices_cross_the_bus_and_are_read_behind_it():
    slots = [slot(0, "cuda", "fp16"), slot(1, "cuda", "fp16", "uint8", streamed=True)]
    slots.append(slot(2, "cuda", "fp16"))
    traffic = decode_traffic(slots, SHAPE, 3)
    assert traffic.bus == {"cuda:0": BLOCK_ITEMS}  # one byte each, whatever the batch
    assert traffic.read["cuda:0"] > 3000


def test_on_the_host_nothing_is_streamed():
    assert not crosses_bus(slot(0, streamed=True))


@pytest.mark.parametrize("strategy", ["cpu fp32", "cpu bf16", "cpu fp32i8 *1 -> cpu fp32"])
def test_bytes_are_those_of_the_loaded_tensors(strategy, checkpoint):
    model = load_model(checkpoint(CASES[1]), strategy)
    shape = model.shape
    read = decode_traffic(model.effective_plan(), shape, 1).read["cpu"]
    embedding = model.weights.emb.numel() * model.weights.emb.element_size()
    layers = model.empty_state().layers
    state = sum(nbytes(one.tensors()) for one in layers)
    loaded = weight_bytes(model.weights)["cpu"]
    assert read == loaded - embedding + embedding // shape.n_vocab + 2 * state


def test_operations_are_two_for_each_number_and_token_and_the_head_sees_the_last_one():
    plans = resolve("cuda fp16i8 *1 -> cpu fp32", SHAPE.n_layer)
    assert prefill_flop(plans, SHAPE, 10, 3) == {
        "cuda:0": {"fp16": 2 * 10 * 3 * BLOCK_ITEMS},
        "cpu": {"fp32": 2 * 3 * (10 * BLOCK_ITEMS + HEAD_ITEMS)},
    }


@pytest.mark.parametrize(
    ("one", "dtype"),
    [
        (slot(0, "cpu", "fp16", "uint8"), "fp32"),
        (slot(0, "cpu", "fp16"), "fp16"),
        (slot(0, "cuda:0", "fp16", "uint8"), "fp16"),
        (slot(0, "cpu", "bf16", "uint8"), "bf16"),
    ],
)
def test_int8_is_multiplied_in_the_format_that_it_is_cast_to(one, dtype):
    assert multiplied_in(one) == dtype
