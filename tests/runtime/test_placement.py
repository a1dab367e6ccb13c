"""What a plan stores where: the fold in parts, float32 vectors, devices, bytes, int8 kernels."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from harness.runtime import load_model, matrices
from harness.runtime.devices import DeviceMap
from harness.runtime.forecast import weight_bytes
from harness.runtime.matrices import DenseMatrix, Int8Matrix
from harness.runtime.model import Model
from harness.runtime.quantise import quantise
from harness.runtime.shape import ModelShape, original_tensors
from harness.runtime.stored import stored_plan
from harness.runtime.strategy import resolve
from harness.runtime.synthetic import RandomSource
from harness.runtime.transform import Transformed
from harness.runtime.weights import load_weights
from tests.runtime.conftest import CASES, Case, random_tensors

SMALL = Case(3, 32, 80, torch.float32)
CPU = torch.device("cpu")
META = torch.device("meta")  # the one accelerator that every torch has: it holds no numbers
DEVICES = DeviceMap({"cpu": CPU, "meta": META})


def noise(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


# -- the embedding -------------------------------------------------------------------------------


@pytest.mark.parametrize("n_vocab", [4095, 4096, 4097, 2 * 4096 + 5])
@pytest.mark.parametrize(
    ("strategy", "dtype", "bound"), [("cpu fp32", torch.float32, 1e-6), ("cpu bf16", None, 0.02)]
)
def test_every_row_of_a_large_vocabulary_is_normalised(n_vocab, strategy, dtype, bound):
    shape = ModelShape(n_layer=1, n_embd=16, n_vocab=n_vocab, dim_ffn=16)
    source = RandomSource(shape, 0, torch.float32)
    emb = Transformed(source, stored_plan(strategy, 1)).embedding()
    expected = functional.layer_norm(
        source.read("emb.weight"),
        (16,),
        source.read("blocks.0.ln0.weight"),
        source.read("blocks.0.ln0.bias"),
        1e-5,
    )
    assert emb.dtype == (dtype or torch.bfloat16)
    assert emb.device.type == "cpu"
    assert (emb.float() - expected).abs().max() < bound


# -- vectors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["cpu bf16", "cpu bf16i8", "cpu fp16"])
def test_decay_and_bonus_keep_all_bits_of_the_file(strategy, checkpoint):
    tensors = random_tensors(SMALL)
    model = load_model(checkpoint(SMALL), strategy)
    for i, block in enumerate(model.weights.blocks):
        first = tensors[f"blocks.{i}.att.time_first"]
        assert not torch.equal(first, first.bfloat16().float())
        assert block.att.bonus.dtype == block.att.decay.dtype == torch.float32
        assert torch.equal(block.att.bonus, first)
        assert torch.equal(block.att.decay, -torch.exp(tensors[f"blocks.{i}.att.time_decay"]))
        assert block.att.mix_k.dtype == block.att.ln_weight.dtype != torch.float32


# -- devices -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_int8_matrix_goes_to_a_device_with_all_its_tensors(dtype):
    mm8 = quantise(noise(48, 32), dtype)
    here, there = Int8Matrix(mm8), Int8Matrix(mm8, META)
    assert set(vars(there)) == set(vars(here))
    for name, tensor in vars(here).items():
        moved = getattr(there, name)
        assert moved.device == META, name
        assert (moved.shape, moved.dtype) == (tensor.shape, tensor.dtype), name
        assert tensor.device.type == "cpu", name
    assert there(torch.zeros(2, 3, 32, dtype=dtype, device=META)).shape == (2, 3, 48)


def test_a_matrix_that_is_there_already_is_not_copied():
    weight = noise(8, 4).bfloat16()
    assert DenseMatrix.placed(weight, torch.bfloat16, CPU).weight is weight
    assert DenseMatrix.placed(weight, torch.bfloat16, META).weight.device == META


@pytest.mark.parametrize("source", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [(1, 1), (63, 5), (64, 7), (65, 3), (200, 33)])
def test_a_placed_matrix_holds_the_cast_numbers_in_every_layout(source, dtype, size):
    weight = noise(*size).to(source)
    placed = DenseMatrix.placed(weight, dtype, CPU).weight
    assert placed.dtype == dtype
    assert torch.equal(placed, weight.to(dtype))


# -- bytes ---------------------------------------------------------------------------------------

FORECAST = ["cpu fp32i8 *1+", "cpu bf16i8 *1+", "cpu fp32 *2+", "cpu fp32i8 *1 -> cpu bf16 *1+"]


@pytest.mark.parametrize("strategy", FORECAST)
@pytest.mark.parametrize("case", CASES[:4], ids=lambda case: case.name)
def test_the_forecast_of_streamed_plans_is_what_is_stored(case, strategy, checkpoint):
    model = load_model(checkpoint(case), strategy)
    assert weight_bytes(case.shape, resolve(strategy, case.n_layer)) == model.weight_bytes()


@pytest.mark.parametrize("strategy", [*FORECAST, "cpu fp32i8", "cpu bf16"])
def test_the_forecast_tells_the_device_from_the_host(strategy):
    plans = tuple(
        dataclasses.replace(plan, device="meta") for plan in resolve(strategy, SMALL.n_layer)
    )
    source = RandomSource(SMALL.shape, 0, torch.float32)
    needed = Transformed(source, stored_plan(strategy, SMALL.n_layer))
    weights = load_weights(needed, plans, DEVICES, rescale=0)
    stored = Model(SMALL.shape, strategy, plans, weights, DEVICES).weight_bytes()
    assert set(stored) == {"cpu", "meta"}
    assert weight_bytes(SMALL.shape, plans) == stored
    last = weights.blocks[-1]
    kept = (last.block if plans[-2].streamed else last).ffn.value.weight.numel()
    emb = weights.emb.numel() * weights.emb.element_size()
    assert (stored["cpu"] >= emb + kept) == plans[-2].streamed


# -- states --------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["cpu fp32", "cpu bf16", "cpu fp16"])
@pytest.mark.parametrize("n_tokens", [1, 150])
def test_a_state_holds_its_own_numbers_only(strategy, n_tokens, checkpoint):
    _, state = load_model(checkpoint(SMALL), strategy).forward([7] * n_tokens)
    for layer in state.layers:
        tensors = (layer.att_x, *layer.wkv, layer.ffn_x)
        storages = [tensor.untyped_storage() for tensor in tensors]
        kept_alive = {storage.data_ptr(): storage.nbytes() for storage in storages}
        assert sum(kept_alive.values()) == sum(t.numel() * t.element_size() for t in tensors)


# -- random tensors ------------------------------------------------------------------------------


def test_tensors_of_one_size_are_drawn_apart():
    """By correlation, because scaled and shifted copies would be copies too."""
    shape = Case(2, 96, 96, torch.float32).shape
    source = RandomSource(shape, 0, torch.float32)
    drawn = {}
    for name in original_tensors(shape):
        flat = source.read(name).flatten()
        drawn.setdefault(len(flat), []).append(flat.numpy())
    assert max(len(group) for group in drawn.values()) > 20
    for group in drawn.values():
        for one, other in itertools.combinations(group, 2):
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.7


# -- int8 kernels --------------------------------------------------------------------------------


def int8_matrix(n_out=96, n_in=128, dtype=torch.bfloat16):
    return Int8Matrix(quantise(noise(n_out, n_in), dtype))


@pytest.fixture
def packed_calls(monkeypatch):
    """A packed kernel on every torch; the rows of the products that it was used for."""
    calls = []

    def product(x, weight):
        calls.append(x.shape[0])
        return (x.float() @ weight.float().t()).to(x.dtype)

    monkeypatch.setattr(matrices, "_has_packed_int8", lambda: True)
    monkeypatch.setattr(matrices, "_packed_product", product)
    return calls


@pytest.mark.parametrize(("rows", "calls"), [(1, [1]), (4, [4]), (5, [])])
def test_few_rows_of_bf16_run_in_the_packed_kernel(rows, calls, packed_calls):
    matrix = int8_matrix()
    assert matrix.kernel(torch.bfloat16) == "mm8, torch packed int8"
    matrix(noise(rows, 128).bfloat16())
    assert packed_calls == calls


@pytest.mark.parametrize(
    ("dtype", "n_in", "tiles"),
    [
        (torch.float32, 128, "fp32"),
        (torch.float16, 128, "fp32"),
        (torch.bfloat16, 96, "bf16"),
    ],
)
def test_other_formats_and_widths_run_in_tiles(dtype, n_in, tiles, packed_calls):
    matrix = int8_matrix(n_in=n_in, dtype=dtype)
    assert matrix.kernel(dtype) == f"mm8, int8 tiles cast to {tiles}"
    matrix(noise(1, n_in).to(dtype))
    assert packed_calls == []


def test_without_the_packed_kernel_bf16_runs_in_tiles(monkeypatch):
    monkeypatch.setattr(matrices, "_has_packed_int8", lambda: False)
    assert int8_matrix().kernel(torch.bfloat16) == "mm8, int8 tiles cast to bf16"


@pytest.mark.skipif(not matrices._has_packed_int8(), reason="this torch has no packed kernel")
@pytest.mark.parametrize(("n_out", "n_in"), [(96, 128), (61, 64), (2500, 192)])
@pytest.mark.parametrize("rows", [1, 3, 4])
def test_the_packed_kernel_computes_what_the_tiles_do(n_out, n_in, rows, monkeypatch):
    matrix, x = int8_matrix(n_out, n_in), noise(rows, n_in, seed=1).bfloat16()
    assert matrix.kernel(torch.bfloat16) == "mm8, torch packed int8"
    packed = matrix(x)
    monkeypatch.setattr(matrices, "_has_packed_int8", lambda: False)
    tiled = matrix(x)
    assert packed.dtype == tiled.dtype == torch.bfloat16
    assert (packed.float() - tiled.float()).abs().max() < 8e-3 * tiled.float().abs().max()


def _right(x, weight, scales):
    return (x.float() @ weight.float().t()).to(x.dtype) * scales


def _wrong(x, weight, scales):
    return -_right(x, weight, scales)


def _failing(_x, _weight, _scales):
    raise RuntimeError("not implemented on this processor")


@pytest.mark.parametrize(
    ("kernel", "found"), [(_right, True), (_wrong, False), (_failing, False), (None, False)]
)
def test_the_packed_kernel_is_trusted_once_it_computed_right(kernel, found, monkeypatch):
    if kernel is None:
        monkeypatch.delattr(torch, "_weight_int8pack_mm", raising=False)
    else:
        monkeypatch.setattr(torch, "_weight_int8pack_mm", kernel, raising=False)
    assert matrices._has_packed_int8.__wrapped__() is found
