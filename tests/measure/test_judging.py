"""Outcomes from evidence."""

import signal

import pytest

from harness.machine.memory import MemoryReading, parse_oom_kills
from harness.measure.job import Finished, Imported, Opened
from harness.measure.judge import judge, plan_mismatch
from harness.measure.process import Ended
from harness.measure.trial import decode_speed, prefill_speed
from harness.measure.worker import describe
from harness.records.record import Prefill, SlotRecord
from harness.runtime.strategy import resolve

PEAK = MemoryReading(bytes=1)
IMPORTED = Imported(versions={}, peak_rss=PEAK)
FINISHED = Finished(peak_rss=PEAK, device_peak_bytes={})


def loaded_as(strategy, n_layer=2):
    return [
        SlotRecord(
            slot=i,
            device="cuda:0" if plan.device == "cuda" else plan.device,
            dtype=plan.dtype,
            weight_dtype=plan.weight_dtype,
            streamed=plan.streamed and i < n_layer,  # the head never is
            bytes=1,
        )
        for i, plan in enumerate(resolve(strategy, n_layer))
    ]


def opened(strategy):
    return Opened(load_s=1, peak_rss=PEAK, n_vocab=5, plan=loaded_as(strategy), warnings=[])


def ended(*messages, returncode=0, timed_out_s=None, oom_kills=0):
    return Ended(
        messages=messages,
        returncode=returncode,
        timed_out_s=timed_out_s,
        oom_kills=oom_kills,
        log_tail="the log",
    )


def test_a_kill_is_for_memory_only_where_the_system_says_so():
    killed = ended(IMPORTED, returncode=-signal.SIGKILL, oom_kills=1)
    assert judge(killed, None).kind == "out_of_memory_host"
    elsewhere = ended(IMPORTED, returncode=-signal.SIGKILL, oom_kills=0)
    assert judge(elsewhere, None).kind == "crashed"
    assert judge(elsewhere, None).reason == (
        "the worker was killed by SIGKILL, while loading the model"
    )


def test_leaving_without_a_last_word_is_a_crash_also_with_code_0():
    assert judge(ended(IMPORTED, opened("cpu fp32")), None).kind == "crashed"
    assert "before the engine was imported" in judge(ended(), None).reason


@pytest.mark.parametrize(
    ("asked", "got", "said"),
    [
        ("cuda fp16i8", "cuda fp16", "slot 0: asked for weight dtype uint8, but fp16 was loaded"),
        ("cuda fp16", "cpu fp16", "slot 0: asked for device cuda:0, but cpu was loaded"),
        ("cpu fp32 *1 -> cpu bf16", "cpu fp32", "slot 1: asked for dtype bf16, but fp32"),
        ("cpu fp32 *1+", "cpu fp32", "slot 1: asked for streamed True, but False"),
    ],
)
def test_what_was_loaded_is_compared_with_what_was_asked(asked, got, said):
    outcome = judge(ended(IMPORTED, opened(got), FINISHED), resolve(asked, 2))
    assert outcome.kind == "wrong_strategy"
    assert said in outcome.reason
    assert judge(ended(IMPORTED, opened(asked), FINISHED), resolve(asked, 2)).kind == "ok"


def test_a_model_with_fewer_slots_is_a_mismatch():
    assert "asked for 4 slots, 3 were loaded" in plan_mismatch(
        resolve("cpu fp32", 3), loaded_as("cpu fp32")
    )


def test_allocators_that_fail_are_recognised_by_their_words():
    words = "[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: can't allocate memory: you"
    assert describe(RuntimeError(words)).kind == "out_of_memory_host"
    assert describe(RuntimeError("shapes do not match")).kind == "crashed"


def test_speeds():
    prefill = [Prefill(tokens=10, s=0.5), Prefill(tokens=100, s=2.0), Prefill(tokens=100, s=4.0)]
    assert prefill_speed(prefill, batch=2) == 2 * 100 / 3.0
    assert decode_speed([[0.1, 0.2], [0.4]], batch=3) == 3 / 0.2
    assert prefill_speed([], 1) is None
    assert decode_speed([], 1) is None


def test_kills_are_counted_from_the_systems_own_count():
    assert parse_oom_kills("nr_free_pages 5\noom_kill 3\nother 7\n") == 3
    assert parse_oom_kills("nr_free_pages 5\n") == 0
