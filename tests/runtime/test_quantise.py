"""mm8: the official bits, exact where the official package gives NaN, and applied as defined."""

import threading

import pytest
import torch

from harness.runtime import matrices, ops
from harness.runtime.matrices import Int8Matrix
from harness.runtime.quantise import dequantise_ref, quantise
from tests.runtime.conftest import CASES, random_tensors

MATRICES = [
    "blocks.0.att.key.weight",
    "blocks.0.att.output.weight",
    "blocks.0.ffn.key.weight",  # wider out than in
    "blocks.0.ffn.value.weight",  # wider in than out: minima in the other order
    "head.weight",
]


@pytest.mark.parametrize("strategy", ["cpu fp32i8", "cpu bf16i8", "cpu fp16i8"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bits_are_the_official_ones(case, strategy, checkpoint, official):
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[strategy[4:8]]
    theirs = official(checkpoint(case), strategy).w
    tensors = random_tensors(case)
    for name in MATRICES:
        ours = quantise(tensors[name], dtype)
        assert torch.equal(ours.q.t(), theirs[name]), name
        for part in ("mx", "rx", "my", "ry"):
            got, expected = getattr(ours, part), theirs[f"{name}_{part}"]
            assert got.dtype == expected.dtype == dtype
            assert torch.equal(got, expected.reshape(-1)), (name, part)


@pytest.mark.parametrize(
    "weight",
    [
        torch.zeros(6, 4),
        torch.full((4, 6), -2.5),
        torch.arange(5.0)[:, None] + torch.arange(7.0),
        torch.cat((torch.zeros(1, 8), torch.zeros(3, 8))),
    ],
    ids=["zeros", "constant", "row plus column", "zero rows"],
)
def test_matrices_without_a_range_come_out_exact(weight):
    mm8 = quantise(weight, torch.float32)
    assert torch.equal(dequantise_ref(mm8), weight)


def test_one_constant_column_does_not_spoil_the_others():
    weight = torch.randn(16, 12, generator=torch.Generator().manual_seed(0))
    weight[3] = 0.25
    back = dequantise_ref(quantise(weight, torch.float32))
    assert torch.isfinite(back).all()
    assert (back - weight).abs().max() < 2 * weight.abs().max() * 2 / 256


def test_the_weight_itself_is_not_written_to():
    weight = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    before = weight.clone()
    quantise(weight, torch.float32)
    assert torch.equal(weight, before)


@pytest.mark.parametrize(
    ("n_out", "n_in"), [(32, 32), (128, 32), (32, 128), (61, 32), (3000, 200), (61, 64), (256, 192)]
)
@pytest.mark.parametrize("rows", [1, 3, 9])
@pytest.mark.parametrize(
    ("dtype", "bound"),
    [(torch.float32, 3e-6), (torch.bfloat16, 8e-3), (torch.float16, 2e-3)],
    ids=["fp32", "bf16", "fp16"],
)
def test_applying_equals_the_whole_matrix(n_out, n_in, rows, dtype, bound):
    generator = torch.Generator().manual_seed(n_out + rows)
    mm8 = quantise(torch.randn(n_out, n_in, generator=generator), dtype)
    x = torch.randn(2, rows, n_in, generator=generator).to(dtype)
    y = Int8Matrix(mm8)(x)
    expected = x.double() @ dequantise_ref(mm8).double().t()
    assert y.dtype == dtype
    assert (y.double() - expected).abs().max() < bound * expected.abs().max()


def test_the_five_tensors_can_be_had_back():
    mm8 = quantise(torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), torch.bfloat16)
    assert all(torch.equal(a, b) for a, b in zip(Int8Matrix(mm8).mm8(), mm8, strict=True))


@pytest.mark.skipif(not ops._has_half_on_cpu(), reason="this torch has no half on the CPU")
@pytest.mark.parametrize("size", [1e-12, 1e-3, 1.0, 3e4])
@pytest.mark.parametrize(("n_out", "n_in"), [(7, 5), (96, 4096)])
def test_half_products_of_any_size_neither_overflow_nor_vanish(size, n_out, n_in):
    """What accelerators compute under fp16; without the scaling, 3e4 · 127 alone is infinite."""
    generator = torch.Generator().manual_seed(n_in)
    x = torch.randn(3, n_in, generator=generator) * size
    x[1] = x[1].abs()  # all of one sign, as are the weights of a row: the largest sum there is
    x[2] = 0
    weight = torch.randint(-128, 128, (n_out, n_in), generator=generator, dtype=torch.int8)
    weight[0] = -128
    y = matrices.half_product(x, weight).double()
    exact = x.double() @ weight.double().t()
    terms = x.double().abs() @ weight.double().abs().t()
    assert torch.isfinite(y).all()
    assert ((y - exact).abs() <= 2**-10 * terms).all()


@pytest.mark.skipif(not ops._has_half_on_cpu(), reason="this torch has no half on the CPU")
def test_int8_in_half_is_as_near_to_the_matrix_as_int8_in_float32(monkeypatch):
    w = torch.randn(48, 320, generator=torch.Generator().manual_seed(1))
    x = torch.randn(4, 320, generator=torch.Generator().manual_seed(2)).half()
    matrix = Int8Matrix(quantise(w, torch.float16))
    in_float32 = matrix(x)
    monkeypatch.setattr(Int8Matrix, "_runs_in_half", lambda self, dtype: True)
    in_half = matrix(x)
    assert in_half.dtype == torch.float16
    assert matrix.kernel(torch.float16) == "mm8, int8 tiles cast to fp16, rows scaled"
    assert (in_half.float() - in_float32.float()).abs().max() < 2e-3 * in_float32.abs().max()


def test_tiles_are_filled_in_any_mode(monkeypatch):
    """They outlive a call, and what is made in inference mode cannot be written to outside it."""
    monkeypatch.setattr(matrices, "_tiles", threading.local())
    monkeypatch.setattr(matrices, "_TILE_ITEMS", 64)
    matrix = Int8Matrix(quantise(torch.arange(960.0).sin().reshape(40, 24), torch.float32))
    x = torch.ones(8, 24)
    with torch.inference_mode():
        within = matrix(x)
    with torch.no_grad():
        assert torch.equal(matrix(x), within)
