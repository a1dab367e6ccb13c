"""Synthetic live checkpoints in the official key layout, and the official package to run them."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

# Read by the official package when it is imported: without TorchScript it starts in no time.
os.environ.setdefault("RWKV_JIT_ON", "0")
os.environ.setdefault("RWKV_CUDA_ON", "0")
os.environ.pop("RWKV_RESCALE_LAYER", None)

from harness.runtime import load_model
from harness.runtime.devices import DeviceMap
from harness.runtime.shape import ModelShape, original_tensors
from harness.runtime.synthetic import RandomSource

torch.set_num_threads(1)  # matrices this small wait longer for a second thread than they compute

TOKENS = [5, 1, 60, 7, 33, 2, 9, 9, 4, 20, 11, 3]


class Case(NamedTuple):
    """One synthetic checkpoint: odd sizes on purpose."""

    n_layer: int
    n_embd: int
    dim_ffn: int
    dtype: torch.dtype
    shared_storage: bool = False

    @property
    def shape(self) -> ModelShape:
        return ModelShape(
            n_layer=self.n_layer, n_embd=self.n_embd, n_vocab=61, dim_ffn=self.dim_ffn
        )

    @property
    def name(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        storage = "-shared" if self.shared_storage else ""
        return f"L{self.n_layer}-D{self.n_embd}-F{self.dim_ffn}-{dtype}{storage}"


CASES = [
    Case(1, 32, 128, torch.float32),
    Case(3, 32, 80, torch.bfloat16),
    Case(13, 96, 288, torch.float32),
    Case(13, 96, 384, torch.bfloat16, shared_storage=True),
    Case(3, 768, 1536, torch.bfloat16),
]


def random_tensors(case: Case, seed: int = 0) -> dict[str, torch.Tensor]:
    source = RandomSource(case.shape, seed, case.dtype)
    tensors = {name: source.read(name) for name in original_tensors(case.shape)}
    return views_of_one_storage(tensors) if case.shared_storage else tensors


def views_of_one_storage(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors as the big official files hold them: all views into one flat storage."""
    flat = torch.cat([tensor.flatten() for tensor in tensors.values()])
    views, start = {}, 0
    for name, tensor in tensors.items():
        views[name] = flat[start : start + tensor.numel()].view(tensor.shape)
        start += tensor.numel()
    return views


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Path of a case's `.pth`, written once."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def write(case: Case) -> Path:
        path = folder / f"{case.name}.pth"
        if not path.exists():
            torch.save(random_tensors(case), path)
        return path

    return write


@pytest.fixture(scope="session")
def official():
    """Load a checkpoint with the official package."""
    rwkv_model = pytest.importorskip("rwkv.model")

    def load(path: Path, strategy: str):
        # It collects garbage after each tensor, which takes longer than all else in a test; and so
        # does old torch when it looks for CUDA anew each time memory is to be pinned.
        with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(rwkv_model.gc, "collect", lambda: 0)
            if not torch.cuda.is_available():
                patch.setattr(torch.Tensor, "pin_memory", _refuse_to_pin)
            return rwkv_model.RWKV(str(path.with_suffix("")), strategy, verbose=False)

    return load


@pytest.fixture(scope="session")
def official_convert(checkpoint, tmp_path_factory):
    """Path of a case's `.pth` as the official package converts it, written once."""
    rwkv_model = pytest.importorskip("rwkv.model")
    folder = tmp_path_factory.mktemp("converted-by-the-official-package")
    written: dict[tuple[Case, str], Path] = {}

    def convert(case: Case, strategy: str) -> Path:
        if (case, strategy) in written:
            return written[case, strategy]
        path = folder / f"{len(written)}.pth"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rwkv_model.gc, "collect", lambda: 0)
            patch.setattr(rwkv_model, "exit", sys.exit, raising=False)  # which closes no stdin
            with pytest.raises(SystemExit, match="0"):
                rwkv_model.RWKV(str(checkpoint(case)), strategy, False, str(path))
        written[case, strategy] = path
        return path

    return convert


def _refuse_to_pin(_tensor):
    raise RuntimeError("no CUDA")


def official_logits(model, tokens: list[int]) -> torch.Tensor:
    """Logits [T, V] of a whole sequence."""
    logits, _ = model.forward(tokens, None, full_output=True)
    return logits.reshape(len(tokens), -1)


def kl(p_logits: torch.Tensor, q_logits: torch.Tensor) -> torch.Tensor:
    """KL(p ‖ q) in nats of logits [..., V], in float64."""
    p, q = (torch.log_softmax(t.double(), dim=-1) for t in (p_logits, q_logits))
    return (p.exp() * (p - q)).sum(-1)


# -- converted files -----------------------------------------------------------------------------

DEEP = Case(13, 32, 96, torch.bfloat16, shared_storage=True)
ODD = Case(3, 48, 101, torch.float32)
# Every device name of the strategies, all of them on the CPU.
DEVICES = DeviceMap(dict.fromkeys(["cpu", "cuda", "cuda:0", "cuda:1", "mps"], torch.device("cpu")))


def content_of(path):
    """All that torch reads. What is in these files is known, so the fast reader may read it."""
    return torch.load(path, weights_only=False)


def our_logits(path, strategy, fold="float32"):
    """Logits of our runtime for a sequence, and for a token behind it."""
    model = load_model(path, strategy, fold=fold, devices=DEVICES)
    first, state = model.forward(TOKENS, full_output=True)
    second, _ = model.forward([7], state)
    return torch.cat((first, second[None]))
