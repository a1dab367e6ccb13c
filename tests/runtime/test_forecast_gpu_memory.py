"""The CUDA strategies of configs/raven.yaml, 1b5-shaped, on a real device: memory and agreement.

The forecast is held to the peak of torch's allocator, the logits to the official package's on the
same device. Figures are printed: `pytest -s tests/runtime/test_forecast_gpu_memory.py`.
"""

import gc
from pathlib import Path

import pytest
import torch

from harness.config.load import load_study
from harness.runtime.forecast import forecast
from harness.runtime.model import load_model
from harness.runtime.shape import RANDOM_SHAPES
from harness.runtime.strategy import resolve
from harness.runtime.synth_file import save_random
from tests.runtime.conftest import kl, official_logits

pytestmark = pytest.mark.gpu

SHAPE = RANDOM_SHAPES["1b5"]
RAVEN = load_study(Path(__file__).parents[2] / "configs" / "raven.yaml").study
CUDA = [strategy for strategy in RAVEN.strategies if "cuda" in strategy]
# KL from the official package, in nats per token: what fp16 and int8 cost each of the two.
BOUND = {"fp16": 1e-3, "fp16i8": 1e-2}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "1b5.pth"
    save_random(path, SHAPE)
    yield path
    path.unlink()


@pytest.mark.parametrize("strategy", [*CUDA, "cuda fp16 *10+"])
def test_the_peak_on_the_device_is_within_ten_percent(strategy, weights):
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(0)
    [device] = forecast(SHAPE, resolve(strategy, SHAPE.n_layer)).accelerators
    measured = {}

    torch.cuda.reset_peak_memory_stats(0)
    model = load_model(weights, strategy)
    measured["load"] = torch.cuda.max_memory_allocated(0) - before
    torch.cuda.reset_peak_memory_stats(0)
    state = None
    for token in range(4):
        _, state = model.forward([token], state)
    measured["decode"] = torch.cuda.max_memory_allocated(0) - before
    torch.cuda.reset_peak_memory_stats(0)
    model.forward(list(range(256)))
    measured["prefill"] = torch.cuda.max_memory_allocated(0) - before

    foreseen = {
        "load": device.load_bytes,
        "decode": device.decode_bytes,
        "prefill": device.prefill_bytes,
    }
    off = {phase: foreseen[phase] / n - 1 for phase, n in measured.items()}
    print(f"\n{strategy}")
    for phase, n in measured.items():
        mib = f"forecast {foreseen[phase] / 2**20:7.1f} MiB, measured {n / 2**20:7.1f} MiB"
        print(f"  {phase:8}{mib}, {off[phase]:+.1%}")
    assert max(map(abs, off.values())) <= 0.10, off


@pytest.mark.parametrize("strategy", CUDA)
def test_logits_are_those_of_the_official_package(strategy, weights, official):
    tokens = [7 * i % SHAPE.n_vocab for i in range(32)]
    theirs = official_logits(official(weights, strategy), tokens).cpu()
    gc.collect()
    torch.cuda.empty_cache()
    model = load_model(weights, strategy, fold="file")
    whole, _ = model.forward(tokens, full_output=True)
    _, state = model.forward(tokens[:-1])
    last, _ = model.forward(tokens[-1:], state)
    spread = kl(theirs, whole.cpu()).mean()
    print(f"\n{strategy}: mean KL from the official package {spread:.2e}")
    bound = BOUND["fp16i8" if "i8" in strategy else "fp16"]
    assert spread < bound
    assert kl(theirs[-1], last.cpu()) < 10 * bound
