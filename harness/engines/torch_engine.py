"""The `torch` engine: our own runtime behind the engine protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from harness.engines.base import SCORE_CHUNK, Capabilities, Ids, Logits, ModelSource
from harness.engines.memory import SessionMemory
from harness.engines.torch_facts import torch_facts
from harness.engines.torch_memory import restart_torch_memory, torch_memory
from harness.runtime.convert import convert
from harness.runtime.devices import DeviceMap
from harness.runtime.effective import EffectiveSlot
from harness.runtime.exact import exact_log_probs
from harness.runtime.limits import LimitQuestion, MeasuredLimit
from harness.runtime.model import Model, load_model
from harness.runtime.passage import Passage
from harness.runtime.roofline import Prober
from harness.runtime.state import State


class TorchEngine:
    """Opens models with `harness.runtime`."""

    name = "torch"

    def open(self, model: ModelSource, strategy: str, *, threads: int) -> TorchSession:
        """Load under `strategy`; raises the runtime's own errors."""
        torch.set_num_threads(threads)
        return TorchSession(load_model(model.weights, strategy, seed=model.seed))

    def convert(
        self,
        model: ModelSource,
        strategy: str,
        out: Path,
        *,
        threads: int,
        source_sha256: str,
        on_progress: Callable[[int, int], None],
    ) -> None:
        """Write a converted file; raises what `harness.runtime.convert` raises."""
        torch.set_num_threads(threads)
        convert(
            model.weights,
            out,
            strategy,
            seed=model.seed,
            source_sha256=source_sha256,
            on_progress=on_progress,
        )

    def reference(
        self,
        model: ModelSource,
        passages: Sequence[Passage],
        *,
        threads: int,
        on_progress: Callable[[int, int], None],
    ) -> Iterator[tuple[int, Logits]]:
        """Log-probabilities in exact float32, layer by layer; raises what `exact.py` raises."""
        torch.set_num_threads(threads)
        return exact_log_probs(model.weights, passages, seed=model.seed, on_progress=on_progress)

    def limit(self, question: LimitQuestion, *, threads: int) -> MeasuredLimit:
        """Measure what the machine does at best; raises `Unsupported`, or torch's own errors."""
        torch.set_num_threads(threads)
        return Prober(devices=DeviceMap()).measure(question)

    def clock(self) -> float:
        """Seconds of real time."""
        return time.perf_counter()

    def versions(self) -> dict[str, str]:
        """torch's version, and CUDA's where it was built with it."""
        versions = {"torch": str(torch.__version__)}
        if torch.version.cuda is not None:
            versions["torch_cuda"] = torch.version.cuda
        return versions

    def facts(self) -> dict[str, Any]:
        """torch's build, switches and threads."""
        return torch_facts()


class TorchSession:
    """One model of the runtime."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.capabilities = Capabilities(n_vocab=model.shape.n_vocab)
        self._used = {plan.device for plan in model.plans} - {"cpu"}
        self._accelerators = sorted(
            {plan.device for plan in model.plans if plan.device.startswith("cuda")}
        )

    def prefill(self, ids: Ids, state: State | None) -> tuple[Logits, State]:
        """Feed ids [B, T] -> logits [B, V]."""
        logits, state = self._model.forward(ids.tolist(), state)
        return _to_numpy(logits), state

    def step(self, ids: Ids, state: State) -> tuple[Logits, State]:
        """Feed ids [B] -> logits [B, V]."""
        logits, state = self._model.forward(ids.reshape(-1, 1).tolist(), state)
        return _to_numpy(logits), state

    def score(self, ids: Ids) -> Iterator[Logits]:
        """Feed ids [T] -> log-probabilities [n, V], chunk by chunk."""
        state = None
        for start in range(0, len(ids), SCORE_CHUNK):
            fed = ids[start : start + SCORE_CHUNK].tolist()
            logits, state = self._model.forward(fed, state, full_output=True)
            yield _to_numpy(torch.log_softmax(logits, dim=-1))

    def synchronize(self) -> None:
        """Wait for the accelerators; the CPU computes at once."""
        for device in self._accelerators:
            torch.cuda.synchronize(device)

    def memory(self) -> SessionMemory:
        """What torch's allocators say, and what streaming has page-locked."""
        return torch_memory(self._used, self._model.locked_bytes())

    def restart_memory(self) -> None:
        """Let the allocators' peaks begin anew."""
        restart_torch_memory(self._used)

    def effective_plan(self) -> tuple[EffectiveSlot, ...]:
        """Read back from the loaded tensors."""
        return self._model.effective_plan()

    def warnings(self) -> tuple[str, ...]:
        """Stages that the plan cut, dropped or stretched."""
        return self._model.plan_warnings()

    def close(self) -> None:
        """Drop the model."""
        del self._model


def _to_numpy(tensor: torch.Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = tensor.cpu().numpy()
    return array
