"""Forward passes of one token and of a sequence, per strategy: int8 is `cpu fp32i8`."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from harness.runtime import load_model
from harness.runtime.shape import RANDOM_SHAPES
from harness.runtime.synth_file import save_random

STRATEGIES = ["cpu fp32", "cpu bf16", "cpu fp32i8"]


def pytest_generate_tests(metafunc):
    if "models" in metafunc.fixturenames:
        strategies = metafunc.config.getoption("--strategy") or STRATEGIES
        metafunc.parametrize("models", strategies, indirect=True, scope="module")


@pytest.fixture(scope="module")
def checkpoint(request, tmp_path_factory):
    """Random weights as an original checkpoint, which both sides read."""
    size = request.config.getoption("--model-size")
    path = tmp_path_factory.mktemp("weights") / f"{size}.pth"
    save_random(path, RANDOM_SHAPES[size])
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def models(request, checkpoint, official):
    """The same weights under the same strategy in both, after a look that they agree."""
    strategy = request.param
    ours = load_model(checkpoint, strategy, fold="file")
    theirs = official and official.model.RWKV(
        model=str(checkpoint.with_suffix("")), strategy=strategy
    )
    n = request.config.getoption("--prompt-tokens")
    prompt = [7 * i % ours.shape.n_vocab for i in range(n)]
    logits, state = ours.forward(prompt)
    size, threads = (request.config.getoption(o) for o in ("--model-size", "--threads"))
    pair = SimpleNamespace(
        strategy=strategy,
        detail=f"{size}, threads: {threads}",
        prompt=prompt,
        ours=ours,
        state=state,
        theirs=theirs,
    )
    if theirs:
        their_logits, pair.their_state = theirs.forward(prompt, None)
        assert torch.linalg.norm(logits - their_logits) < 0.1 * torch.linalg.norm(their_logits)
    return pair


def test_one_token(race, models, side):
    # A copy of the list: theirs writes new tensors into the list that it is given.
    race(
        f"one token, {models.strategy}",
        side,
        detail=models.detail,
        ours=lambda: models.ours.forward([510], models.state),
        theirs=models.theirs and (lambda: models.theirs.forward([510], list(models.their_state))),
    )


def test_sequence(race, models, side):
    race(
        f"{len(models.prompt)} tokens, {models.strategy}",
        side,
        detail=models.detail,
        ours=lambda: models.ours.forward(models.prompt),
        theirs=models.theirs and (lambda: models.theirs.forward(models.prompt, None)),
    )
