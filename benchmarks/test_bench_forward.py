"""Forward passes of one token and of a sequence, per strategy: int8 is `cpu fp32i8`."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from benchmarks.conftest import chosen_strategies
from harness.runtime import load_model


def pytest_generate_tests(metafunc):
    if "models" in metafunc.fixturenames:
        strategies = chosen_strategies(metafunc.config)
        metafunc.parametrize("models", strategies, indirect=True, scope="module")


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
