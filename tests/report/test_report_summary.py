from __future__ import annotations

import fabricate
import msgspec
import pytest
from fabricate import MIB, Fabricated

from harness.config.depth_settings import Depth
from harness.measure.rates import prefill_speed
from harness.records.record import Memory, Prefill
from harness.report.advice import choice_sentence
from harness.report.missing import why
from harness.report.options import option_of
from harness.report.results import outcome_text


def with_speeds(*speeds, **kwargs):
    """One strategy, one trial per speed."""
    run = Fabricated(["cpu fp32"], **kwargs)
    cell = run.planned(run.cell("cpu fp32"), trials=len(speeds))
    for trial, speed in enumerate(speeds):
        run.add(cell, trial=trial, decode_tok_per_s=speed)
    return run, cell


def test_only_the_last_attempt_of_a_trial_counts(rows_of):
    run, cell = with_speeds(100.0, 102.0)
    run.add(cell, trial=2, attempt=0, outcome="noisy", decode_tok_per_s=1.0)
    run.add(cell, trial=2, attempt=1, decode_tok_per_s=104.0)
    run.plan[0]["trials"] = 3
    row = rows_of(run)["cpu fp32"]
    assert row.decode_tok_per_s.value == 102.0
    assert row.decode_tok_per_s.n == 3
    assert row.outcomes[0].state == "ok"


def test_an_attempt_that_went_wrong_after_a_good_one_counts(rows_of):
    run, cell = with_speeds(100.0)
    run.add(cell, trial=0, attempt=1, outcome="crashed", reason="signal 9")
    assert rows_of(run)["cpu fp32"].decode_tok_per_s is None


@pytest.mark.parametrize("kind", [one for one in fabricate.FAILURES if one != "noisy"])
def test_every_way_to_fail_keeps_its_name_and_its_reason(kind, rows_of):
    run = Fabricated(["cpu fp32"])
    cell = run.planned(run.cell("cpu fp32"), trials=1)
    run.add(cell, outcome=kind, reason="because of this", detail="more", decode_tok_per_s=5.0)
    row = rows_of(run)["cpu fp32"]
    states = {"skipped": "skipped", "interrupted": "not finished"}
    assert row.outcomes[0].state == states.get(kind, "failed")
    assert row.outcomes[0].kind == kind
    assert row.outcomes[0].problems[0].detail == "more"
    assert row.decode_tok_per_s is None
    assert "because of this" in row.missing["decode_tok_per_s"]


def test_some_good_trials_make_a_partial_cell_and_speak_for_it(rows_of):
    run, cell = with_speeds(100.0, 104.0)
    run.plan[0]["trials"] = 4
    run.add(cell, trial=2, outcome="timeout", reason="deadline of 5 s")
    row = rows_of(run)["cpu fp32"]
    outcome = row.outcomes[0]
    assert (outcome.state, outcome.ok, outcome.trials) == ("partial", 2, 4)
    assert outcome.reason == "deadline of 5 s"
    assert row.decode_tok_per_s.n == 2


def test_a_run_that_was_cut_off_is_not_finished(summary_of):
    run, _ = with_speeds(100.0)
    run.plan[0]["trials"] = 3
    run.planned(run.cell("cpu bf16"))
    summary = summary_of(run)
    assert not summary.is_finished
    assert (summary.trials_recorded, summary.trials_planned) == (1, 6)
    assert [row.outcomes[0].state for row in summary.models[0].rows] == ["partial", "not run"]
    assert any("not finished: 1 of 6 trials" in warning for warning in summary.warnings)


def test_skipped_cells_do_not_make_a_run_unfinished(summary_of):
    run, _ = with_speeds(100.0)
    run.planned(run.cell("cuda fp16"), skip_reason="no CUDA device")
    summary = summary_of(run)
    assert summary.is_finished
    skipped = summary.models[0].rows[1].outcomes[0]
    assert (skipped.state, skipped.reason) == ("skipped", "no CUDA device")


def test_records_that_no_plan_foresaw_are_shown_too(rows_of):
    run, _ = with_speeds(100.0)
    run.add(run.cell("cpu bf16"), decode_tok_per_s=50.0)
    assert rows_of(run)["cpu bf16"].decode_tok_per_s.value == 50.0


