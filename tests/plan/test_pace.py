"""How fast a strategy will go: the model on the machine it was made on, and records before it."""

import pytest

from harness.machine.speed_probe import MachineSpeed
from harness.plan.pace import Pace, modelled_pace, recorded_pace, reference_seconds
from harness.records.latency import Prefill
from harness.records.past import PastAnswer, PastCell, PastOutcome, PastRecord
from harness.runtime.shape import RANDOM_SHAPES
from harness.runtime.strategy import resolve

SHAPE = RANDOM_SHAPES["169m"]
PROBED = MachineSpeed(python_s=1.41e-3, copy_bytes_per_s=34e9)
TWICE_AS_SLOW = MachineSpeed(python_s=4 * 1.41e-3, copy_bytes_per_s=17e9)
MODELLED = Pace(
    start_s=2.0, load_s=1.0, call_s=0.1, prefill_s=0.2, decode_s=0.3, draw_s=0.01, collect_s=0.25
)


def modelled(strategy, speed=PROBED, *, threads=1, loaded="random", shape=SHAPE):
    slots = resolve(strategy, shape.n_layer)
    return modelled_pace(shape, slots, speed, threads=threads, loaded=loaded)


def record(workload="speed", *, batch=1, **fields):
    """A trial that took 9 s."""
    cell = PastCell(
        model="m", engine="torch", strategy="s", workload=workload, threads=1, batch=batch
    )
    given = {"took_s": 9.0, "load_s": 0.5, **fields}
    return PastRecord(cell=cell, outcome=PastOutcome(kind="ok"), **given)


@pytest.mark.parametrize(
    ("strategy", "decode_s", "prefill_s"),
    [("cpu fp32", 27.8e-3, 2.9e-3), ("cpu bf16", 22e-3, 1.0e-3), ("cpu fp32i8", 27e-3, 3.0e-3)],
)
def test_the_model_says_what_was_measured_on_its_machine(strategy, decode_s, prefill_s):
    pace = modelled(strategy)
    assert pace.decode_s == pytest.approx(decode_s, rel=0.05)
    assert pace.call_s / 64 + pace.prefill_s == pytest.approx(prefill_s, rel=0.1)
    assert (pace.start_s, pace.source) == (pytest.approx(2.0), "model")


def test_loading_was_measured_too():
    assert modelled("cpu fp32").load_s == pytest.approx(1.8, rel=0.05)
    assert modelled("cpu bf16", loaded="converted").load_s == pytest.approx(0.4, rel=0.1)
    halves = modelled("cpu fp32i8", loaded="converted").load_s
    assert halves == pytest.approx(modelled("cpu bf16", loaded="converted").load_s / 2)
    assert modelled("cpu fp32", loaded="file").load_s == pytest.approx(0.4, rel=0.1)


@pytest.mark.parametrize("strategy", ["cpu fp32", "cpu bf16", "cpu fp32i8 *3 -> cpu fp32"])
def test_a_machine_that_is_half_as_fast_takes_twice_as_long(strategy):
    fast, slow = modelled(strategy), modelled(strategy, TWICE_AS_SLOW)
    for name in (
        "start_s",
        "load_s",
        "call_s",
        "prefill_s",
        "decode_s",
        "draw_s",
        "collect_s",
        "head_s",
        "score_s",
    ):
        assert getattr(slow, name) == pytest.approx(2 * getattr(fast, name)), name


def test_threads_share_the_products_of_many_tokens():
    one, four = modelled("cpu fp32"), modelled("cpu fp32", threads=4)
    assert four.prefill_s == pytest.approx(one.prefill_s / 4)
    assert four.decode_s == one.decode_s


def test_a_device_is_faster_and_the_bus_to_it_slower():
    resident, streamed = modelled("cuda fp16"), modelled("cuda fp16 *0+")
    assert resident.prefill_s < modelled("cpu fp32").prefill_s / 10
    assert resident.decode_s < modelled("cpu bf16").decode_s
    assert streamed.decode_s > 4 * resident.decode_s
    mixed = modelled("cuda fp16 *6 -> cpu fp32")
    assert resident.decode_s < mixed.decode_s < modelled("cpu fp32").decode_s


