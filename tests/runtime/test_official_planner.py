"""Random strategies plan as the official package plans them, apart from the listed repairs."""

import random

import pytest
import torch

from harness.runtime.strategy import resolve
from tests.runtime.conftest import Case

DTYPES = {
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.uint8: "uint8",
}


def random_strategy(rng: random.Random) -> str:
    stages = []
    for _ in range(rng.randint(1, 3)):
        stage = f"{rng.choice(['cpu', 'cuda', 'cuda:1'])} {rng.choice(['fp32', 'fp16', 'bf16'])}"
        stage += rng.choice(["", "i8"])
        kind = rng.randint(0, 2)
        if kind == 1:
            stage += f" *{rng.randint(1, 6)}"  # not *0: the official package divides by zero
        if kind == 2:
            stage += f" *{rng.randint(0, 6)}+"
        stages.append(stage)
    return " -> ".join(stages)


@pytest.mark.parametrize("seed", range(60))
def test_plans_are_the_official_ones(seed, checkpoint):
    rwkv_model = pytest.importorskip("rwkv.model")
    strategy = random_strategy(random.Random(seed))
    case = Case(3, 32, 80, torch.bfloat16)
    model = rwkv_model.RWKV.__new__(rwkv_model.RWKV)
    try:
        model.__init__(str(checkpoint(case).with_suffix("")), strategy, verbose=False)
    except (RuntimeError, AssertionError):  # no CUDA here; the plan is made before
        if "cuda" not in strategy:
            raise
    theirs = [
        (slot.device, DTYPES[slot.atype], DTYPES[slot.wtype], bool(slot.stream))
        for slot in model.strategy
    ]
    ours = [
        (
            "cuda:0" if plan.device == "cuda" else plan.device,
            plan.dtype,
            plan.weight_dtype,
            plan.streamed,
        )
        for plan in resolve(strategy, case.n_layer)
    ]
    assert [
        (str(d).replace("cuda", "cuda:0") if str(d) == "cuda" else str(d), *rest)
        for d, *rest in theirs
    ] == ours