def test_one_trial_gives_a_speed_without_an_interval_and_a_warning(summary_of):
    run, _ = with_speeds(100.0)
    summary = summary_of(run)
    decode = summary.models[0].rows[0].decode_tok_per_s
    assert (decode.value, decode.low, decode.high) == (100.0, None, None)
    assert any("one trial only" in warning for warning in summary.warnings)


@pytest.mark.parametrize("speeds, warned", [((100.0, 108.0), True), ((100.0, 100.5), False)])
def test_an_interval_too_wide_to_compare_by_is_warned_of(speeds, warned, summary_of):
    run, _ = with_speeds(*speeds)
    found = [warning for warning in summary_of(run).warnings if "no better than ± 25 %" in warning]
    assert bool(found) == warned


def test_a_speed_of_nothing_is_missing_rather_than_zero(rows_of):
    run = Fabricated(["cpu fp32"])
    run.add(run.planned(run.cell("cpu fp32"), trials=1))
    row = rows_of(run)["cpu fp32"]
    for name in ("decode_tok_per_s", "prefill_tok_per_s", "load_s", "token_times"):
        assert getattr(row, name) is None
        assert row.missing[name] == "not recorded"
    assert row.memory.peak_rss_bytes is None
    assert row.missing["peak_rss_bytes"] == "not recorded"


def test_memory_is_the_largest_of_the_trials_and_the_models_part_is_of_one_trial(rows_of):
    run = Fabricated(["cpu fp32"])
    cell = run.planned(run.cell("cpu fp32"), trials=2)
    for trial, (peak, before) in enumerate([(300, 200), (310, 260)]):
        memory = Memory(
            peak_rss_bytes=peak * MIB,
            import_rss_bytes=before * MIB,
            device_peak_bytes={"cuda:0": (trial + 1) * MIB},
        )
        run.add(cell, trial=trial, memory=memory)
    used = rows_of(run)["cpu fp32"].memory
    assert used.peak_rss_bytes == 310 * MIB
    assert used.model_bytes == 100 * MIB  # not 310 - 200
    assert used.device_peak_bytes == {"cuda:0": 2 * MIB}
    assert used.total_peak_bytes == 312 * MIB


def test_the_peak_of_a_strategy_is_that_of_its_hungriest_use(rows_of):
    run = Fabricated(["cpu fp32"])
    used = {"speed": (263, 200, 40), "depth": (270, 230, 5), "answers": (282, 225, 7)}
    for workload, (peak, before, on_device) in used.items():
        memory = Memory(
            peak_rss_bytes=peak * MIB,
            import_rss_bytes=before * MIB,
            device_peak_bytes={"cuda:0": on_device * MIB},
        )
        run.add(run.planned(run.cell("cpu fp32", workload), trials=1), memory=memory)
    quality = run.planned(run.cell("cpu fp32", "quality"), trials=1)
    run.add(quality, memory=Memory(peak_rss_bytes=900 * MIB))  # not something that a user does
    row = rows_of(run)["cpu fp32"]
    assert row.memory.peak_rss_bytes == 282 * MIB
    assert row.memory.model_bytes == 63 * MIB  # of the speed trial
    assert row.memory.device_peak_bytes == {"cuda:0": 40 * MIB}
    assert option_of(row).ram_bytes == 282 * MIB


def test_memory_that_the_machine_does_not_tell_has_the_machines_reason(rows_of):
    run = Fabricated(["cpu fp32"])
    memory = Memory(missing={"peak_rss_bytes": "/proc/self/status: no such file"})
    run.add(run.planned(run.cell("cpu fp32"), trials=1), memory=memory)
    row = rows_of(run)["cpu fp32"]
    assert row.missing["peak_rss_bytes"] == "/proc/self/status: no such file"
    assert row.memory.total_peak_bytes is None


