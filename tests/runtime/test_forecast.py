import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.runtime import forecast as forecasts
from harness.runtime import (
    forecast_load,
    forecast_stored,
    forecast_work,
    load_model,
    matrices,
    model,
    streaming,
    synthetic,
    transform,
    wkv,
)
from harness.runtime.forecast import Conditions, forecast, weight_bytes
from harness.runtime.shape import RANDOM_SHAPES, ModelShape
from harness.runtime.strategy import device_key, resolve
from tests.runtime.conftest import Case

SMALL = ModelShape(n_layer=4, n_embd=64, n_vocab=300, dim_ffn=256)
DEVICES = ("cpu", "cuda", "cuda:1", "mps")
DTYPES = ("fp32", "fp16", "bf16", "fp32i8", "fp16i8", "bf16i8")
STAGES = st.tuples(
    st.sampled_from(DEVICES), st.sampled_from(DTYPES), st.sampled_from(("", " *2", " *1+", " *0+"))
).map(lambda parts: f"{parts[0]} {parts[1]}{parts[2]}")


def seen(strategy, shape=SMALL, **conditions):
    return forecast(shape, resolve(strategy, shape.n_layer), Conditions(**conditions))


@given(st.lists(STAGES, min_size=1, max_size=3).map(" -> ".join))
def test_every_plan_has_a_forecast_that_adds_up(strategy):
    plans = resolve(strategy, SMALL.n_layer)
    found = forecast(SMALL, plans)
    assert [one.device for one in found.devices] == list(
        dict.fromkeys(["cpu", *(device_key(plan.device) for plan in plans)])
    )
    stored = sum(one.weights + one.scales for one in found.devices)
    assert stored == sum(weight_bytes(SMALL, plans).values())
    for one in found.devices:
        phases = (one.load, one.prefill, one.decode)
        assert min(n for phase in phases for n in (phase.activations, phase.workspace)) >= 0
        assert one.peak_bytes >= max(one.stored_bytes, one.load_bytes, one.decode_bytes)
        assert one.prefill_bytes >= one.decode_bytes


@pytest.mark.parametrize("strategy", ["cpu fp32", "cpu bf16i8", "cuda fp16i8 *2 -> cpu fp32"])
def test_more_rows_and_longer_chunks_never_take_less(strategy):
    peaks = [
        seen(strategy, batch=batch, chunk_tokens=tokens).host.peak_bytes
        for batch, tokens in ((1, 1), (1, 64), (1, 256), (4, 256), (16, 256))
    ]
    assert peaks == sorted(peaks)
    states = [seen(strategy, batch=batch).host.state for batch in (1, 8)]
    assert states[1] == 8 * states[0]


def test_more_rows_take_more_of_a_device():
    few, many = (seen("cuda fp16", batch=batch).accelerators[0] for batch in (1, 8))
    assert many.prefill.activations == 8 * few.prefill.activations > 0
    assert many.decode.activations == 8 * few.decode.activations > 0


@pytest.mark.parametrize(
    "strategy", ["cpu fp32", "cpu bf16", "cpu bf16i8 *2 -> cpu fp32", "cpu fp32 *4 -> cpu bf16"]
)
def test_the_state_that_is_foreseen_is_the_models(strategy, checkpoint):
    case = Case(4, 32, 80, torch.bfloat16)
    _, state = load_model(checkpoint(case), strategy).forward([[1], [2], [3]])
    assert seen(strategy, case.shape, batch=3).host.state == state.nbytes


def test_the_host_embeds_what_a_device_computes():
    assert seen("cuda fp16", chunk_tokens=200).host.prefill.activations == 200 * 64 * 2
    assert seen("cuda fp32", batch=3).host.decode.activations == 3 * 64 * 4


def test_a_slot_more_on_a_device_moves_its_bytes_there():
    shape = RANDOM_SHAPES["3b"]
    for n in range(1, shape.n_layer):
        less, more = (seen(f"cuda fp16 *{m} -> cpu fp32", shape) for m in (n, n + 1))
        assert more.accelerators[0].peak_bytes > less.accelerators[0].peak_bytes
        assert more.host.stored_bytes < less.host.stored_bytes


def test_a_streamed_slot_lies_on_the_host_and_leaves_two_buffers_and_its_vectors():
    shape = RANDOM_SHAPES["3b"]
    stored, streamed = (seen(f"cuda fp16 {count}", shape) for count in ("*33", "*5+"))
    matrices_of_a_block = 2 * 13 * shape.n_embd**2
    moved = stored.accelerators[0].stored_bytes - streamed.accelerators[0].stored_bytes
    assert moved == (33 - 1 - 5) * matrices_of_a_block  # the head is never streamed
    assert streamed.host.stored_bytes - stored.host.stored_bytes == moved
    buffers = streamed.accelerators[0].decode.workspace - stored.accelerators[0].decode.workspace
    assert buffers == 2 * matrices_of_a_block
    assert streamed.accelerators[0].load.workspace == 2 * matrices_of_a_block  # made by loading
    [one_slot] = seen("cuda fp16 *31+", shape).accelerators
    assert one_slot.load.workspace == matrices_of_a_block


