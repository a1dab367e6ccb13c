"""The record holds every declared fact or why not, and says where threads were taken away."""

from __future__ import annotations

import pytest

from harness.machine.declared import ENGINE_FACTS, FACTS
from harness.machine.memory import MemoryReading
from harness.measure.job import Imported, Opened
from harness.measure.trial_facts import facts_of, thread_warning

PEAK = MemoryReading(bytes=1)


def opened(**facts):
    return Opened(load_s=1.0, peak_rss=PEAK, n_vocab=8, plan=[], warnings=[], facts=facts)


def test_what_the_worker_says_goes_before_what_the_machine_said():
    messages = (
        Imported(versions={"torch": "2.1"}, peak_rss=PEAK, provenance={"provenance": "nix"}),
        opened(threads_in_force=2),
    )
    facts = facts_of({"torch": "2.0", "provenance": "venv", "os": "x"}, messages, "torch")
    known = {name: facts[name] for name in ("torch", "provenance", "os", "threads_in_force")}
    assert known == {"torch": "2.1", "provenance": "nix", "os": "x", "threads_in_force": 2}
    assert facts["torch_mkl"] == {"unavailable": "the torch engine does not say"}


@pytest.mark.parametrize(
    "messages", [(), (Imported(versions={}, peak_rss=PEAK),)], ids=["nothing", "imported"]
)
def test_of_a_trial_that_loaded_nothing_the_reason_is_that(messages):
    facts = facts_of({}, messages, "torch")
    silent = {"unavailable": "the trial did not come this far"}
    assert facts == dict.fromkeys(ENGINE_FACTS, silent)


def test_every_declared_fact_is_in_the_record(record_of):
    record = record_of({"facts": {"threads_in_force": 2}}, threads=2)
    assert record.outcome.kind == "ok"
    assert set(FACTS) == set(record.facts)
    assert record.facts["threads_in_force"] == 2
    assert record.facts["tokenizer_sha256"] == {"unavailable": "the model has no tokenizer"}
    assert None not in record.facts.values()
    assert record.facts["torch_blas"] == {"unavailable": "the fake engine does not say"}
    assert record.warnings == []


def test_threads_that_were_taken_away_are_a_warning_in_the_record(record_of):
    record = record_of({"facts": {"threads_in_force": 1, "omp_thread_limit": 1}}, threads=2)
    assert record.outcome.kind == "ok"
    assert record.warnings == [
        "The study asks for 2 threads; in force: 1 for one operation (OMP_THREAD_LIMIT is 1)."
    ]


def test_a_skipped_trial_has_all_facts_too(record_of):
    record = record_of({}, skip_reason="too large")
    assert set(FACTS) == set(record.facts)
    assert record.warnings == []


def test_with_the_probes_off_the_engine_is_not_asked(record_of, monkeypatch):
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    record = record_of({"facts": {"threads_in_force": 1}}, threads=2)
    assert "switched off" in record.facts["threads_in_force"]["unavailable"]
    assert record.warnings == []


@pytest.mark.parametrize(
    "facts, said",
    [
        ({"threads_in_force": 4, "mkl_max_threads": 4}, None),
        ({}, None),
        ({"threads_in_force": {"unavailable": "the fake engine does not say"}}, None),
        ({"threads_in_force": 2, "omp_max_threads": 4}, "2 for one operation."),
        (
            {"threads_in_force": 8, "mkl_max_threads": 1},
            "8 for one operation, 1 for MKL.",
        ),
        (
            {"threads_in_force": 1, "omp_thread_limit": 1},
            "1 for one operation (OMP_THREAD_LIMIT is 1).",
        ),
        ({"threads_in_force": 2, "omp_thread_limit": 64}, "2 for one operation."),
    ],
)
def test_what_is_said_of_threads(facts, said):
    warning = thread_warning(4, facts)
    if said is None:
        assert warning is None
    else:
        assert warning == f"The study asks for 4 threads; in force: {said}"


def test_one_thread_is_said_as_one():
    assert thread_warning(1, {"threads_in_force": 2}) == (
        "The study asks for 1 thread; in force: 2 for one operation."
    )
