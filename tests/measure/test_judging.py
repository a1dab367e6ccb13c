"""Outcomes from evidence."""

import signal
from dataclasses import replace

import pytest

from harness.machine.memory import MemoryReading, parse_oom_kills
from harness.measure.job import (
    Answered,
    Failed,
    FedContext,
    Finished,
    Imported,
    Job,
    Opened,
    Passed,
    PhaseEnded,
)
from harness.measure.judge import exit_warning, judge, plan_mismatch, remarks
from harness.measure.memory_limit import MemoryRoom
from harness.measure.process import Ended
from harness.measure.rates import decode_speed, prefill_speed
from harness.measure.worker import describe
from harness.records.latency import Fed
from harness.records.phases import PhaseMemory
from harness.records.record import Answer, Prefill, SlotRecord
from harness.runtime.strategy import resolve

PEAK = MemoryReading(bytes=1)
IMPORTED = Imported(versions={}, peak_rss=PEAK)
FINISHED = Finished(peak_rss=PEAK, device_peak_bytes={})
FED = FedContext(fed=Fed(from_tokens=0, to_tokens=400, s=1.0))
PASSED = Passed(prefill=[], decode_s=[1.0])
ENDED = PhaseEnded(memory=PhaseMemory(phase="passes"))


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


def ended(*messages, returncode=0, timed_out_s=None, oom_kills=0, **more):
    return Ended(
        **more,
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


def test_an_engine_that_does_not_say_what_it_loaded_has_proved_nothing():
    silent = Opened(load_s=1, peak_rss=PEAK, n_vocab=5, plan=[], warnings=[])
    outcome = judge(ended(IMPORTED, silent, FINISHED), resolve("cpu fp32", 2))
    assert outcome.kind == "wrong_strategy"
    assert "asked for 3 slots, 0 were loaded" in outcome.reason


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


FAILED = Failed(kind="not_a_number", reason="3 of 5 logits", detail="traceback", peak_rss=PEAK)


@pytest.mark.parametrize(
    "then", [{"timed_out_s": 5.0}, {"oom_kills": 1}, {"oom_kills": 1, "timed_out_s": 5.0}], ids=str
)
def test_what_the_worker_said_itself_comes_first(then):
    spoke = ended(IMPORTED, opened("cpu bf16"), FAILED, returncode=-signal.SIGKILL, **then)
    outcome = judge(spoke, resolve("cpu fp32", 2))
    assert (outcome.kind, outcome.reason) == ("not_a_number", "3 of 5 logits")
    assert outcome.detail == "traceback\n\nIts output ended:\nthe log"
    assert outcome.signal == "SIGKILL"


@pytest.mark.parametrize(
    ("returncode", "oom_kills", "kind"),
    [
        (-signal.SIGKILL, 2, "out_of_memory_host"),
        (-signal.SIGKILL, 0, "crashed"),
        (-signal.SIGSEGV, 1, "crashed"),  # another process was killed for memory
        (1, 1, "crashed"),
        (0, 1, "crashed"),
    ],
)
def test_want_of_memory_takes_both_the_signal_and_the_count(returncode, oom_kills, kind):
    died = ended(IMPORTED, opened("cpu fp32"), returncode=returncode, oom_kills=oom_kills)
    assert judge(died, None).kind == kind
    assert judge(died, None).detail == "the log"


def test_a_deadline_is_not_want_of_memory_and_says_how_far_it_came():
    late = ended(IMPORTED, returncode=-signal.SIGKILL, timed_out_s=5.0, oom_kills=1)
    assert judge(late, None).kind == "timeout"
    assert judge(late, None).reason == "gave no result within 5 s, while loading the model"
    assert judge(late, None).limit == "limits.trial_s: 5 s"


@pytest.mark.parametrize(
    ("messages", "reached"),
    [
        ((opened("cpu fp32"),), "after loading the model"),
        ((opened("cpu fp32"), FED), "after feeding 400 tokens of context"),
        ((PASSED, PASSED, ENDED), "after 2 results"),
        ((PASSED, ENDED, ENDED), "after 1 result"),
    ],
)
def test_how_far_it_came_is_told_by_results(messages, reached):
    killed = ended(IMPORTED, *messages, returncode=-signal.SIGKILL)
    assert judge(killed, None).reason == f"the worker was killed by SIGKILL, {reached}"


def test_all_results_count_also_where_the_worker_was_killed_after_them():
    killed = ended(IMPORTED, FINISHED, returncode=-signal.SIGKILL, oom_kills=1)
    assert judge(killed, None).kind == "ok"


@pytest.mark.parametrize(
    ("messages", "returncode", "said"),
    [
        ((IMPORTED, FINISHED), 0, None),
        ((IMPORTED, FINISHED), 3, "after its last result the worker exited with code 3"),
        (
            (IMPORTED, FINISHED),
            -signal.SIGABRT,
            "after its last result the worker was killed by SIGABRT",
        ),
        ((IMPORTED,), 3, None),  # a crash: its outcome says so
        ((IMPORTED, FAILED), 1, None),
        ((), -signal.SIGKILL, None),
    ],
)
def test_a_bad_end_is_a_warning_only_after_all_results(messages, returncode, said):
    assert exit_warning(ended(*messages, returncode=returncode)) == said


def test_without_a_resolved_plan_nothing_is_compared():
    done = ended(IMPORTED, opened("cpu bf16"), FINISHED)
    assert judge(done, None).kind == "ok"
    assert judge(done, resolve("cpu fp32", 2)).kind == "wrong_strategy"


ROOM = MemoryRoom(bytes=300 * 2**20, source="study")


def test_a_worker_that_passed_its_limit_of_memory_ran_out_of_it():
    over = {"room": ROOM, "passed_bytes": 400 * 2**20, "returncode": -signal.SIGKILL}
    outcome = judge(ended(IMPORTED, opened("cpu fp32"), **over), None)
    assert outcome.kind == "out_of_memory_host"
    assert outcome.reason == (
        "held 400 MiB, more than limits.memory: 300 MiB, after loading the model"
    )
    assert (outcome.limit, outcome.signal) == ("limits.memory: 300 MiB", "SIGKILL")
    assert judge(ended(IMPORTED, FINISHED, **over), None).kind == "ok"
    assert judge(ended(IMPORTED, FAILED, **over), None).kind == "not_a_number"


def test_a_limit_that_the_study_did_not_say_is_named_with_its_origin():
    room = MemoryRoom(bytes=2**30, source="available")
    outcome = judge(ended(room=room, passed_bytes=2**31, returncode=-signal.SIGKILL), None)
    assert outcome.limit == (
        "limits.memory: auto, 1.00 GiB: what was available when the trial began, less a reserve"
    )


@pytest.mark.parametrize(
    ("returncode", "exit_code", "name"),
    [(7, 7, None), (-signal.SIGSEGV, None, "SIGSEGV"), (0,) * 3],
)
def test_how_the_worker_ended_is_kept(returncode, exit_code, name):
    outcome = judge(ended(IMPORTED, returncode=returncode), None)
    assert outcome.kind == "crashed"
    assert (outcome.exit_code or 0, outcome.signal or 0) == (exit_code or 0, name or 0)


def test_only_want_of_memory_names_the_limit_of_the_address_space():
    for kind, limit in (
        ("out_of_memory_host", "limits.address_space: 2.00 GiB"),
        ("crashed", None),
    ):
        failed = Failed(kind=kind, reason="", detail="", peak_rss=PEAK)
        assert judge(ended(failed, address_space_bytes=2**31), None).limit == limit


def test_a_c_library_that_gives_up_under_that_limit_ran_out_of_memory():
    words = "cannot allocate memory for thread-local data: ABORT\n"
    for limit, kind in ((2**31, "out_of_memory_host"), (None, "crashed")):
        died = replace(ended(returncode=127, address_space_bytes=limit), log_tail=words)
        outcome = judge(died, None)
        assert (outcome.kind, outcome.exit_code) == (kind, 127)
        assert outcome.limit == (limit and "limits.address_space: 2.00 GiB")
    assert judge(ended(returncode=127, address_space_bytes=2**31), None).kind == "crashed"


def test_what_was_cut_and_what_had_to_be_ended_are_remarks():
    answers = [
        Answered(answer=Answer(id=str(i), text="", token_ids=[], stop=stop))
        for i, stop in enumerate(("cut", "stop_token", "cut"))
    ]
    job = Job(engine="fake", strategy="", weights="", weights_seed=0, threads=1, question_s=5.0)
    assert remarks(ended(*answers, FINISHED, strays=2), job) == [
        "2 of 3 answers cut at limits.question_s: 5 s",
        "processes that left the worker's group were ended: 2",
    ]
    assert remarks(ended(answers[1], FINISHED), job) == []
