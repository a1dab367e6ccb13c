"""The facts of one trial: the machine's, and what the worker said of what it ran with. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from harness.machine.facts import unavailable
from harness.machine.probe import engine_facts
from harness.measure.job import Imported, Message, Opened

_NOT_SO_FAR = "the trial did not come this far"
_NOT_THERE = {
    "weights_sha256": "the weights were not hashed",
    "tokenizer_sha256": "the model has no tokenizer",
    "questions_sha256": "the study asks no questions",
    "study_sha256": "the study was not read from a file",
}
# What the engine read back, and for what.
_THREADS = {
    "threads_in_force": "for one operation",
    "omp_max_threads": "for OpenMP",
    "mkl_max_threads": "for MKL",
}


def facts_of(
    machine_facts: Mapping[str, Any], messages: Sequence[Message], engine: str
) -> dict[str, Any]:
    """Every declared fact but the study's; what nobody said has its reason.

    The worker's go before the machine's: it may run long after the run began, or under another
    interpreter.
    """
    imported = next((m for m in messages if isinstance(m, Imported)), None)
    opened = next((m for m in messages if isinstance(m, Opened)), None)
    said = {
        **({} if imported is None else imported.versions),
        **({} if opened is None else opened.facts),
    }
    return {
        **machine_facts,
        **({} if imported is None else imported.provenance),
        **engine_facts(said, engine, why_silent=_NOT_SO_FAR if opened is None else None),
    }


def hashes(**known: str | None) -> dict[str, Any]:
    """Hashes of what the study names, by their facts' names; one of what is not there has why."""
    return {
        name: unavailable(_NOT_THERE[name]) if sha256 is None else sha256
        for name, sha256 in known.items()
    }


def thread_warning(asked: int, facts: Mapping[str, Any]) -> str | None:
    """A sentence where another number of threads than `asked` was in force; else None.

    Variables such as OMP_THREAD_LIMIT take threads away without a word from any library. What the
    engine did not say is no difference.
    """
    found = [(n, what) for name, what in _THREADS.items() if _is_count(n := facts.get(name))]
    other = [f"{n} {what}" for n, what in found if n != asked]
    if not other:
        return None
    limit = facts.get("omp_thread_limit")
    why = f" (OMP_THREAD_LIMIT is {limit})" if _is_count(limit) and limit < asked else ""
    threads = "1 thread" if asked == 1 else f"{asked} threads"
    return f"The study asks for {threads}; in force: {', '.join(other)}{why}."


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
