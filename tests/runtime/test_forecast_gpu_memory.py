"""The forecast against the peak of torch's allocator on a real CUDA device, 1b5-shaped.

Figures are printed: `pytest -s tests/runtime/test_forecast_gpu_memory.py`.
"""

import gc

import pytest
import torch

from harness.runtime.forecast import forecast
from harness.runtime.model import load_model
from harness.runtime.shape import RANDOM_SHAPES
from harness.runtime.strategy import resolve
from harness.runtime.synth_file import save_random

pytestmark = pytest.mark.gpu

SHAPE = RANDOM_SHAPES["1b5"]
STRATEGIES = (
    "cuda fp16",
    "cuda fp16i8",
    "cuda fp16i8 *10 -> cuda fp16",
    "cuda fp16 *10 -> cpu fp32",
    "cuda fp16 *10+",
    "cuda fp16i8 *10+",
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "1b5.pth"
    save_random(path, SHAPE)
    yield path
    path.unlink()


@pytest.mark.parametrize("strategy", STRATEGIES)
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