def test_prefill_is_told_at_every_length_and_counts_the_batch(rows_of):
    run = Fabricated(["cpu fp32"])
    cell = run.planned(run.cell("cpu fp32"), trials=2)
    for trial, seconds in enumerate([1.0, 2.0]):
        prefill = [Prefill(tokens=n, s=seconds * k) for n in (10, 40) for k in (1, 1, 7)]
        run.add(cell, trial=trial, prefill=prefill, batch=3)
    lengths = rows_of(run)["cpu fp32"].prefill_lengths
    assert [one.tokens for one in lengths] == [10, 40]
    # By the median over a trial's passes (the slow third pass moves nothing), then over trials.
    assert lengths[1].tok_per_s.value == pytest.approx((3 * 40 / 1 + 3 * 40 / 2) / 2)
    assert lengths[1].tok_per_s.n == 2


def test_the_curve_is_the_median_at_each_position_over_all_passes(rows_of):
    run = Fabricated(["cpu fp32"])
    cell = run.planned(run.cell("cpu fp32"), trials=2)
    run.add(cell, trial=0, decode_s=[[1.0, 2.0, 3.0], [3.0, 4.0]])
    run.add(cell, trial=1, decode_s=[[5.0, 60.0]])
    assert rows_of(run)["cpu fp32"].curve_s == (3.0, 4.0, 3.0)


def test_a_tail_needs_tokens_to_speak_for_it(rows_of):
    run = Fabricated(["cpu fp32", "cpu bf16"])
    for strategy, tokens in (("cpu fp32", 99), ("cpu bf16", 100)):
        cell = run.planned(run.cell(strategy), trials=1)
        run.add(cell, decode_s=[[float(n) for n in range(1, tokens + 1)]])
    rows = rows_of(run)
    assert rows["cpu fp32"].token_times.p99_s is None
    assert rows["cpu fp32"].token_times.p90_s.value == pytest.approx(89.2)
    assert rows["cpu bf16"].token_times.p99_s.value == pytest.approx(99.01)


def test_percentiles_are_each_trials_own_before_they_are_summarised(rows_of):
    """Pooled, the slow trial alone would make p90; and 3 x 40 steps would carry a p99."""
    run = Fabricated(["cpu fp32"])
    cell = run.planned(run.cell("cpu fp32"), trials=3)
    for trial, seconds in enumerate([1.0, 1.1, 9.0]):
        run.add(cell, trial=trial, decode_s=[[seconds] * 20, [seconds] * 20])
    times = rows_of(run)["cpu fp32"].token_times
    assert (times.n, times.per_trial, times.p99_s) == (120, 40, None)
    assert times.p90_s.value == pytest.approx(1.1)
    assert (times.p90_s.n, times.maximum_s) == (3, 9.0)
    assert times.p90_s.low < 1.1 < times.p90_s.high


def test_ratios_are_to_the_reference_strategy(rows_of):
    run = Fabricated(["cpu bf16", "cpu fp32"], reference="cpu fp32")
    run.speed("cpu bf16", 200)
    run.speed("cpu fp32", 100)
    rows = rows_of(run)
    faster = rows["cpu bf16"].decode_ratio
    assert faster.value == pytest.approx(
        rows["cpu bf16"].decode_tok_per_s.value / rows["cpu fp32"].decode_tok_per_s.value
    )
    assert faster.low < faster.value < faster.high
    assert faster.differs_from_one
    assert rows["cpu fp32"].is_reference
    assert rows["cpu fp32"].decode_ratio.value == 1


def test_without_a_word_the_first_strategy_is_the_reference(rows_of):
    run = Fabricated(["cpu bf16", "cpu fp32"])
    run.speed("cpu bf16", 200)
    run.speed("cpu fp32", 100)
    assert rows_of(run)["cpu fp32"].reference == "cpu bf16"


def test_a_reference_that_failed_is_the_reason_for_missing_ratios(rows_of):
    run = Fabricated(["cpu fp32", "cpu bf16"])
    run.add(run.planned(run.cell("cpu fp32"), trials=1), outcome="crashed", reason="boom")
    run.speed("cpu bf16", 100)
    row = rows_of(run)["cpu bf16"]
    assert row.decode_ratio is None
    assert "cpu fp32 has no decode speed" in row.missing["decode_ratio"]


