"""The CUDA paths on a real device: numbers, placement, streaming beside computing, memory."""

import gc

import pytest
import torch

from harness.runtime import load_model
from harness.runtime.devices import device_name
from harness.runtime.forecast import weight_bytes
from harness.runtime.strategy import resolve
from tests.runtime.conftest import TOKENS, Case, kl, official_logits

pytestmark = pytest.mark.gpu

CASE = Case(12, 256, 1024, torch.bfloat16)
STRATEGIES = [
    "cuda fp32",
    "cuda fp16",
    "cuda bf16",
    "cuda fp32i8",
    "cuda fp16i8",
    "cuda bf16i8",
    "cuda fp16i8 *5 -> cuda fp16",
    "cuda fp16 *5 -> cpu fp32",
    "cuda fp16 *3+",
    "cuda fp16i8 *3+",
    "cuda fp16 *0+ -> cpu fp32 *1",
]
# Mean KL from float32 that each format may cost here, in nats: some ten times a CPU's.
BOUNDS = {"fp32": 1e-7, "fp16": 1e-4, "bf16": 1e-2, "fp32i8": 1e-2, "fp16i8": 1e-2, "bf16i8": 5e-2}


def bound(strategy):
    return max(limit for name, limit in BOUNDS.items() if f" {name} " in f"{strategy} ")


def run(model, lengths=(7, 1, 1, 3)):
    logits, state, start = [], None, 0
    for n in lengths:
        out, state = model.forward(TOKENS[start : start + n], state, full_output=True)
        logits.append(out.cpu())
        start += n
    return torch.cat(logits)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_cuda_computes_what_the_cpu_does(strategy, checkpoint):
    exact = run(load_model(checkpoint(CASE), "cpu fp32"))
    assert kl(exact, run(load_model(checkpoint(CASE), strategy))).mean() < bound(strategy)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_cuda_agrees_with_the_official_package(strategy, checkpoint, official):
    exact = run(load_model(checkpoint(CASE), "cpu fp32", fold="file"))
    theirs = official_logits(official(checkpoint(CASE), strategy), TOKENS).cpu()
    ours = load_model(checkpoint(CASE), strategy, fold="file").forward(TOKENS, full_output=True)[0]
    assert kl(theirs, ours.cpu()).mean() < bound(strategy)
    assert kl(exact, ours.cpu()[: len(exact)]).mean() < bound(strategy)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_plan_is_really_on_the_device(strategy, checkpoint):
    model = load_model(checkpoint(CASE), strategy)
    for asked, got in zip(resolve(strategy, CASE.n_layer), model.effective_plan(), strict=True):
        is_head = got.slot == CASE.n_layer
        assert got.device == ("cuda:0" if asked.device == "cuda" else asked.device)
        assert (got.dtype, got.weight_dtype) == (asked.dtype, asked.weight_dtype)
        assert got.streamed == (asked.streamed and not is_head)


def test_streaming_is_bit_equal_to_storing_and_reuses_its_buffers(checkpoint):
    stored, streamed = (
        load_model(checkpoint(CASE), name) for name in ("cuda fp16", "cuda fp16 *2+")
    )
    lane = streamed.weights.blocks[-1].lane
    assert "copied ahead" in lane.how
    lengths = (5, *([1] * 7))
    for _ in range(20):  # a race between copy and computation would not show every time
        assert torch.equal(run(stored, lengths), run(streamed, lengths))
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    run(streamed, lengths)
    assert torch.cuda.memory_allocated() == before


def test_a_dropped_streaming_model_gives_its_memory_back(checkpoint):
    run(load_model(checkpoint(CASE), "cuda fp16"))  # cuBLAS keeps what its first product takes
    gc.collect()
    before = torch.cuda.memory_allocated()
    model = load_model(checkpoint(CASE), "cuda fp16 *2+")
    run(model)
    del model
    gc.collect()
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() == before


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_weights_take_the_bytes_that_were_forecast(strategy, checkpoint):
    model = load_model(checkpoint(CASE), strategy)
    expected = weight_bytes(CASE.shape, resolve(strategy, CASE.n_layer))
    indexed = {"cuda:0" if name == "cuda" else name: n for name, n in expected.items()}
    assert model.weight_bytes() == indexed
    logits, _ = model.forward(TOKENS)
    assert device_name(logits.device) == model.effective_plan()[-1].device
