"""What an engine is: the small protocol between measuring and an implementation of RWKV-4.

Arrays are numpy, so that measuring and language need no torch. Shapes: B batch, T tokens, V
vocabulary. Everything is batched from the start; one question is B = 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from harness.engines.memory import SessionMemory
from harness.runtime.effective import EffectiveSlot
from harness.runtime.limits import LimitQuestion, MeasuredLimit
from harness.runtime.passage import Passage

Ids = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]
SCORE_CHUNK = 64  # tokens scored at a time: bounds the rows that are held at once
State = Any  # an engine's own; a value: feeding tokens never changes one that a caller holds


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """Which weights to open: a file, or the shape of random ones."""

    weights: Path | str  # a checkpoint, or "random:169m"
    seed: int = 0  # of random weights


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a session can be asked for."""

    n_vocab: int
    batch: bool = True
    score: bool = True


class Session(Protocol):
    """One loaded model."""

    capabilities: Capabilities

    def prefill(self, ids: Ids, state: State | None) -> tuple[Logits, State]:
        """Feed ids [B, T]; return the logits [B, V] after the last token, and the new state."""

    def step(self, ids: Ids, state: State) -> tuple[Logits, State]:
        """Feed one token per row, ids [B]; return logits [B, V] and the new state."""

    def score(self, ids: Ids) -> Iterator[Logits]:
        """Feed ids [T] into an empty state; log-probabilities of what follows each of them.

        In nats, rows [n, V] in order and in chunks of at most `SCORE_CHUNK`. Where logits are NaN,
        so are the rows.
        """

    def synchronize(self) -> None:
        """Wait until all that was asked for is computed."""

    def memory(self) -> SessionMemory:
        """What it holds on accelerators and page-locked, with peaks since `restart_memory`."""

    def restart_memory(self) -> None:
        """Let the peaks of `memory` begin anew, as when a phase begins."""

    def effective_plan(self) -> tuple[EffectiveSlot, ...]:
        """Where each slot really lies."""

    def warnings(self) -> tuple[str, ...]:
        """What the user should know of how the model was opened."""

    def close(self) -> None:
        """Free what the session holds."""


class Engine(Protocol):
    """Opens models. `name` is the word used in studies."""

    name: str

    def open(self, model: ModelSource, strategy: str, *, threads: int) -> Session:
        """Load `model` under `strategy`; raise `Unsupported` where this engine cannot."""

    def clock(self) -> float:
        """Seconds, of which differences count: real time, but for the fake engine."""

    def versions(self) -> dict[str, str]:
        """Versions of the libraries that compute, for the record."""

    def facts(self) -> dict[str, Any]:
        """What else is in force now: build, switches, threads; asked once a model is open.

        The names are declared in `harness/machine/declared.py`, group "Engine". What is not named,
        or is `{"unavailable": why}`, the engine does not know.
        """


@runtime_checkable
class Probing(Protocol):
    """An engine that can measure what the machine does at best, as far as it uses it."""

    def limit(self, question: LimitQuestion, *, threads: int) -> MeasuredLimit:
        """Answer one question; raise `Unsupported` where there is no answer."""


@runtime_checkable
class Referring(Protocol):
    """An engine that knows what a model says exactly, whatever fits into memory."""

    def reference(
        self,
        model: ModelSource,
        passages: Sequence[Passage],
        *,
        threads: int,
        on_progress: Callable[[int, int], None],
    ) -> Iterator[tuple[int, Logits]]:
        """The index of a passage and log-probabilities [n, V] of its next n wanted rows, in order.

        `on_progress` hears parts of the model that are done, and all.
        """


@runtime_checkable
class Converting(Protocol):
    """An engine that can write weights to a file in the formats of a strategy, and open that."""

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
        """Write `out`, whole or not at all; `on_progress` hears bytes written, and in all."""
