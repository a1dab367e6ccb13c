"""How fast a strategy will probably go: from earlier records of this machine, or from a model.

The model is coarse: Python's share per layer, and bytes or operations over what the machine does in
a tenth of a second (`machine/speed_probe.py`), with factors that were measured once, on a CPU.
Records of the same weights under the same strategy are better, and are taken where there are any.
Knows nothing of how many tokens a study wants: that is `duration.py`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.machine.speed_probe import MachineSpeed
from harness.records.past import PastRecord
from harness.runtime.shape import ModelShape
from harness.runtime.strategy import UINT8, LayerPlan
from harness.runtime.traffic import crosses_bus, matrix_items, multiplied_in

HOST = "cpu"

# Measured on the machine whose probe these are; another machine's times scale with its own.
_PROBED = MachineSpeed(python_s=1.5e-3, copy_bytes_per_s=38e9)
_START_S = 2.3  # an interpreter, torch, facts, and the end of both
_LAYER_S = 150e-6  # of Python and small operations, per layer and call
_OTHER_LAYER_S = 240e-6  # the same where weights are not the activations' format
_DECODE_BYTES = {
    "fp32": 0.55,
    "bf16": 0.35,
    "fp16": 0.35,
    UINT8: 0.14,
}  # share of the copy's bytes/s
_PREFILL_FLOP = {
    "fp32": 90e9,
    "bf16": 180e9,
    "fp16": 45e9,
}  # per s and thread; scales as Python does
_READ_BYTES_PER_S = 1.0e9  # of a file, casts included
_RANDOM_PER_S = 60e6  # parameters that are drawn
# Of an accelerator nothing is known before it is asked, and asking takes longer than a plan may.
_DEVICE_BYTES_PER_S = 600e9
_DEVICE_FLOP_PER_S = 30e12
_BUS_BYTES_PER_S = 12e9


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """Seconds of the parts of a trial."""

    start_s: float  # an interpreter with its libraries, and what is done around the work
    load_s: float
    call_s: float  # of feeding any number of tokens at once, whatever their number
    prefill_s: float  # more per token of a prompt
    decode_s: float  # per token
    answer_tokens: float | None = None  # of one question, its prompt not counted
    source: Literal["records", "model"] = "model"


def recorded_pace(records: Sequence[PastRecord], modelled: Pace) -> Pace | None:
    """What records of a strategy say; `modelled` fills in what they do not. None without any."""
    load = [one.load_s for one in records if one.load_s is not None]
    prefill = [one for record in records for one in record.prefill if one.tokens]
    decode = [s for record in records for one in record.decode_s for s in one]
    answers = [answer for record in records for answer in record.answers]
    steps = [s for answer in answers for s in answer.decode_s]
    if not load or not (decode or steps):
        return None
    longest = max((one.tokens for one in prefill), default=0)
    fed = [one.s / one.tokens for one in prefill if one.tokens == longest]
    pace = replace(
        modelled,
        load_s=statistics.median(load),
        call_s=0.0 if fed else modelled.call_s,
        prefill_s=statistics.median(fed) if fed else modelled.prefill_s,
        decode_s=statistics.median(decode or steps),
        answer_tokens=_mean([len(answer.token_ids) for answer in answers]),
        source="records",
    )
    around = [one.took_s - _timed_s(one, pace) for one in records if one.took_s is not None]
    return replace(pace, start_s=max(0.1, statistics.median(around))) if around else pace


def _timed_s(record: PastRecord, pace: Pace) -> float:
    """What of a trial's time went into loading and the model's work, as `duration.py` counts it."""
    work = sum(one.s for one in record.prefill) + sum(s for one in record.decode_s for s in one)
    passes = len(record.decode_s)
    if passes:  # one more to warm up, and one prompt to read memory behind
        work += work / passes + max((one.s for one in record.prefill), default=0.0)
    for answer in record.answers:
        work += (answer.prefill_s or 0.0) + sum(answer.decode_s)
    return work + (record.load_s or pace.load_s)


def _mean(values: Sequence[int]) -> float | None:
    return sum(values) / len(values) if values else None


def modelled_pace(
    shape: ModelShape,
    slots: Sequence[LayerPlan],
    speed: MachineSpeed,
    *,
    threads: int,
    file_bytes: int | None,
) -> Pace:
    """What can be said of a strategy before it ever ran; `file_bytes` None: random weights."""
    python = speed.python_s / _PROBED.python_s
    call = decode = prefill = 0.0
    for index, slot in enumerate(slots):
        is_head = index == len(slots) - 1
        items = matrix_items(shape, is_head=is_head)
        n_bytes = items * (
            1 if slot.weight_dtype == UINT8 else 4 if slot.weight_dtype == "fp32" else 2
        )
        same = slot.weight_dtype == slot.dtype == "fp32"
        call += python * (_LAYER_S if same else _OTHER_LAYER_S)
        if slot.device == HOST:
            bandwidth = speed.copy_bytes_per_s * _DECODE_BYTES.get(slot.weight_dtype, 0.3)
            flop = _PREFILL_FLOP.get(multiplied_in(slot), 90e9) * threads / python
        else:
            bandwidth, flop = _DEVICE_BYTES_PER_S, _DEVICE_FLOP_PER_S
        if crosses_bus(slot):
            bandwidth = _BUS_BYTES_PER_S
        decode += n_bytes / bandwidth
        prefill += 0.0 if is_head else 2 * items / flop
    return Pace(
        start_s=_START_S * python,
        load_s=(
            shape.n_params / _RANDOM_PER_S if file_bytes is None else file_bytes / _READ_BYTES_PER_S
        ),
        call_s=call,
        prefill_s=prefill,
        decode_s=call + decode,
    )
