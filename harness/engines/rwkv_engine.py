"""The `rwkv` engine: the official package, as a peer to compare with.

Runs it as its users do (TorchScript on, no CUDA extension), one row at a time, because that is all
it offers. Its object prints while it loads; that goes to the trial's log.
"""

from __future__ import annotations

import contextlib
import copy
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.engines.base import SCORE_CHUNK, Capabilities, Ids, Logits, ModelSource
from harness.engines.memory import SessionMemory
from harness.errors import MissingExtra, Unsupported
from harness.runtime.checkpoint import Header, read_header
from harness.runtime.dtypes import NAMES
from harness.runtime.effective import EffectiveSlot
from harness.runtime.strategy import canonical

# What the package reads, and sets itself: TorchScript, its CUDA extension, other generations.
_SWITCHES = ("RWKV_JIT_ON", "RWKV_CUDA_ON", "RWKV_RESCALE_LAYER", "RWKV_V7_ON", "RWKV_DML_ON")


class RwkvEngine:
    """Opens models with the `rwkv` package."""

    name = "rwkv"

    def open(self, model: ModelSource, strategy: str, *, threads: int) -> RwkvSession:
        """Load an original `.pth` under `strategy`, or one converted for just that strategy."""
        if str(model.weights).startswith("random:"):
            raise Unsupported("the rwkv engine reads files; random weights are for engine torch")
        if Path(model.weights).suffix != ".pth":
            raise Unsupported(f"the rwkv package reads .pth files only, not {model.weights}")
        header = read_header(model.weights)
        _require_its_strategy(header, strategy)
        import torch

        torch.set_num_threads(threads)
        os.environ.setdefault("RWKV_JIT_ON", "1")
        os.environ.setdefault("RWKV_CUDA_ON", "0")
        try:
            from rwkv.model import RWKV
        except ImportError as error:
            raise MissingExtra("rwkv", "peers") from error
        shape = header.shape
        path = str(model.weights).removesuffix(".pth")
        with contextlib.redirect_stdout(sys.stderr):  # it prints every tensor as it loads
            loaded = RWKV(model=path, strategy=strategy)
        return RwkvSession(loaded, shape.n_vocab, shape.n_layer)

    def clock(self) -> float:
        """Seconds of real time."""
        return time.perf_counter()

    def versions(self) -> dict[str, str]:
        """The package's version and torch's."""
        from importlib.metadata import version

        import torch

        # As torch says it itself, which names the build too.
        return {"rwkv": version("rwkv"), "torch": str(torch.__version__)}

    def facts(self) -> dict[str, Any]:
        """torch's facts, whose switches the package sets, and the package's own switches."""
        from harness.engines.torch_facts import torch_facts

        switches = {name: os.environ[name] for name in _SWITCHES if name in os.environ}
        return {**torch_facts(), "rwkv_switches": switches}


class RwkvSession:
    """One model of the official package."""

    def __init__(self, model: Any, n_vocab: int, n_layer: int) -> None:
        self._model = model
        self._n_layer = n_layer
        self._used = {str(one.device) for one in model.strategy} - {"cpu"}
        self.capabilities = Capabilities(n_vocab=n_vocab, batch=False)

    def prefill(self, ids: Ids, state: Any) -> tuple[Logits, Any]:
        """Feed ids [1, T] -> logits [1, V]."""
        _require_one_row(ids)
        # It writes into the list of tensors it is given; ours is a value.
        logits, state = self._model.forward(ids[0].tolist(), copy.deepcopy(state))
        return logits.float().cpu().numpy()[None], state

    def step(self, ids: Ids, state: Any) -> tuple[Logits, Any]:
        """Feed ids [1] -> logits [1, V]."""
        _require_one_row(ids)
        # On the CPU it puts new tensors into the list, so a copy of the list protects the old ones.
        logits, state = self._model.forward([int(ids[0])], list(state))
        return logits.float().cpu().numpy()[None], state

    def score(self, ids: Ids) -> Iterator[Logits]:
        """Feed ids [T] -> log-probabilities [n, V], chunk by chunk."""
        import torch

        state = None
        for start in range(0, len(ids), SCORE_CHUNK):
            fed = ids[start : start + SCORE_CHUNK].tolist()
            logits, state = self._model.forward(fed, state, full_output=True)
            rows = logits.float().reshape(len(fed), -1)  # of one token it gives [V]
            log_p: Logits = torch.log_softmax(rows, dim=-1).cpu().numpy()
            yield log_p

    def synchronize(self) -> None:
        """The CPU computes at once; CUDA is waited for when logits come to the host."""

    def memory(self) -> SessionMemory:
        """What torch's allocators say; the package page-locks through torch alone."""
        from harness.engines.torch_memory import torch_memory

        return torch_memory(self._used)

    def restart_memory(self) -> None:
        """Let the allocators' peaks begin anew."""
        from harness.engines.torch_memory import restart_torch_memory

        restart_torch_memory(self._used)

    def effective_plan(self) -> tuple[EffectiveSlot, ...]:
        """Read back from the package's tensors."""
        return tuple(self._slot(i) for i in range(self._n_layer + 1))

    def _slot(self, index: int) -> EffectiveSlot:
        is_head = index == self._n_layer
        prefixes = ("ln_out.", "head.") if is_head else (f"blocks.{index}.",)
        tensors = {k: t for k, t in self._model.w.items() if k.startswith(prefixes)}
        norm = tensors["ln_out.weight" if is_head else f"blocks.{index}.ln1.weight"]
        matrix = tensors["head.weight" if is_head else f"blocks.{index}.att.key.weight"]
        return EffectiveSlot(
            slot=index,
            device=str(norm.device),
            dtype=NAMES[norm.dtype],
            weight_dtype=NAMES[matrix.dtype],
            streamed=bool(self._model.strategy[index].stream),
            bytes=sum(t.numel() * t.element_size() for t in tensors.values()),
            kernels={"all": f"rwkv package, JIT {os.environ['RWKV_JIT_ON']}"},
        )

    def warnings(self) -> tuple[str, ...]:
        """The package says nothing that its log does not."""
        return ()

    def close(self) -> None:
        """Drop the model."""
        del self._model


def _require_its_strategy(header: Header, strategy: str) -> None:
    """The package compares the texts of strategies, and fails without a word where they differ."""
    if header.converted is not None and header.converted.strategy != canonical(strategy):
        raise Unsupported(
            f"{header.path} was converted for '{header.converted.strategy}', and the rwkv package "
            f"runs it under that strategy only, not under '{strategy}'. Give it the original."
        )


def _require_one_row(ids: Ids) -> None:
    if ids.shape[0] != 1:
        raise Unsupported(f"the rwkv package runs one row at a time, not {ids.shape[0]}")
