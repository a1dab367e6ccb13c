"""How fast a strategy will probably go: from earlier records of this machine, or from a model.

The model is coarse: Python's share per layer, and bytes or operations over what the machine does in
a tenth of a second (`machine/speed_probe.py`), with factors that were measured once, on a CPU.
Records of the same weights under the same strategy are better, and are taken where there are any.
Knows nothing of how many tokens a study wants: that is `duration.py`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.machine.speed_probe import MachineSpeed
from harness.records.past import PastRecord
from harness.runtime.shape import ModelShape
from harness.runtime.strategy import UINT8, LayerPlan
from harness.runtime.tensor_info import ITEM_BYTES
from harness.runtime.traffic import crosses_bus, matrix_items, multiplied_in

HOST = "cpu"
Source = Literal["records", "model"]
Kind = Literal["file", "random", "converted"]  # of what is loaded

# The machine whose figures these are, when it had nothing else to do; of another machine they scale
# with its own.
_PROBED = MachineSpeed(python_s=1.41e-3, copy_bytes_per_s=34e9)
START_S = 2.0  # an interpreter, torch, facts, and the end of both
_COLLECT_S = 0.1  # of rubbish, before what is timed token by token
_LAYER_S = 150e-6  # of Python and small operations, per layer and call
_OTHER_LAYER_S = 240e-6  # the same where weights are not in the activations' format
_DECODE_BYTES = {"fp32": 0.61, "bf16": 0.39, "fp16": 0.39, UINT8: 0.156}  # share of a copy's
_PREFILL_FLOP = {"fp32": 64e9, "bf16": 180e9, "fp16": 45e9}  # per second and thread
_READ_BYTES_PER_S = 0.8e9  # of a file, and casts
_DRAWN_PER_S = 94e6  # parameters of random weights
_DRAW_S, _DRAW_ITEM_S = 40e-6, 6e-9  # of one token, and more for each of the vocabulary
_SCORE_ITEM_S = 150e-9  # of the vocabulary, for each row that is held against another
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
    decode_s: float  # per step of one row
    draw_s: float = 0.0  # more per token of an answer
    collect_s: float = 0.0  # more per pass, and per visit of a depth
    head_s: float = 0.0  # more per token of a prompt whose probabilities are wanted
    score_s: float = 0.0  # more per token that is held against the reference
    answer_tokens: float | None = None  # of one question, its prompt not counted
    source: Source = "model"


def slowness(speed: MachineSpeed) -> float:
    """How many times as long a machine needs for what Python does around the model's work.

    The root of what the probe says: a shared machine is 1.8 times as slow at one moment as at the
    next, and a run is an average of such moments.
    """
    return math.sqrt(speed.python_s / _PROBED.python_s)


def recorded_pace(records: Sequence[PastRecord], modelled: Pace) -> Pace | None:
    """What records of a strategy say; `modelled` fills in what they do not. None without any.

    Rows in batches say nothing of a row alone, so only records of one row are looked at.
    """
    records = [one for one in records if one.cell.batch == 1]
    load = [one.load_s for one in records if one.load_s is not None]
    prefill = [one for record in records for one in record.prefill if one.tokens]
    answers = [answer for record in records for answer in record.answers]
    steps = [s for record in records for one in record.decode_s for s in one]
    drawn = [s for answer in answers for s in answer.decode_s]
    if not load or not (steps or drawn):
        return None
    longest = max((one.tokens for one in prefill), default=0)
    fed = [one.s / one.tokens for one in prefill if one.tokens == longest]
    lengths = [len(answer.token_ids) for answer in answers]
    pace = replace(
        modelled,
        load_s=statistics.median(load),
        call_s=0.0 if fed else modelled.call_s,
        prefill_s=statistics.median(fed) if fed else modelled.prefill_s,
        decode_s=statistics.median(steps or drawn),
        answer_tokens=statistics.fmean(lengths) if lengths else None,
        source="records",
    )
    # Depths and scores are not among these fields, so what is around them cannot be told.
    around = [
        one.took_s - _worked_s(one, pace)
        for one in records
        if one.took_s is not None and (one.decode_s or one.answers)
    ]
    return replace(pace, start_s=max(0.1, statistics.median(around))) if around else pace


def _worked_s(record: PastRecord, pace: Pace) -> float:
    """What of a trial's time went into loading and the model's work, as `duration.py` counts it."""
    work = record.load_s or pace.load_s
    passes = len(record.decode_s)
    if passes:
        timed = sum(one.s for one in record.prefill) + sum(map(sum, record.decode_s))
        speed = record.asked.get("speed") or {}
        work += timed * (passes + speed.get("warmup_passes", 1)) / passes
        work += max((one.s for one in record.prefill), default=0.0)  # once more, for its memory
        work += (passes + speed.get("warmup_passes", 1)) * pace.collect_s
    for answer in record.answers:
        drawing = pace.draw_s * len(answer.token_ids)
        work += (answer.prefill_s or 0.0) + sum(answer.decode_s) + drawing
    return work


def modelled_pace(
    shape: ModelShape,
    slots: Sequence[LayerPlan],
    speed: MachineSpeed,
    *,
    threads: int,
    loaded: Kind,
) -> Pace:
    """What can be said of a strategy before it ever ran."""
    slow = slowness(speed)
    call = decode = prefill = 0.0
    for index, slot in enumerate(slots):
        is_head = index == len(slots) - 1
        items = matrix_items(shape, is_head=is_head)
        same = slot.weight_dtype == slot.dtype == "fp32"
        call += slow * (_LAYER_S if same else _OTHER_LAYER_S)
        decode += items * ITEM_BYTES[slot.weight_dtype] / _bytes_per_s(slot, speed)
        prefill += 0.0 if is_head else 2 * items / _flop_per_s(slot, threads, slow)
    return Pace(
        start_s=START_S * slow,
        load_s=load_seconds(shape, slots, speed, loaded),
        call_s=call,
        prefill_s=prefill,
        decode_s=call + decode,
        collect_s=slow * _COLLECT_S,
        draw_s=slow * (_DRAW_S + _DRAW_ITEM_S * shape.n_vocab),
        head_s=2 * matrix_items(shape, is_head=True) / _flop_per_s(slots[-1], threads, slow),
        score_s=score_seconds(shape, speed),
    )


def load_seconds(
    shape: ModelShape, slots: Sequence[LayerPlan], speed: MachineSpeed, loaded: Kind
) -> float:
    """Opening the weights under a strategy; a file is as large as one of 16 bits."""
    if loaded == "random":
        return slowness(speed) * shape.n_params / _DRAWN_PER_S
    n_bytes = float(2 * shape.n_params)
    if loaded == "converted":
        per_slot = (ITEM_BYTES[slot.weight_dtype] for slot in slots)
        n_bytes = shape.n_params * sum(per_slot) / len(slots)
    return slowness(speed) * n_bytes / _READ_BYTES_PER_S


def score_seconds(shape: ModelShape, speed: MachineSpeed) -> float:
    """Holding one row of log-probabilities against another."""
    return slowness(speed) * _SCORE_ITEM_S * shape.n_vocab


def reference_seconds(
    shape: ModelShape, speed: MachineSpeed, *, tokens: int, rows: int, threads: int, loaded: Kind
) -> float:
    """Computing the exact reference once over `tokens` tokens, `rows` of which are kept."""
    slow = slowness(speed)
    layers = shape.n_layer * matrix_items(shape, is_head=False)
    flop = 2 * (tokens * layers + rows * matrix_items(shape, is_head=True))
    load = load_seconds(shape, (), speed, "random" if loaded == "random" else "file")
    work = flop * slow / (_PREFILL_FLOP["fp32"] * threads) + rows * score_seconds(shape, speed)
    return slow * START_S + load + work


def _bytes_per_s(slot: LayerPlan, speed: MachineSpeed) -> float:
    if crosses_bus(slot):
        return _BUS_BYTES_PER_S
    if slot.device != HOST:
        return _DEVICE_BYTES_PER_S
    return speed.copy_bytes_per_s * _DECODE_BYTES[slot.weight_dtype]


def _flop_per_s(slot: LayerPlan, threads: int, slow: float) -> float:
    if slot.device != HOST:
        return _DEVICE_FLOP_PER_S
    return _PREFILL_FLOP[multiplied_in(slot)] * threads / slow
