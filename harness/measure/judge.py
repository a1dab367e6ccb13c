"""From what a worker said and how it died to a typed outcome. Pure."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from msgspec import structs

from harness.measure.job import Answered, Failed, FedContext, Finished, Job, Opened, PhaseEnded
from harness.measure.process import Ended
from harness.records.limits import TrialLimits
from harness.records.record import Outcome, SlotRecord
from harness.runtime.strategy import LayerPlan, device_key
from harness.sizes import size


def judge(ended: Ended, requested: Sequence[LayerPlan] | None) -> Outcome:
    """The outcome of a trial whose strategy resolves to `requested` (None: not known)."""
    outcome = _judge(ended, requested)
    if outcome.kind == "ok" or ended.returncode == 0:
        return outcome
    if ended.returncode > 0:
        return structs.replace(outcome, exit_code=ended.returncode)
    return structs.replace(outcome, signal=_signal(ended.returncode))


def _judge(ended: Ended, requested: Sequence[LayerPlan] | None) -> Outcome:
    for message in ended.messages:
        if isinstance(message, Failed):
            return _failure(message, ended)
    is_complete = any(isinstance(message, Finished) for message in ended.messages)
    if ended.timed_out_s is not None:
        return Outcome(
            kind="timeout",
            reason=f"gave no result within {ended.timed_out_s:g} s, {_reached(ended)}",
            detail=ended.log_tail,
            limit=f"limits.trial_s: {ended.timed_out_s:g} s",
        )
    if not is_complete and ended.passed_bytes is not None:
        return Outcome(
            kind="out_of_memory_host",
            reason=f"held {size(ended.passed_bytes)}, more than {ended.room.short}, "
            f"{_reached(ended)}",
            detail=ended.log_tail,
            limit=ended.room.words,
        )
    if not is_complete:
        return _crash(ended)
    mismatch = _mismatch(ended, requested)
    if mismatch:
        return Outcome(kind="wrong_strategy", reason=mismatch)
    return Outcome(kind="ok")


def remarks(ended: Ended, job: Job) -> list[str]:
    """What to say of a trial beside its outcome."""
    found = [exit_warning(ended)]
    answers = [one.answer for one in ended.messages if isinstance(one, Answered)]
    n_cut = sum(answer.stop == "cut" for answer in answers)
    if n_cut:
        found.append(
            f"{n_cut} of {len(answers)} answers cut at limits.question_s: {job.question_s:g} s"
        )
    if ended.strays:
        found.append(f"processes that left the worker's group were ended: {ended.strays}")
    return [one for one in found if one is not None]


def limits_held(ended: Ended, job: Job) -> TrialLimits:
    """The limits that a worker ran under, and what was seen of it."""
    return TrialLimits(
        trial_s=ended.deadline_s,
        question_s=job.question_s,
        memory=ended.memory,
        address_space_bytes=job.address_space_bytes,
    )


def exit_warning(ended: Ended) -> str | None:
    """What to say of a worker that had given all its results and then did not leave cleanly."""
    if ended.returncode == 0 or not any(isinstance(m, Finished) for m in ended.messages):
        return None
    return f"after its last result {_death(ended.returncode)}"


def plan_mismatch(requested: Sequence[LayerPlan], effective: Sequence[SlotRecord]) -> str | None:
    """The first slot that is not where, or not what, was asked for; None if all are."""
    if len(requested) != len(effective):
        return f"asked for {len(requested)} slots, {len(effective)} were loaded"
    head = len(requested) - 1
    for index, (asked, got) in enumerate(zip(requested, effective, strict=True)):
        # The head is never streamed, also where its slot is (as in the official package).
        streamed = asked.streamed and index != head
        wanted = (device_key(asked.device), asked.dtype, asked.weight_dtype, streamed)
        loaded = (device_key(got.device), got.dtype, got.weight_dtype, got.streamed)
        for what, want, have in zip(
            ("device", "dtype", "weight dtype", "streamed"), wanted, loaded, strict=True
        ):
            if want != have:
                return f"slot {index}: asked for {what} {want}, but {have} was loaded"
    return None


def _mismatch(ended: Ended, requested: Sequence[LayerPlan] | None) -> str | None:
    opened = [message for message in ended.messages if isinstance(message, Opened)]
    if requested is None or not opened:
        return None
    return plan_mismatch(requested, opened[0].plan)


def _crash(ended: Ended) -> Outcome:
    if ended.oom_kills > 0 and ended.returncode == -signal.SIGKILL:
        return Outcome(
            kind="out_of_memory_host",
            reason=f"killed by the system for want of memory, {_reached(ended)}",
            detail=ended.log_tail,
        )
    # The C library gives up so where it cannot have even its own few bytes.
    is_full = ended.address_space_bytes is not None and "cannot allocate" in ended.log_tail.lower()
    return Outcome(
        kind="out_of_memory_host" if is_full else "crashed",
        reason=f"{_death(ended.returncode)}, {_reached(ended)}",
        detail=ended.log_tail,
        limit=_address_space(ended) if is_full else None,
    )


def _failure(message: Failed, ended: Ended) -> Outcome:
    """What the worker said itself, with what libraries printed besides."""
    printed = ended.log_tail.strip()
    is_full = message.kind == "out_of_memory_host"
    return Outcome(
        kind=message.kind,  # type: ignore[arg-type]
        reason=message.reason,
        detail=f"{message.detail}\n\nIts output ended:\n{printed}" if printed else message.detail,
        limit=_address_space(ended) if is_full else None,
    )


def _address_space(ended: Ended) -> str | None:
    """The limit of the address space, as outcomes name it; None where there is none."""
    if ended.address_space_bytes is None:
        return None
    return f"limits.address_space: {size(ended.address_space_bytes)}"


def _death(returncode: int) -> str:
    if returncode >= 0:
        return f"the worker exited with code {returncode}"
    return f"the worker was killed by {_signal(returncode)}"


def _signal(returncode: int) -> str:
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return str(-returncode)


def _reached(ended: Ended) -> str:
    """How far it came, in words."""
    words = {
        "imported": "while loading the model",
        "opened": "after loading the model",
        "written": "while converting the weights",
        "converted": "after converting the weights",
    }
    messages = [one for one in ended.messages if not isinstance(one, PhaseEnded)]
    last = messages[-1] if messages else None
    if last is None:
        return "before the engine was imported"
    tag = type(last).__struct_config__.tag
    if isinstance(last, FedContext):
        return f"after feeding {last.fed.to_tokens} tokens of context"
    n = sum(isinstance(message, type(last)) for message in messages)
    return words.get(str(tag), f"after {n} {'result' if n == 1 else 'results'}")