def test_threads_are_compared_with_the_reference_on_as_many_threads(rows_of):
    run = Fabricated(["cpu fp32", "cpu bf16"], threads=[1, 2])
    for threads in run.threads:
        run.speed("cpu fp32", 100 * threads, threads=threads)
        run.speed("cpu bf16", 150 * threads, threads=threads)
    rows = rows_of(run)
    assert set(rows) == {
        "cpu fp32, 1 thread", "cpu bf16, 1 thread", "cpu fp32, 2 threads", "cpu bf16, 2 threads",
    }  # fmt: skip
    assert rows["cpu bf16, 2 threads"].reference == "cpu fp32, 2 threads"


def test_other_engines_are_compared_with_the_studys_first(rows_of):
    run = Fabricated(["cpu fp32"], engines=["torch", "rwkv"])
    run.speed("cpu fp32", 100, engine="rwkv")
    run.speed("cpu fp32", 100, engine="torch")
    rows = rows_of(run)
    assert rows["cpu fp32, rwkv"].reference == "cpu fp32, torch"
    assert rows["cpu fp32, torch"].is_reference


def test_neighbouring_slots_that_run_alike_are_told_once(rows_of):
    run = Fabricated(["cpu fp32"])
    run.speed("cpu fp32", 100)
    first, second = rows_of(run)["cpu fp32"].placement
    assert (first.first_slot, first.last_slot, first.weight_dtype) == (0, 1, "uint8")
    assert (second.first_slot, second.last_slot, second.weight_dtype) == (2, 3, "fp32")
    assert first.bytes == 6 * MIB


def test_trials_with_another_placement_are_warned_of(summary_of):
    run = Fabricated(["cpu fp32"])
    run.speed("cpu fp32", 100)
    run.records[-1] = msgspec.structs.replace(run.records[-1], plan=run.records[-1].plan[:2])
    assert any("same placement" in warning for warning in summary_of(run).warnings)


def test_the_quickstart_and_random_weights_are_said_for_what_they_are(summary_of):
    warnings = " ".join(summary_of(fabricate.plausible()).warnings)
    assert "lives in the CPU’s cache" in warnings
    assert "see random-169m." in warnings
    assert "random weights" in warnings


def test_without_speeds_nobody_is_warned_of_them(summary_of):
    run = Fabricated(["cpu fp32"], {"small": "builtin:quickstart", "shape": "random:169m"})
    run.answers("cpu fp32", model="small")
    run.answers("cpu fp32", model="shape")
    warnings = " ".join(summary_of(run).warnings)
    assert "its text would mean nothing" in warnings
    assert "speed" not in warnings


def test_where_the_weights_lay_is_not_shown(summary_of):
    run = Fabricated(models={"big": "/home/someone/secret/raven.pth"})
    run.speed("cpu fp32", 10)
    assert summary_of(run).models[0].weights == "raven.pth"


def test_a_warning_of_many_trials_is_told_once(summary_of):
    run = Fabricated(["cpu fp32"])
    cell = run.planned(run.cell("cpu fp32"), warnings=["stage 2 gets no slots"])
    for trial in range(3):
        run.add(cell, trial=trial, warnings=["stage 2 gets no slots"], decode_tok_per_s=1.0)
    warnings = [warning for warning in summary_of(run).warnings if "stage 2" in warning]
    assert warnings == ["tiny, cpu fp32: stage 2 gets no slots"]


def test_an_empty_run_is_summarised(summary_of):
    summary = summary_of(Fabricated(), notes=["the last line was cut off"])
    assert summary.models == ()
    assert summary.is_finished
    assert summary.notes == ("the last line was cut off",)


def test_a_summary_becomes_json(summary_of):
    for run in (fabricate.plausible(), fabricate.with_every_failure(), Fabricated()):
        again = msgspec.json.decode(msgspec.json.encode(summary_of(run)))
        assert again["study"] == "fabricated"


def test_outcomes_read_like_words(rows_of):
    run = Fabricated(["cpu fp32"])
    run.add(
        run.planned(run.cell("cpu fp32"), trials=1), outcome="out_of_memory_host", reason="9 GB"
    )
    assert why(rows_of(run)["cpu fp32"].outcomes[0]) == "out of memory (host): 9 GB"


