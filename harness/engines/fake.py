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
    wait: {at: reference, file: pipe}
    model: {likely: 4.0}       # it stands for a model, whose tokens it gives in place of `tokens`
    references: references.log # beside the script: a line for each reference, rows of its passages
    strategies:                # the same keys again, for one strategy
      cpu bf16: {decode_s: [0.005], off: {likely: 0.1}}

The five events before `model`, and when they are due, are described in `fake_script.py`, a model
and how far a strategy may be off it in `fake_model.py`. A script without a model has no reference,
and to score, every token is equally likely.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.engines.base import SCORE_CHUNK, Capabilities, Ids, Logits, ModelSource
from harness.engines.fake_model import exact_model, model_under
from harness.engines.fake_script import (
    Script,
    allocate,
    fail,
    pace,
    read_script,
    start_child,
    wait_for,
)
from harness.engines.memory import Held, SessionMemory
from harness.errors import Unsupported
from harness.runtime.effective import EffectiveSlot
from harness.runtime.passage import Passage

_N_VOCAB = 768


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
        course = _Course(script, path.parent, self.advance, pace(script, opened))
        session = FakeSession(
            script,
            course,
            opened,
            prompts=None if prompts is None else (path.parent / prompts, strategy),
        )
        course.call("open", script.values.get("load_s", 0.5))
        return session

    def reference(
        self,
        model: ModelSource,
        passages: Sequence[Passage],
        *,
        threads: int,
        on_progress: Callable[[int, int], None],
    ) -> Iterator[tuple[int, Logits]]:
        """Log-probabilities of the script's model itself, whatever its strategies make of it.

        Every chunk of rows is a call of the kind `reference`. Raises `Unsupported` where there is
        no such model.
        """
        del threads
        path = Path(model.weights)
        script = read_script(path, None)
        exact = exact_model(script.values, script.values.get("vocab", _N_VOCAB))
        if exact is None:
            raise Unsupported("this script stands for no model, so it has no reference")
        if "references" in script.values:
            rows = " ".join(str(one.n_rows) for one in passages)
            _append(path.parent / script.values["references"], rows)
        course = _Course(script, path.parent, self.advance)
        for index, one in enumerate(passages):
            on_progress(index, len(passages))
            text = exact.fed_all(exact.empty, one.ids[: one.first])
            for start in range(one.first, len(one.ids), SCORE_CHUNK):
                fed = one.ids[start : start + SCORE_CHUNK]
                spoilt = course.call("reference", script.values.get("prefill_s", 0.001) * len(fed))
                yield index, _spoilt(exact.log_probs(text, fed), spoilt=spoilt)
                text = exact.fed_all(text, fed)
        on_progress(len(passages), len(passages))

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
    """Follows one script. A state is a value: (answer, position), or with a model the text so far.

    There is one text per row of the batch.
    """

    def __init__(
        self,
        script: Script,
        course: _Course,
        opened: int = 0,  # how often models were, before this one
        *,
        prompts: tuple[Path, str] | None = None,  # the file for them, and the strategy
    ) -> None:
        self._script = script
        self._course = course
        self._prompts = prompts
        self._decode_s = script.values.get("decode_s", [0.01])
        self._answers = script.values.get("tokens", [])
        self.capabilities = Capabilities(n_vocab=script.values.get("vocab", _N_VOCAB))
        self._model = model_under(script.values, self.capabilities.n_vocab, opened)

    def prefill(self, ids: Ids, state: Any) -> tuple[Logits, Any]:
        """Feed ids [B, T]; without a model the next scripted answer begins."""
        if self._prompts is not None:
            path, strategy = self._prompts
            _append(path, f"{strategy}\t{ids.tolist()}")
        answer = self._course.calls["prefill"]
        seconds = self._script.values.get("prefill_s", 0.001) * ids.shape[1]
        spoilt = self._course.call("prefill", seconds)
        if self._model is None:
            return self._scripted(len(ids), answer, 0, spoilt=spoilt), (answer, 1)
        return self._computed(ids, state or (self._model.empty,) * len(ids), spoilt=spoilt)

    def step(self, ids: Ids, state: Any) -> tuple[Logits, Any]:
        """Feed ids [B]; the answer goes on."""
        seconds = self._decode_s[self._course.calls["decode"] % len(self._decode_s)]
        spoilt = self._course.call("decode", seconds)
        if self._model is not None:
            return self._computed(ids[:, None], state, spoilt=spoilt)
        answer, position = state
        return self._scripted(len(ids), answer, position, spoilt=spoilt), (answer, position + 1)

    def score(self, ids: Ids) -> Iterator[Logits]:
        """Rows of the model; without one every token is equally likely."""
        spoilt = self._course.call("score", self._script.values.get("prefill_s", 0.001) * len(ids))
        text = 0 if self._model is None else self._model.empty
        for start in range(0, len(ids), SCORE_CHUNK):
            fed = ids[start : start + SCORE_CHUNK].tolist()
            if self._model is None:
                shape = (len(fed), self.capabilities.n_vocab)
                rows = np.full(shape, -np.log(self.capabilities.n_vocab), dtype=np.float32)
            else:
                rows, text = self._model.log_probs(text, fed), self._model.fed_all(text, fed)
            yield _spoilt(rows, spoilt=spoilt)

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
        self._course.held.clear()

    def _scripted(self, batch: int, answer: int, position: int, *, spoilt: bool) -> Logits:
        tokens = self._answers[answer % len(self._answers)] if self._answers else []
        token = tokens[position] if position < len(tokens) else 0
        logits = np.zeros((batch, self.capabilities.n_vocab), dtype=np.float32)
        logits[:, token] = np.nan if spoilt else 1.0
        return logits

    def _computed(self, ids: Ids, texts: Sequence[int], *, spoilt: bool) -> tuple[Logits, Any]:
        assert self._model is not None
        fed = zip(texts, ids.tolist(), strict=True)
        after = tuple(self._model.fed_all(text, tokens) for text, tokens in fed)
        return _spoilt(self._model.logits(after), spoilt=spoilt), after


class _Course:
    """What happens in a process by its script, call after call."""

    def __init__(
        self, script: Script, folder: Path, advance: Callable[[float], None], pace: float = 1.0
    ) -> None:
        self.calls: Counter[str] = Counter()  # by kind
        self.held: list[bytearray] = []
        self._script = script
        self._folder = folder
        self._advance = advance
        self._pace = pace

    def call(self, at: str, seconds: float) -> bool:
        """One call of the kind `at`: let happen what is scripted for it, and its time pass.

        Returns True where what is scripted is logits that are not numbers.
        """
        call = self.calls[at]
        self.calls[at] += 1
        for event in self._script.events("child", at, call):
            start_child(event)
        for event in self._script.events("wait", at, call):
            wait_for(self._folder / event["file"])
        for event in self._script.events("memory", at, call):
            held = allocate(event)
            if held is not None:
                self.held.append(held)
        spoilt = False
        for event in self._script.events("fail", at, call):
            spoilt = fail(event["how"]) or spoilt
        for event in self._script.events("slow", at, call):
            seconds = seconds * event.get("factor", 1.0) + event.get("s", 0.0)
        self._advance(seconds * self._pace)
        return spoilt


def _spoilt(rows: Logits, *, spoilt: bool) -> Logits:
    """The rows, or as many that are not numbers."""
    return np.full_like(rows, np.nan) if spoilt else rows


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
