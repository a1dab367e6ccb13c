"""The `speed` workload: where a token's time is measured.

Prefill and decode are timed directly and apart, each call from handing over its tokens to having
its logits, with the device synchronised on both sides. Tokens are drawn from a seed, not from the
model, so that every strategy computes the same thing; sampling and text are not part of it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from harness.config.study import Speed
from harness.engines.base import Ids, Logits, Session, State
from harness.errors import NotANumber
from harness.measure.job import Passed
from harness.records.record import Prefill

Clock = Callable[[], float]


def measure_speed(
    session: Session, speed: Speed, seed: int, clock: Clock, send: Callable[[Passed], None]
) -> None:
    """Warm up, then send each measured pass; raises `NotANumber` for logits that are none."""
    random = np.random.Generator(np.random.PCG64(seed))
    prompts = [_draw(random, session, (speed.batch, n)) for n in speed.prompt_lengths]
    decoded = _draw(random, session, (speed.generate_tokens, speed.batch))
    for _ in range(speed.warmup_passes):
        _pass(session, prompts, decoded, clock)
    for _ in range(speed.passes):
        send(_pass(session, prompts, decoded, clock))


def time_prefill(session: Session, prompt: Ids, clock: Clock) -> tuple[float, State]:
    """Seconds to feed prompt [B, T] into an empty state, and the state behind it."""
    session.synchronize()
    start = clock()
    logits, state = session.prefill(prompt, None)
    session.synchronize()
    elapsed = clock() - start
    _check_finite(logits, f"prefill of {prompt.shape[1]} tokens")
    return elapsed, state


def time_decode(session: Session, tokens: Ids, state: State, clock: Clock) -> list[float]:
    """Seconds of each step over tokens [n, B], one by one."""
    seconds = []
    for ids in tokens:
        start = clock()
        logits, state = session.step(ids, state)
        session.synchronize()
        seconds.append(clock() - start)
        _check_finite(logits, f"decoding {len(seconds)} tokens")
    return seconds


def _pass(session: Session, prompts: list[Ids], decoded: Ids, clock: Clock) -> Passed:
    with _no_garbage_collection():
        prefill = []
        for prompt in prompts:
            elapsed, state = time_prefill(session, prompt, clock)
            prefill.append(Prefill(tokens=prompt.shape[1], s=elapsed))
        return Passed(prefill=prefill, decode_s=time_decode(session, decoded, state, clock))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Collect before, and not while: a collection would land on one token's time."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _draw(random: np.random.Generator, session: Session, shape: tuple[int, int]) -> Ids:
    return random.integers(0, session.capabilities.n_vocab, size=shape, dtype=np.int64)


def _check_finite(logits: Logits, what: str) -> None:
    if not np.isfinite(logits).all():
        n = int((~np.isfinite(logits)).sum())
        raise NotANumber(f"{n} of {logits.size} logits are NaN or infinite after {what}")
