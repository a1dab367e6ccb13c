"""The `fake` engine: scripted tokens, times and failures, to drive the whole flow in tests.

Its "weights" are a YAML script. Time is a counter that the script advances, so nothing sleeps:

    vocab: 768                 # logits per step
    load_s: 0.5                # what loading takes
    prefill_s: 0.001           # per token
    decode_s: [0.01, 0.02]     # per step, in turn and over again
    tokens: [[5, 6, 0], [7]]   # answer per prefill, in turn; then token 0 for ever
    device_memory: {"cuda:0": {allocated_peak_bytes: 7}}  # in each phase, as torch would say
    warnings: []               # of how the model was opened
    facts: {threads_in_force: 1}   # for the record, in place of what libraries would say
    log: opened.log            # beside the script: a line for each model that is opened
    prompts: prompts.log       # likewise: a line for each prompt that is fed, its ids behind a tab
    slow_down: {to: 1.2, over: 40}  # from the first line of the log to the 40th, all takes longer
    scatter: 0.01              # of what a model takes, from line to line: a share
    fail: {at: decode, how: crash, after: 3}
    memory: {at: decode, bytes: 300000000, where: child, for_s: 0.2}
    slow: {at: decode, after: 2, times: 1, s: 700}
    child: {at: open, mark: WORD, leaves: session}
    strategies:                # the same keys again, for one strategy
      cpu bf16: {decode_s: [0.005]}

The four events before `strategies`, and when they are due, are described in `fake_script.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from harness.engines.base import SCORE_CHUNK, Capabilities, Ids, Logits, ModelSource
from harness.engines.fake_script import Script, allocate, fail, pace, read_script, start_child
from harness.engines.memory import Held, SessionMemory
from harness.runtime.effective import EffectiveSlot


class FakeEngine:
    """Opens scripts."""

    name = "fake"

    def __init__(self) -> None:
        self._now = 0.0
        self._facts: dict[str, Any] = {}

    def open(self, model: ModelSource, strategy: str, *, threads: int) -> FakeSession:
        """Read the script and follow it for `strategy`."""
        del threads  # nothing is computed
        path = Path(model.weights)
        script = read_script(path, strategy)
        opened = _log(path, script, strategy)
        self._facts = dict(script.values.get("facts", {}))
        prompts = script.values.get("prompts")
        session = FakeSession(
            self,
            script,
            pace(script, opened),
            prompts=None if prompts is None else (path.parent / prompts, strategy),
        )
        session.pass_time("open", script.values.get("load_s", 0.5))
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

    def facts(self) -> dict[str, Any]:
        """As scripted."""
        return self._facts


class FakeSession:
    """Follows one script. A state is (answer, position): a value."""

    def __init__(
        self,
        engine: FakeEngine,
        script: Script,
        pace: float = 1.0,
        *,
        prompts: tuple[Path, str] | None = None,  # the file for them, and the strategy
    ) -> None:
        self._engine = engine
        self._pace = pace
        self._script = script
        self._prompts = prompts
        self._decode_s = script.values.get("decode_s", [0.01])
        self._answers = script.values.get("tokens", [])
        self._calls = {"open": 0, "prefill": 0, "decode": 0}
        self._held: list[bytearray] = []
        self.capabilities = Capabilities(n_vocab=script.values.get("vocab", 768))

    def prefill(self, ids: Ids, state: Any) -> tuple[Logits, Any]:
        """Feed ids [B, T]; the next scripted answer begins."""
        del state
        if self._prompts is not None:
            path, strategy = self._prompts
            _append(path, f"{strategy}\t{ids.tolist()}")
        answer = self._calls["prefill"]
        seconds = self._script.values.get("prefill_s", 0.001) * ids.shape[1]
        spoilt = self.pass_time("prefill", seconds)
        return self._logits(ids.shape[0], answer, 0, spoilt=spoilt), (answer, 1)

    def step(self, ids: Ids, state: Any) -> tuple[Logits, Any]:
        """Feed ids [B]; the scripted answer goes on."""
        answer, position = state
        seconds = self._decode_s[self._calls["decode"] % len(self._decode_s)]
        spoilt = self.pass_time("decode", seconds)
        return self._logits(len(ids), answer, position, spoilt=spoilt), (answer, position + 1)

    def score(self, ids: Ids) -> Iterator[Logits]:
        """Every token is equally likely."""
        for start in range(0, len(ids), SCORE_CHUNK):
            shape = (len(ids[start : start + SCORE_CHUNK]), self.capabilities.n_vocab)
            yield np.full(shape, -np.log(self.capabilities.n_vocab), dtype=np.float32)

    def synchronize(self) -> None:
        """Nothing is ever under way."""

    def memory(self) -> SessionMemory:
        """As scripted, alike in all phases."""
        devices = self._script.values.get("device_memory", {})
        return SessionMemory(
            devices={
                device: {name: Held(bytes=n, method="scripted") for name, n in figures.items()}
                for device, figures in devices.items()
            },
            pinned=Held(missing="nothing is page-locked"),
        )

    def restart_memory(self) -> None:
        """Nothing is counted."""

    def effective_plan(self) -> tuple[EffectiveSlot, ...]:
        """Nothing is loaded anywhere."""
        return ()

    def warnings(self) -> tuple[str, ...]:
        """As scripted."""
        return tuple(self._script.values.get("warnings", ()))

    def close(self) -> None:
        """Give back the memory that was scripted to be held."""
        self._held.clear()

    def pass_time(self, at: str, seconds: float) -> bool:
        """One call of the kind `at`: let happen what is scripted for it, and its time pass.

        Returns True where what is scripted is logits that are not numbers.
        """
        call = self._calls[at]
        self._calls[at] += 1
        for event in self._script.events("child", at, call):
            start_child(event)
        for event in self._script.events("memory", at, call):
            held = allocate(event)
            if held is not None:
                self._held.append(held)
        spoilt = False
        for event in self._script.events("fail", at, call):
            spoilt = fail(event["how"]) or spoilt
        for event in self._script.events("slow", at, call):
            seconds = seconds * event.get("factor", 1.0) + event.get("s", 0.0)
        self._engine.advance(seconds * self._pace)
        return spoilt

    def _logits(self, batch: int, answer: int, position: int, *, spoilt: bool) -> Logits:
        tokens = self._answers[answer % len(self._answers)] if self._answers else []
        token = tokens[position] if position < len(tokens) else 0
        logits = np.zeros((batch, self.capabilities.n_vocab), dtype=np.float32)
        logits[:, token] = np.nan if spoilt else 1.0
        return logits


def _log(path: Path, script: Script, strategy: str) -> int:
    """Say in the scripted log that a model was opened, and in whose service; its lines before."""
    name: str | None = script.values.get("log")
    if name is None:
        return 0
    _append(path.parent / name, f"{os.getppid()} {strategy}")
    return (path.parent / name).read_bytes().count(b"\n") - 1


def _append(path: Path, line: str) -> None:
    """One line at once: several processes may do so."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)
