"""Checks of the GPUs: how they are set up, and what goes on with them now. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.machine.doctor.finding import Finding, Fine, NotTold, Verdict, fact, why_missing
from harness.machine.quiet import Seen
from harness.machine.quiet.gpu import SET_BY_USER

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
        mend="nvidia-smi   # then end what is not needed there, or wait",
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
    """Clocks that follow load and heat.

    NVML has no question for a lock (`nvidia-smi -lgc`), but a card shows it: a free clock falls
    while the card rests, a locked one stays.
    """
    name, gpus = "GPU clocks", fact(facts, "gpus")
    highest = {
        at: one["max_sm_mhz"]
        for at, one in enumerate(gpus or [])
        if isinstance(one.get("max_sm_mhz"), (int, float))
    }
    if not highest:
        return NotTold(name=name, why=_why(facts, seen, "gpus"))
    now = {one["index"]: one for one in seen.figures.get("gpus", [])}
    said = [_free_clock(at, most, now.get(at, {})) for at, most in highest.items()]
    free = [text for text in said if text is not None]
    if not free:
        return Fine(name=name)
    return Finding(
        name=name,
        severity="low",
        what="; ".join(free),
        effect="clocks follow load and heat: short trials begin slower, long ones end slower",
        mend=f"sudo nvidia-smi -lgc {min(highest.values()) * 3 // 4:.0f}"
        "   # undo: sudo nvidia-smi -rgc",
    )


def _free_clock(at: int, most_mhz: float, now: Mapping[str, Any]) -> str | None:
    """What speaks for a clock that is not locked; None where it seems to be."""
    lowest, usual = now.get("sm_min_mhz"), now.get("sm_median_mhz")
    if SET_BY_USER in now.get("slowed_by", ()):
        return None
    if lowest is None or usual is None:
        return f"nothing says that the clock of GPU {at} is locked"
    if lowest < most_mhz / 2:
        return (
            f"the clock of GPU {at} is not locked, or low: {lowest:,.0f} MHz were seen, "
            f"{most_mhz:,.0f} are its most"
        )
    if lowest == usual < most_mhz:
        return None  # neither at rest nor at its most: it stands still
    return f"nothing says that the clock of GPU {at} is locked: {usual:,.0f} MHz were seen"


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