def test_the_reference_of_more_tokens_takes_longer_and_its_weights_are_loaded_once():
    def took(tokens, rows, **changes):
        given = {"threads": 1, "loaded": "random", **changes}
        return reference_seconds(SHAPE, PROBED, tokens=tokens, rows=rows, **given)

    least = took(1, 0)
    assert least == pytest.approx(2.0 + 1.8, rel=0.05)
    assert took(1001, 0) - least == pytest.approx(1000 * 184e6 / 64e9, rel=0.1)
    rows = took(1001, 1000) - took(1001, 0)
    assert rows == pytest.approx(1000 * (77e6 / 64e9 + 50277 * 150e-9), rel=0.1)
    assert took(1001, 0, threads=2) - least < 0.51 * (took(1001, 0) - least)
    assert took(1, 0, loaded="file") < least


def test_records_tell_the_parts():
    pace = recorded_pace(
        [
            record(
                prefill=[Prefill(tokens=10, s=1.0), Prefill(tokens=100, s=5.0)],
                decode_s=[[0.2, 0.4, 0.3]],
                asked={"speed": {"warmup_passes": 1}},
            ),
            record("answers", load_s=0.7, answers=[PastAnswer(token_ids=[1] * n) for n in (4, 8)]),
        ],
        MODELLED,
    )
    assert pace.source == "records"
    assert pace.load_s == pytest.approx(0.6)
    assert (pace.prefill_s, pace.call_s) == (0.05, 0.0)  # of the longest prompt
    assert pace.decode_s == 0.3
    assert pace.answer_tokens == 6
    assert pace.draw_s == MODELLED.draw_s


def test_what_is_around_the_work_is_what_is_left_of_a_trial():
    speed = record(
        took_s=20.0,
        load_s=1.0,
        prefill=[Prefill(tokens=4, s=2.0)] * 2,
        decode_s=[[0.5, 0.5], [0.5, 0.5]],
        asked={"speed": {"warmup_passes": 2}},
    )
    # 2 passes took 6 s, 2 to warm up as long, one prompt more 2 s, and four collections 1 s.
    assert recorded_pace([speed], MODELLED).start_s == pytest.approx(20 - 1 - 12 - 2 - 1)
    answers = record(
        "answers",
        took_s=5.0,
        load_s=1.0,
        answers=[PastAnswer(token_ids=[1, 2], prefill_s=0.5, decode_s=[0.25, 0.25])],
    )
    assert recorded_pace([answers], MODELLED).start_s == pytest.approx(5 - 1 - 1 - 2 * 0.01)


def test_what_records_do_not_tell_is_modelled():
    only_answers = [record("answers", answers=[PastAnswer(token_ids=[1], decode_s=[0.4])])]
    pace = recorded_pace(only_answers, MODELLED)
    assert (pace.decode_s, pace.prefill_s, pace.call_s) == (0.4, 0.2, 0.1)
    no_time = [record(took_s=None, decode_s=[[0.4]])]
    assert recorded_pace(no_time, MODELLED).start_s == MODELLED.start_s
    assert recorded_pace(no_time, MODELLED).answer_tokens is None


@pytest.mark.parametrize(
    "records",
    [
        [],
        [record("depth")],
        [record(load_s=None, decode_s=[[1.0]])],
        [record(batch=4, decode_s=[[1.0]])],
    ],
)
def test_records_that_say_nothing_of_one_row_are_none(records):
    assert recorded_pace(records, MODELLED) is None


def test_a_depth_sweep_does_not_count_as_what_is_around_a_trial():
    records = [record(decode_s=[[1.0]], took_s=6.0), record("depth", took_s=900.0)]
    alone = recorded_pace(records[:1], MODELLED)
    assert recorded_pace(records, MODELLED).start_s == alone.start_s
