"""The `fake` engine: scripted tokens, times and failures, to drive the whole flow in tests.

Its "weights" are a YAML script. Time is a counter that the script advances, so nothing sleeps:

    vocab: 768                 # logits per step
    load_s: 0.5                # what loading takes
    prefill_s: 0.001           # per token
    decode_s: [0.01, 0.02]     # per step, in turn and over again
    tokens: [[5, 6, 0], [7]]   # answer per prefill, in turn; then token 0 for ever
    peak_device_bytes: {}      # as an accelerator would report
    fail: {at: decode, how: crash, after: 3}
    strategies:                # the same keys again, for one strategy
      cpu bf16: {decode_s: [0.005]}

`at` is open, prefill or decode; `after` counts the calls that still succeed. `how` is crash (a
signal), exit, hang, out_of_memory_host, out_of_memory_device, not_a_number, unsupported, or error.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from harness.engines.base import Capabilities, Ids, Logits, ModelSource
from harness.errors import BadInput, Unsupported
from harness.runtime.effective import EffectiveSlot


class OutOfMemoryError(RuntimeError):
    """Stands for the error that torch raises when an accelerator is full."""


class FakeEngine:
    """Opens scripts."""

    name = "fake"

    def __init__(self) -> None:
        self._now = 0.0

    def open(self, model: ModelSource, strategy: str, *, threads: int) -> FakeSession:
        """Read the script and follow it for `strategy`."""
        del threads  # nothing is computed
        script = _read(Path(model.weights))
        script = {**script, **script.get("strategies", {}).get(strategy, {})}
        session = FakeSession(self, script)
        session.maybe_fail("open")
        self.advance(script.get("load_s", 0.5))
        return session

    def clock(self) -> float:
        """Scripted seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let scripted time pass."""
        self._now += seconds

    def versions(self) -> dict[str, str]:
        """Nothing computes, so there is nothing to name."""
        return {}


class FakeSession:
    """Follows one script. A state is (answer, position): a value."""

    def __init__(self, engine: FakeEngine, script: dict[str, Any]) -> None:
        self._engine = engine
        self._script = script
        self._decode_s = script.get("decode_s", [0.01])
        self._answers = script.get("tokens", [])
        self._calls = {"open": 0, "prefill": 0, "decode": 0}
        self.capabilities = Capabilities(n_vocab=script.get("vocab", 768))

    def prefill(self, ids: Ids, state: Any) -> tuple[Logits, Any]:
        """Feed ids [B, T]; the next scripted answer begins."""
        del state
        answer = self._calls["prefill"]
        spoilt = self.maybe_fail("prefill")
        self._engine.advance(self._script.get("prefill_s", 0.001) * ids.shape[1])
        return self._logits(ids.shape[0], answer, 0, spoilt=spoilt), (answer, 1)

    def step(self, ids: Ids, state: Any) -> tuple[Logits, Any]:
        """Feed ids [B]; the scripted answer goes on."""
        answer, position = state
        spoilt = self.maybe_fail("decode")
        calls = self._calls["decode"] - 1
        self._engine.advance(self._decode_s[calls % len(self._decode_s)])
        return self._logits(len(ids), answer, position, spoilt=spoilt), (answer, position + 1)

    def score(self, ids: Ids) -> npt.NDArray[np.float32]:
        """Every token is equally likely."""
        shape = (ids.shape[0], ids.shape[1] - 1)
        return np.full(shape, -np.log(self.capabilities.n_vocab), dtype=np.float32)

    def synchronize(self) -> None:
        """Nothing is ever under way."""

    def device_peak_bytes(self) -> dict[str, int]:
        """As scripted."""
        return dict(self._script.get("peak_device_bytes", {}))

    def effective_plan(self) -> tuple[EffectiveSlot, ...]:
        """Nothing is loaded anywhere."""
        return ()

    def warnings(self) -> tuple[str, ...]:
        """As scripted."""
        return tuple(self._script.get("warnings", ()))

    def close(self) -> None:
        """Nothing is held."""

    def maybe_fail(self, at: str) -> bool:
        """Count a call, and fail in the scripted way once its turn has come.

        Returns True where the failure is logits that are not numbers.
        """
        fail = self._script.get("fail")
        self._calls[at] += 1
        if fail is None or fail["at"] != at or self._calls[at] <= fail.get("after", 0):
            return False
        return _fail(fail["how"])

    def _logits(self, batch: int, answer: int, position: int, *, spoilt: bool) -> Logits:
        tokens = self._answers[answer % len(self._answers)] if self._answers else []
        token = tokens[position] if position < len(tokens) else 0
        logits = np.zeros((batch, self.capabilities.n_vocab), dtype=np.float32)
        logits[:, token] = np.nan if spoilt else 1.0
        return logits


def _fail(how: str) -> bool:
    if how == "not_a_number":
        return True
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "exit":
        os._exit(7)
    if how == "hang":
        threading.Event().wait()
    if how == "out_of_memory_host":
        raise MemoryError("scripted")
    if how == "out_of_memory_device":
        raise OutOfMemoryError("scripted")
    if how == "unsupported":
        raise Unsupported("scripted: this engine does not do that")
    raise RuntimeError("scripted error")


def _read(path: Path) -> dict[str, Any]:
    try:
        script = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadInput(f"{path}: not a script for the fake engine: {error}") from error
    if not isinstance(script, dict):
        raise BadInput(f"{path}: a script for the fake engine is a mapping")
    return script
