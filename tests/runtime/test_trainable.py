"""The differentiable model computes what the runtime computes, and its gradients are right."""

import torch

from harness.runtime import load_model
from harness.runtime.trainable import TrainableRwkv4, _wkv
from tests.runtime.conftest import TOKENS


def trained(seed=0):
    torch.manual_seed(seed)
    model = TrainableRwkv4(n_vocab=61, n_embd=32, n_layer=3)
    with torch.no_grad():  # at its start the model is half dead: bring every weight to life
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def test_a_saved_model_runs_the_same(tmp_path):
    model = trained()
    torch.save(model.state_dict(), tmp_path / "m.pth")
    with torch.no_grad():
        expected = model(torch.tensor([TOKENS, TOKENS[::-1]]))
    logits, _ = load_model(tmp_path / "m.pth", "cpu fp32").forward(
        [TOKENS, TOKENS[::-1]], full_output=True
    )
    assert (logits - expected).abs().max() < 2e-5


def test_gradients_of_the_recurrence():
    generator = torch.Generator().manual_seed(0)

    def leaf(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64).requires_grad_()

    w = (-torch.rand(3, generator=generator, dtype=torch.float64) - 0.1).requires_grad_()
    assert torch.autograd.gradcheck(_wkv, (w, leaf(3), leaf(2, 5, 3), leaf(2, 5, 3)))
