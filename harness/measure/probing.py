"""The worker's side of measuring the machine's limits: question after question, each answer sent.

Knows the engine protocol; nothing of studies or trials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from harness.engines.base import Engine, Probing
from harness.errors import HarnessError, Unsupported
from harness.measure.job import LimitFound
from harness.records.roofline import Limit
from harness.runtime.limits import LimitQuestion


def probe_limits(
    engine: Engine,
    questions: Iterable[LimitQuestion],
    threads: int,
    send: Callable[[LimitFound], None],
) -> None:
    """Send the answer to each question; one that has none gives the reason, and the rest goes on.

    Raises `Unsupported` for an engine that cannot be asked.
    """
    if not isinstance(engine, Probing):
        raise Unsupported(f"the {engine.name} engine does not measure what a machine can do")
    for question in questions:
        send(LimitFound(limit=_answer(engine, question, threads)))


def unanswered(question: LimitQuestion, why: str) -> Limit:
    """What stands for a limit that is not known."""
    return Limit(
        kind=question.kind, device=question.device, dtype=question.dtype, missing=why[:500]
    )


def _answer(engine: Probing, question: LimitQuestion, threads: int) -> Limit:
    try:
        found = engine.limit(question, threads=threads)
    except (HarnessError, RuntimeError, MemoryError) as error:  # torch's errors are RuntimeErrors
        return unanswered(question, " ".join(str(error).split()) or type(error).__name__)
    return Limit(
        kind=question.kind,
        device=question.device,
        dtype=question.dtype,
        bytes_per_s=found.bytes_per_s,
        flop_per_s=found.flop_per_s,
        method=f"{found.method}, best of {len(found.samples_s)}",
        samples_s=list(found.samples_s),
    )
