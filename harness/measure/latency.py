"""What a worker's messages say of latency, as the record keeps it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from harness.measure.job import FedContext, FirstPassed, Message, Passed, VisitedDepth
from harness.records.latency import Latency

_NOT_SO_FAR = "the trial did not come this far"


def latency_of(messages: Sequence[Message], workload: str) -> Latency | None:
    """First pass, end to end and depth sweep; None for answers, which carry their own."""
    if workload == "answers":
        return None
    first = next((m.first_pass for m in messages if isinstance(m, FirstPassed)), None)
    passes = [
        m.end_to_end_s
        for m in messages
        if isinstance(m, Passed) and m.end_to_end_s is not None  # it was broken off
    ]
    depth = [m.visit for m in messages if isinstance(m, VisitedDepth)]
    missing = {}
    if first is None:
        missing["first_pass"] = _why("speed", workload)
    if not passes:
        missing["end_to_end_s"] = _why("speed", workload)
    if not depth:
        missing["depth"] = _why("depth", workload)
    fed = [m.fed for m in messages if isinstance(m, FedContext)]
    if not fed:
        missing["fed"] = _why("depth", workload)
    return Latency(
        first_pass=first,
        end_to_end_s=passes,
        depth=depth,
        fed=fed,
        missing=missing,
    )


def _why(needed: str, workload: str) -> str:
    return _NOT_SO_FAR if needed == workload else f"the workload '{needed}' measures it"