def test_the_headline_and_the_longest_length_of_prefill_are_one_figure(rows_of):
    run = Fabricated(["cpu fp32"])
    cell = run.planned(run.cell("cpu fp32"), trials=2)
    for trial, times in enumerate([(1.0, 4.0), (2.0, 3.0)]):  # two passes: no middle one
        prefill = [Prefill(tokens=40, s=s) for s in times]
        speed = prefill_speed(prefill, 3)
        run.add(cell, trial=trial, prefill=prefill, batch=3, prefill_tok_per_s=speed)
    row = rows_of(run)["cpu fp32"]
    assert row.prefill_lengths[-1].tok_per_s == row.prefill_tok_per_s


def test_a_workload_of_the_study_that_this_run_left_out_was_not_run(rows_of):
    run = Fabricated(["cpu fp32"])
    run.speed("cpu fp32", 100)
    run.speed("cpu bf16", 100)  # in no study: it asks for one strategy
    rows = rows_of(run)
    assert "'answers' has not been run" in rows["cpu fp32"].missing["score"]
    assert "the study does not run" in rows["cpu bf16"].missing["score"]


def test_workloads_that_ended_alike_are_named_together(rows_of):
    run = Fabricated(["cpu fp32"], depth=Depth())
    for workload in ("speed", "depth"):
        run.add(run.planned(run.cell("cpu fp32", workload), trials=1), outcome="timeout")
    run.answers("cpu fp32")
    assert outcome_text(rows_of(run)["cpu fp32"]) == "speed and depth: failed: timeout; answers: ok"


def test_an_interrupted_trial_is_still_to_be_done_and_no_failure(summary_of):
    run, cell = with_speeds()
    run.plan[0]["trials"] = 2
    run.add(cell, outcome="interrupted", reason="stopped from the keyboard")
    summary = summary_of(run)
    (row,) = summary.models[0].rows
    assert outcome_text(row) == "not finished"
    assert (summary.trials_recorded, summary.is_finished) == (0, False)
    assert "1 cell not finished" in choice_sentence(summary.models[0])


def test_a_failure_beside_an_interrupted_trial_is_the_one_that_counts(rows_of):
    run, cell = with_speeds()
    run.plan[0]["trials"] = 2
    run.add(cell, trial=0, outcome="interrupted")
    run.add(cell, trial=1, outcome="crashed", reason="signal 11")
    (outcome,) = rows_of(run)["cpu fp32"].outcomes
    assert (outcome.state, outcome.kind, outcome.reason) == ("failed", "crashed", "signal 11")


@pytest.mark.parametrize("peak", [-5, 0, 199 * MIB, 10**30])
def test_a_peak_that_cannot_be_is_missing_with_its_reason(peak, rows_of):
    run = Fabricated(["cpu fp32"])
    memory = Memory(
        peak_rss_bytes=peak, import_rss_bytes=200 * MIB, device_peak_bytes={"cuda:0": -5}
    )
    run.add(run.planned(run.cell("cpu fp32"), trials=1), memory=memory)
    row = rows_of(run)["cpu fp32"]
    assert row.memory.total_peak_bytes is None
    assert row.memory.device_peak_bytes == {}
    assert "cannot be" in row.missing["peak_rss_bytes"]


def test_a_peak_that_can_be_outlives_an_earlier_one_that_cannot(rows_of):
    run = Fabricated(["cpu fp32"])
    memory = Memory(peak_rss_bytes=300 * MIB, import_rss_bytes=-1)
    run.add(run.planned(run.cell("cpu fp32"), trials=1), memory=memory)
    row = rows_of(run)["cpu fp32"]
    assert row.memory.peak_rss_bytes == 300 * MIB
    assert "cannot be" in row.missing["model_bytes"]


@pytest.mark.parametrize(
    "others, better",
    [
        ({}, "measure `weights: random:169m` beside it."),
        ({"big": "random:1b5"}, "measure `weights: random:169m` beside it."),
        ({"large": "random:169m"}, "see large."),
    ],
)
def test_what_to_believe_beside_the_quickstart_model_is_in_the_study_or_to_be_added(
    others, better, summary_of
):
    run = Fabricated(["cpu fp32"], {"small": "builtin:quickstart", **others})
    for model in ("small", *others):
        run.speed("cpu fp32", 100, model=model)
    [caution] = [one for one in summary_of(run).warnings if "CPU’s cache" in one]
    assert caution.endswith(better)
