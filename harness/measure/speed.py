"""The `speed` workload: where a token's time is measured.

Prefill and decode are timed directly and apart, each call from handing over its tokens to having
its logits, with the device synchronised on both sides. Tokens are drawn from a seed, not from the
model, so that every strategy computes the same thing; sampling and text are not part of it. The
very first pass, when everything is cold, is kept apart from the measured ones.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias

import numpy as np

from harness.config.study import Speed
from harness.engines.base import Ids, Logits, Session, State
from harness.errors import NotANumber, Unsupported
from harness.measure.energy import Windows
from harness.measure.job import FirstPassed, Passed
from harness.records.energy import PassEnergy
from harness.records.latency import FirstPass, Prefill

Clock = Callable[[], float]
_Send: TypeAlias = Callable[[FirstPassed | Passed], None]


class Span(NamedTuple):
    """When something began and ended, in seconds of the engine's clock."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.begin


class _Taken(NamedTuple):
    """What one pass has measured so far."""

    prefill: list[Prefill]
    steps: list[Span]

    def passed(self, end_to_end_s: float | None = None, energy: PassEnergy | None = None) -> Passed:
        """All of it, as it is sent."""
        return Passed(
            prefill=self.prefill,
            decode_s=[step.seconds for step in self.steps],
            end_to_end_s=end_to_end_s,
            energy=energy,
        )


def measure_speed(  # noqa: PLR0913 - what is measured, by what clock, and who hears of it
    session: Session,
    speed: Speed,
    seed: int,
    clock: Clock,
    send: _Send,
    *,
    batch: int = 1,
    energy: Windows | None = None,
) -> None:
    """Run and send the first pass, warm up, then send each measured pass.

    The first pass is the first of the warm-up passes; without any it is the first measured one, and
    is sent as both. What a pass had measured when it failed is sent too. Raises `NotANumber` for
    logits that are none, `Unsupported` for a batch that the engine cannot run.
    """
    if batch > 1 and not session.capabilities.batch:
        raise Unsupported(f"this engine runs one row at a time, not a batch of {batch}")
    random = np.random.Generator(np.random.PCG64(seed))
    prompts = [draw_ids(random, session, (batch, n)) for n in speed.prompt_lengths]
    decoded = draw_ids(random, session, (speed.generate_tokens, batch))
    for number in range(speed.warmup_passes + speed.passes):
        measured = number >= speed.warmup_passes
        taken = _Taken([], [])
        try:
            passed = _pass(session, prompts, decoded, clock, energy, taken)
        except Exception:
            if taken.prefill:
                _send(taken.passed(), number, measured=measured, send=send)
            raise
        _send(passed, number, measured=measured, send=send)


def _send(passed: Passed, number: int, *, measured: bool, send: _Send) -> None:
    if number == 0:
        send(FirstPassed(first_pass=_first(passed, measured=measured)))
    if measured:
        send(passed)


def time_prefill(session: Session, prompt: Ids, clock: Clock) -> tuple[Span, State]:
    """When prompt [B, T] was fed into an empty state, and the state behind it."""
    session.synchronize()
    begin = clock()
    logits, state = session.prefill(prompt, None)
    session.synchronize()
    end = clock()
    check_finite(logits, f"prefill of {prompt.shape[1]} tokens")
    return Span(begin, end), state


def time_decode(session: Session, tokens: Ids, state: State, clock: Clock) -> Iterator[Span]:
    """When each step over tokens [n, B] ran, one by one, as each is done."""
    for number, ids in enumerate(tokens, start=1):
        begin = clock()
        logits, state = session.step(ids, state)
        session.synchronize()
        end = clock()
        check_finite(logits, f"decoding {number} tokens")
        yield Span(begin, end)


def _pass(
    session: Session,
    prompts: list[Ids],
    decoded: Ids,
    clock: Clock,
    energy: Windows | None,
    taken: _Taken,
) -> Passed:
    """All of a pass; `taken` has its parts as they are there."""
    mark = _no_mark if energy is None else energy.mark
    with no_garbage_collection():
        mark()
        for prompt in prompts:
            last, state = time_prefill(session, prompt, clock)
            taken.prefill.append(Prefill(tokens=prompt.shape[1], s=last.seconds))
        mark()
        taken.steps.extend(time_decode(session, decoded, state, clock))
        mark()
    return taken.passed(
        end_to_end_s=taken.steps[-1].end - last.begin,
        energy=None if energy is None else energy.taken(),
    )


def _no_mark() -> None:
    pass


def _first(passed: Passed, *, measured: bool) -> FirstPass:
    return FirstPass(
        prefill=passed.prefill,
        decode_s=passed.decode_s,
        end_to_end_s=passed.end_to_end_s,
        measured=measured,
    )


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect before, and not while: a collection would land on one token's time."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def draw_ids(random: np.random.Generator, session: Session, shape: tuple[int, int]) -> Ids:
    """Token ids of the session's vocabulary, in `shape`."""
    return random.integers(0, session.capabilities.n_vocab, size=shape, dtype=np.int64)


def check_finite(logits: Logits, what: str) -> None:
    """Raise `NotANumber` where logits are none; `what` says after what they came."""
    if not np.isfinite(logits).all():
        n = int((~np.isfinite(logits)).sum())
        raise NotANumber(f"{n} of {logits.size} logits are NaN or infinite after {what}")