def test_the_published_sizes_fit_the_table_of_the_reference():
    """On-device GiB of reference A0: fp16 without the embedding, and int8 without its vectors."""
    table = {"169m": (0.24, 0.12), "430m": (0.71, 0.35), "1b5": (2.63, 1.31), "3b": (5.32, 2.66)}
    table |= {"7b": (13.39, 6.69), "14b": (25.87, 12.94)}
    for size, (half, int8) in table.items():
        shape = RANDOM_SHAPES[size]
        for strategy, gib in (("cuda fp16", half), ("cuda fp16i8", int8)):
            weights = seen(strategy, shape).accelerators[0].weights
            assert weights / 2**30 == pytest.approx(gib, abs=0.02), (size, strategy)


def test_a_converted_file_loads_with_less():
    for strategy in ("cpu fp32i8", "cpu bf16i8", "cuda fp16i8 *2+"):
        original, converted = (seen(strategy, source=one) for one in ("original", "converted"))
        assert converted.host.load_bytes < original.host.load_bytes
        assert converted.host.stored_bytes == original.host.stored_bytes


def test_the_embedding_is_folded_from_the_files_numbers():
    shape = ModelShape(n_layer=1, n_embd=64, n_vocab=2**18, dim_ffn=256)
    original, converted, random = (
        seen("cpu fp32", shape, source=one).host.load_bytes
        for one in ("original", "converted", "random")
    )
    in_the_file, rows = 2**18 * 64 * 2, 2 * 4096 * 64 * 4
    # beside head and embedding, which are placed first; a converted file's peak has the block too
    assert in_the_file + rows / 2 < original - converted < in_the_file + rows
    assert random >= original  # random numbers are folded too


def test_random_numbers_are_drawn_in_float32_a_million_at_a_time():
    shape = RANDOM_SHAPES["430m"]
    drawn, read = (seen("cpu fp32", shape, source=one).host for one in ("random", "original"))
    assert drawn.load_bytes - read.load_bytes == 3 * 2**20 * 4


def test_a_matrix_moves_to_a_device_a_part_at_a_time():
    [device] = seen("cuda fp16", RANDOM_SHAPES["3b"]).accelerators
    assert device.load.workspace == 2**24 * 2


def test_only_fp32_is_laid_out_anew_where_the_file_has_the_plans_format():
    turned, taken = (
        seen(f"cpu {dtype}", RANDOM_SHAPES["430m"], file_dtype=dtype).host.load.workspace
        for dtype in ("fp32", "bf16")
    )
    assert turned - taken == 1024 * 4096 * 4  # the last matrix, beside what became of it


def test_a_converted_file_holds_the_plans_formats():
    for strategy in ("cpu fp32", "cpu bf16", "cuda fp16"):
        found = [seen(strategy, source="converted", file_dtype=dtype) for dtype in ("fp32", "bf16")]
        assert found[0] == found[1]


def test_int8_in_half_scales_rows_of_float32_on_a_device():
    half, bf16 = (seen(f"cuda {name}", batch=4096).accelerators[0] for name in ("fp16i8", "bf16i8"))
    assert half.decode.workspace - bf16.decode.workspace == 4096 * 64 * 2 * 4


def test_cublas_has_a_workspace_of_its_own():
    cuda, mps = (seen(f"{name} fp16").accelerators[0].decode.workspace for name in ("cuda", "mps"))
    assert cuda - mps == 8 * 2**20 + 2**17


def test_a_tile_is_no_larger_than_its_matrix():
    tiled, dense = (
        seen(f"cpu {name}", source="converted").host.decode.workspace for name in ("fp32i8", "fp32")
    )
    assert tiled - dense < forecast_work.TILE_ITEMS * 4


def test_half_on_an_old_cpu_needs_a_matrix_in_float32():
    new, old = (seen("cpu fp16", half_on_cpu=new).host for new in (True, False))
    assert old.decode_bytes - new.decode_bytes >= 4 * SMALL.n_vocab * SMALL.n_embd


def test_two_names_of_one_device_are_one():
    names = [one.device for one in seen("cuda fp16 *2 -> cuda:0 fp16i8").devices]
    assert names == ["cpu", "cuda:0"]


def test_the_constants_are_those_of_the_runtime():
    assert forecasts.CHUNK_TOKENS == model.PREFILL_CHUNK
    assert forecast_work.WKV_CHUNK == wkv._CHUNK
    assert forecast_work.TILE_ITEMS == matrices._TILE_ITEMS
    assert forecast_work.DEVICE_TILE_ITEMS == matrices._DEVICE_TILE_ITEMS
    assert forecast_load.MOVED_ITEMS == matrices._MOVED_ITEMS
    assert forecast_load.FOLD_ROWS == transform._FOLD_ROWS
    assert forecast_load.DRAWN_ITEMS == synthetic._DRAWN_AT_ONCE
    assert forecast_stored.STREAM_ALIGNMENT == streaming._ALIGNMENT
    assert forecast_stored.STREAM_BUFFERS == streaming.N_BUFFERS


@pytest.mark.parametrize(
    ("dtype", "file_dtype"), list(itertools.product(("fp32", "bf16"), repeat=2))
)
def test_loading_needs_the_placed_model_and_about_one_tensor(dtype, file_dtype):
    shape = RANDOM_SHAPES["430m"]
    host = seen(f"cpu {dtype}", shape, file_dtype=file_dtype).host
    largest = shape.n_vocab * shape.n_embd * 4
    assert host.stored_bytes < host.load_bytes <= host.stored_bytes + largest + 400 * 2**20
