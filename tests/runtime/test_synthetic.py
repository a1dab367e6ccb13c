"""Random weights: live, deterministic, and of the published shapes."""

import pytest
import torch

from harness.runtime import load_model
from harness.runtime.forecast import weight_bytes
from harness.runtime.shape import RANDOM_SHAPES, original_tensors
from harness.runtime.strategy import resolve
from harness.runtime.synthetic import RandomSource
from tests.runtime.conftest import CASES, Case

SMALL = Case(3, 32, 80, torch.bfloat16)


@pytest.mark.parametrize(
    ("size", "n_params"),
    [
        ("169m", 169_342_464),
        ("430m", 430_397_440),
        ("1b5", 1_515_106_304),
        ("3b", 2_984_627_200),
        ("7b", 7_392_649_216),
        ("14b", 14_148_597_760),
    ],
)
def test_published_sizes(size, n_params):
    assert RANDOM_SHAPES[size].n_params == n_params


def test_tensors_depend_on_seed_and_name_alone():
    names = list(original_tensors(SMALL.shape))
    forwards = {name: RandomSource(SMALL.shape, 3).read(name) for name in names}
    backwards = {name: RandomSource(SMALL.shape, 3).read(name) for name in reversed(names)}
    other = RandomSource(SMALL.shape, 4)
    for name in names:
        assert torch.equal(forwards[name], backwards[name])
        assert not torch.equal(forwards[name], other.read(name))
        assert forwards[name].std() > 0


@pytest.mark.parametrize("strategy", ["cpu fp32", "cpu bf16", "cpu fp32i8 *2 -> cpu bf16i8"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_forecast_is_what_is_stored(case, strategy, checkpoint):
    model = load_model(checkpoint(case), strategy)
    assert weight_bytes(case.shape, resolve(strategy, case.n_layer)) == model.weight_bytes()
