"""Checks of the GPUs: how they are set up, and what goes on with them now. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.machine.doctor.finding import Finding, Fine, NotTold, Verdict, fact, why_missing
from harness.machine.quiet import Seen

Facts = Mapping[str, Any]


def check_others_on_gpu(facts: Facts, seen: Seen) -> Verdict:
    """Processes that compute there now."""
    name = "other processes on the GPU"
    n = seen.figures.get("foreign_gpu_processes")
    if n is None:
        return NotTold(name=name, why=_why(facts, seen, "foreign_gpu_processes"))
    if n == 0:
        return Fine(name=name)
    return Finding(
        name=name,
        severity="high",
        what=f"{n} {'process computes' if n == 1 else 'processes compute'} on a GPU",
        effect="they take its memory and its time: slower, and never alike",
        mend="nvidia-smi",
    )


def check_gpu_slowed(facts: Facts, seen: Seen) -> Verdict:
    """Heat and faults."""
    name, share = "GPU throttling", seen.figures.get("gpu_throttle_share")
    if share is None:
        return NotTold(name=name, why=_why(facts, seen, "gpu_throttle_share"))
    if share == 0:
        return Fine(name=name)
    return Finding(
        name=name,
        severity="high",
        what="heat or a fault slows a GPU down",
        effect="its clock falls to a half and less",
        mend="nvidia-smi -q -d PERFORMANCE,TEMPERATURE",
    )


def check_persistence(facts: Facts, seen: Seen) -> Verdict:
    """Whether the driver stays loaded."""
    name, off = "GPU persistence", _gpus_where(facts, "persistence", wanted=False)
    if off is None:
        return NotTold(name=name, why=_why(facts, seen, "gpus"))
    if not off:
        return Fine(name=name)
    return Finding(
        name=name,
        severity="low",
        what=f"the driver leaves between programs (persistence is off: GPU {', '.join(off)})",
        effect="the first use of each process takes a second or more: loading looks slower",
        mend="sudo nvidia-smi -pm 1",
    )


def check_gpu_clocks(facts: Facts, seen: Seen) -> Verdict:
    """Clocks that follow load and heat."""
    name, gpus = "GPU clocks", fact(facts, "gpus")
    highest = [
        one["max_sm_mhz"] for one in gpus or [] if isinstance(one.get("max_sm_mhz"), (int, float))
    ]
    if not highest:
        return NotTold(name=name, why=_why(facts, seen, "gpus"))
    return Finding(
        name=name,
        severity="low",
        what="nothing says that the GPUs' clocks are locked",
        effect="they follow load and heat: short trials begin slower, long ones end slower",
        mend=f"sudo nvidia-smi -lgc {min(highest) * 3 // 4:.0f}   # undo: sudo nvidia-smi -rgc",
    )


CHECKS: tuple[Callable[[Facts, Seen], Verdict], ...] = (
    check_others_on_gpu,
    check_gpu_slowed,
    check_persistence,
    check_gpu_clocks,
)


def _gpus_where(facts: Facts, name: str, *, wanted: bool) -> list[str] | None:
    """Numbers of the GPUs of which a fact is so; None where no GPU tells."""
    gpus = fact(facts, "gpus") or []
    told = [(at, one[name]) for at, one in enumerate(gpus) if isinstance(one.get(name), bool)]
    return [str(at) for at, value in told if value is wanted] if told else None


def _why(facts: Facts, seen: Seen, name: str) -> str:
    if fact(facts, "gpus") is None:
        return why_missing(facts, "gpus")
    return seen.missing.get(name, "NVML does not say for this card")
