"""From rows to options: what counts as memory, what is no choice, and several runs together."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest
from fabricate import FACTS, MIB, Fabricated, with_devices, with_every_failure

from harness.records.phases import Figure, PhaseMemory
from harness.records.quality import AnswerQuality, Quality, ScoredTokens
from harness.records.record import Answer, Memory, SlotRecord
from harness.records.store import read_run
from harness.report.options import faults_of, option_of
from harness.report.ranking import rank_model, rank_runs
from harness.report.recommend import Wishes
from harness.report.summary import summarise


def tokens(agree, of, kl=0.001, **more):
    """So many scored tokens, of which some agree."""
    return ScoredTokens(
        kl=[kl] * of,
        agree=[1] * agree + [0] * (of - agree),
        log_p=[-1.0] * of,
        reference_log_p=[-1.0] * of,
        **more,
    )


def scored(run, strategy, agree=99, of=100, **more):
    """A quality cell of a fabricated run."""
    cell = run.planned(run.cell(strategy, "quality"), trials=1)
    run.add(cell, quality=Quality(text=tokens(agree, of, **more)))


def slot(device, **more):
    return SlotRecord(
        slot=0, device=device, dtype="fp16", weight_dtype="fp16", streamed=False, bytes=1, **more
    )


def measured(run, strategy, memory, devices, **more):
    cell = run.planned(run.cell(strategy), trials=1)
    slots = [slot(device) for device in devices]
    run.add(cell, decode_tok_per_s=10.0, prefill_tok_per_s=50.0, memory=memory, plan=slots, **more)


def options_in(rows):
    return {label: option_of(row) for label, row in rows.items()}


def ranked(tmp_path, runs, wishes=None, **more):
    """Fabricated runs, written below machine/run, and ranked."""
    read = [read_run(run.write(tmp_path / place)) for place, run in runs.items()]
    return rank_runs([(run, summarise(run)) for run in read], wishes or Wishes(), **more)


def test_every_figure_of_a_row_is_in_its_option(rows_of):
    run = Fabricated()
    run.speed("cpu fp32", 100, 500)
    run.answers("cpu fp32", wrong=("sum",))
    scored(run, "cpu fp32", 98, kl=0.25)
    row = rows_of(run)["cpu fp32"]
    option = option_of(row)
    assert option.decode_tok_per_s == row.decode_tok_per_s.value
    assert option.prefill_tok_per_s == row.prefill_tok_per_s.value
    assert len(option.decode_trials) == len(option.prefill_trials) == 3
    assert option.prefill_trials[0] == pytest.approx(6 * option.decode_trials[0])
    assert option.ram_bytes == row.memory.peak_rss_bytes
    assert (option.vram_bytes, option.right, option.agreement) == (0, (2, 3), 0.98)
    assert (option.kl_mean, option.kl_most, option.scored_on) == (
        *(0.25, 0.25, "100 tokens of the fixed text"),
    )
    assert option.agreement_low < 0.98 < option.agreement_high
    assert (option.unfit, option.cautions, option.is_reference) == (None, (), True)


def test_of_several_accelerators_the_fullest_counts(rows_of):
    run = Fabricated(["cuda:0 fp16 *2 -> cuda:1 fp16"])
    memory = Memory(peak_rss_bytes=MIB, device_peak_bytes={"cuda:0": 3 * MIB, "cuda:1": 5 * MIB})
    measured(run, run.strategies[0], memory, ["cuda:0", "cuda:1"])
    assert options_in(rows_of(run))[run.strategies[0]].vram_bytes == 5 * MIB


def test_an_accelerator_whose_memory_was_not_measured_makes_it_unknown(rows_of):
    run = Fabricated(["cuda fp16", "cuda fp16 *2 -> cuda:1 fp16", "cpu fp32"])
    measured(run, "cuda fp16", Memory(peak_rss_bytes=MIB), ["cuda:0"])
    half = Memory(peak_rss_bytes=MIB, device_peak_bytes={"cuda:0": 3 * MIB})
    measured(run, "cuda fp16 *2 -> cuda:1 fp16", half, ["cuda:0", "cuda:1"])
    measured(run, "cpu fp32", Memory(peak_rss_bytes=MIB), ["cpu"])
    options = options_in(rows_of(run))
    assert [one.vram_bytes for one in options.values()] == [None, None, 0]
    assert "cuda:1" in options["cuda fp16 *2 -> cuda:1 fp16"].why("vram_bytes")


def test_what_the_whole_process_held_of_a_device_counts(rows_of):
    run = Fabricated(["cuda fp16"])
    phase = PhaseMemory(
        phase="passes",
        devices={
            "cuda:0": {
                "reserved_peak_bytes": Figure(bytes=4 * MIB, method="m"),
                "process_bytes": Figure(bytes=7 * MIB, method="m"),
                "device_used_bytes": Figure(bytes=900 * MIB, method="m"),  # others' too
            }
        },
    )
    memory = Memory(peak_rss_bytes=MIB, device_peak_bytes={"cuda:0": 3 * MIB}, phases=[phase])
    measured(run, "cuda fp16", memory, ["cuda:0"])
    assert options_in(rows_of(run))["cuda fp16"].vram_bytes == 7 * MIB


@pytest.mark.parametrize("name", ["allocated_peak_bytes", "reserved_peak_bytes", "process_bytes"])
def test_the_largest_of_what_was_held_counts(rows_of, name):
    run = Fabricated(["cuda fp16"])
    held = {"allocated_peak_bytes": 1, "reserved_peak_bytes": 2, "process_bytes": 3, name: 9}
    figures = {each: Figure(bytes=n * MIB, method="m") for each, n in held.items()}
    memory = Memory(
        peak_rss_bytes=MIB, phases=[PhaseMemory(phase="load", devices={"cuda": figures})]
    )
    measured(run, "cuda fp16", memory, ["cuda:0"])
    assert options_in(rows_of(run))["cuda fp16"].vram_bytes == 9 * MIB


def test_without_a_placement_the_plan_tells_which_devices_are_used(rows_of):
    run = Fabricated(["cuda fp16", "cpu fp32"])
    for strategy in run.strategies:
        cell = run.planned(run.cell(strategy), trials=1)
        run.plan[-1]["weight_bytes"] = {}
        run.add(cell, decode_tok_per_s=10.0, memory=Memory(peak_rss_bytes=MIB))
    assert [one.vram_bytes for one in options_in(rows_of(run)).values()] == [None, 0]
    run.plan[1]["weight_bytes"] = {"cuda:0": 5, "cpu": 5}
    assert options_in(rows_of(run))["cpu fp32"].vram_bytes is None


def test_what_failed_is_no_choice_and_what_was_not_tried_is_not_known(rows_of):
    options = options_in(rows_of(with_every_failure()))
    assert options.pop("cpu fp32").unfit is None
    unfit = {one.unfit.split(":")[0] for one in options.values() if one.unfit}
    assert {"crashed", "out of memory (device)", "wrong answers", "unsupported"} <= unfit
    not_tried = [one for one in options.values() if not one.unfit]
    assert all(one.decode_tok_per_s is None for one in not_tried)
    assert any("skipped" in one.why("decode_tok_per_s") for one in not_tried)
    assert any("skipped" in (one.why("vram_bytes") or "") for one in not_tried)


def test_a_failure_beside_the_speed_is_a_caution_unless_the_model_is_broken(rows_of):
    run = Fabricated(["cpu fp32", "cpu bf16", "cpu fp32i8"])
    kinds = ["timeout", "wrong_answers", "crashed"]
    for strategy, kind, workload in zip(
        run.strategies, kinds, ["quality", "quality", "answers"], strict=True
    ):
        run.speed(strategy, 100)
        run.add(run.planned(run.cell(strategy, workload), trials=1), outcome=kind, reason="why")
    options = options_in(rows_of(run))
    assert [one.unfit for one in options.values()] == [None, "wrong answers: why", "crashed: why"]
    assert options["cpu fp32"].cautions == ("'quality' failed: timeout: why",)
    assert options["cpu fp32"].why("agreement") == "timeout: why"


def test_a_trial_that_failed_among_good_ones_is_a_caution(rows_of):
    run = Fabricated(["cpu fp32", "cpu bf16", "cpu fp32i8"])
    for strategy, kind in (("cpu fp32", "crashed"), ("cpu bf16", "interrupted")):
        cell = run.planned(run.cell(strategy))
        run.add(cell, trial=0, decode_tok_per_s=10.0)
        run.add(cell, trial=1, outcome=kind, reason="signal 11")
    disturbed = run.planned(run.cell("cpu fp32i8"), trials=1)
    run.add(disturbed, outcome="noisy", reason="load", decode_tok_per_s=5.0)
    options = options_in(rows_of(run))
    assert options["cpu fp32"].cautions == ("2 of 3 trials of 'speed' failed: crashed: signal 11",)
    assert options["cpu bf16"].cautions == ()
    assert options["cpu fp32i8"].cautions == ("every trial of 'speed' was disturbed: noisy: load",)
    assert {one.unfit for one in options.values()} == {None}


def test_what_answers_otherwise_each_time_or_without_numbers_is_no_choice(rows_of):
    run = Fabricated(["cpu fp32", "cpu bf16"])
    cell = run.planned(run.cell("cpu fp32", "answers"), trials=2)
    for trial in range(2):
        run.add(cell, trial=trial, answers=[Answer(id="sum", text="x", token_ids=[trial])])
    scored(run, "cpu bf16", not_finite=3)
    options = options_in(rows_of(run))
    assert options["cpu fp32"].unfit == "nondeterministic: 1 answer changed from trial to trial"
    assert options["cpu bf16"].unfit == "gave 3 log-probabilities without a number"


def test_why_there_is_no_quality_is_said(rows_of):
    run = Fabricated(["cpu fp32", "cpu bf16", "cpu fp32i8"])
    run.speed("cpu fp32", 100)
    cell = run.planned(run.cell("cpu bf16", "quality"), skip_reason="no tokenizer")
    run.add(cell, outcome="skipped", reason="no tokenizer")
    cell = run.planned(run.cell("cpu fp32i8", "quality"), trials=1)
    run.add(cell, quality=Quality(missing={"reference": "no engine refers"}))
    options = options_in(rows_of(run))
    unscored, skipped, unreferenced = (one.why("agreement") for one in options.values())
    assert "quality" in unscored
    assert (skipped, unreferenced) == ("skipped: no tokenizer", "no engine refers")


def test_agreement_on_other_tokens_is_not_compared_in_silence(summary_of):
    run = Fabricated(["cpu fp32", "cpu bf16"])
    for strategy in run.strategies:
        run.speed(strategy, 100)
    scored(run, "cpu fp32")
    cell = run.planned(run.cell("cpu bf16", "quality"), trials=1)
    run.add(cell, quality=Quality(answers=[AnswerQuality(id="sum", scored=tokens(9, 10))]))
    ranking = rank_model(summary_of(run).models[0], Wishes(), run="r")
    [note] = ranking.notes
    assert note == (
        "The agreement is of “cpu fp32” on 100 tokens of the fixed text and of “cpu bf16” on its "
        "own answers, which cannot be compared."
    )


def test_only_the_smallest_batch_is_ranked(summary_of):
    run = Fabricated(["cpu fp32", "cpu bf16"], batches=[1, 4])
    run.speed("cpu fp32", 300, batch=4)
    run.speed("cpu fp32", 100)
    run.speed("cpu bf16", 900, batch=4)
    run.records = [msgspec.structs.replace(one, batch=one.cell.batch) for one in run.records]
    ranking = rank_model(summary_of(run).models[0], Wishes(), run="r")
    assert [one.name for one in ranking.options] == ["cpu fp32"]
    assert ranking.found.best.decode_tok_per_s < 200
    assert "2 cells with a larger batch than 1 are not compared" in ranking.notes[0]


def test_engines_and_threads_are_named_where_there_are_several(summary_of):
    run = Fabricated(["cpu fp32"], engines=["torch", "rwkv"], threads=[1, 2])
    for engine in run.engines:
        for threads in run.threads:
            run.speed("cpu fp32", 100 * threads, engine=engine, threads=threads)
    ranking = rank_model(summary_of(run).models[0], Wishes(), run="r")
    assert {one.name for one in ranking.options} == {
        f"cpu fp32, {engine}, {threads}"
        for engine in run.engines
        for threads in ("1 thread", "2 threads")
    }


def later(run):
    """The same run, measured a year after."""
    run.records = [
        msgspec.structs.replace(one, started_at=one.started_at.replace("2024", "2025"))
        for one in run.records
    ]
    return run


def test_of_two_runs_of_a_machine_the_newer_figure_counts(tmp_path):
    old = Fabricated(["cpu fp32", "cpu bf16"])
    for strategy, speed in (("cpu fp32", 500), ("cpu bf16", 50)):
        old.speed(strategy, speed)
        old.answers(strategy)
        scored(old, strategy, 97)
    new = Fabricated(["cpu fp32"])
    new.speed("cpu fp32", 100, 700)
    for order in (("old", "new"), ("new", "old")):
        runs = {"old": old, "new": later(new)}
        folder = tmp_path / order[0]
        [ranking] = ranked(folder, {f"here/{name}": runs[name] for name in order})
        first, second = ranking.found.best, ranking.found.runner_up
        assert (first.name, second.name) == ("cpu fp32", "cpu bf16")
        assert first.decode_tok_per_s == pytest.approx(100, rel=0.1)
        assert first.ram_bytes == pytest.approx(700 * MIB, rel=0.01)
        assert (first.agreement, first.right) == (0.97, (3, 3))  # which the new run lacks
        assert (first.runs, second.runs) == (("new", "old"), ("old",))
        assert ranking.notes[0] == (
            "“cpu fp32” was measured in 2 runs; of each figure the newest counts: new and old."
        )
        assert (ranking.runs, ranking.machine) == (("new", "old"), "here")


def test_what_the_newer_run_skipped_keeps_its_older_figures(tmp_path):
    old, new = Fabricated(["cuda fp16"]), Fabricated(["cuda fp16"])
    old.speed("cuda fp16", 500, device=("cuda:0", 70))
    cell = new.planned(new.cell("cuda fp16"), skip_reason="no CUDA device")
    new.add(cell, outcome="skipped", reason="no CUDA device")
    [ranking] = ranked(tmp_path, {"here/old": old, "here/new": later(new)})
    assert ranking.found.best.vram_bytes == 70 * MIB
    assert ranking.notes == ()


def test_a_newer_run_of_answers_alone_adds_them_to_the_older_speed(tmp_path):
    old, new = Fabricated(["cpu fp32"]), Fabricated(["cpu fp32"])
    old.speed("cpu fp32", 500)
    old.answers("cpu fp32")
    new.answers("cpu fp32", wrong=("sum",))
    [ranking] = ranked(tmp_path, {"here/old": old, "here/new": later(new)})
    best = ranking.found.best
    assert best.decode_tok_per_s == pytest.approx(500, rel=0.1)
    assert (best.right, best.runs) == ((2, 3), ("old", "new"))


def test_other_software_in_another_run_is_said(tmp_path):
    old, new = Fabricated(["cpu fp32"]), Fabricated(["cpu bf16"])
    old.speed("cpu fp32", 500)
    new.speed("cpu bf16", 400)
    [ranking] = ranked(tmp_path / "same", {"here/old": old, "here/new": new})
    assert ranking.notes == ()
    new.records = [
        msgspec.structs.replace(one, facts={**FACTS, "torch": "2.13.0", "ram_bytes": 1})
        for one in new.records
    ]
    [ranking] = ranked(tmp_path / "other", {"here/old": old, "here/new": new})
    [note] = ranking.notes
    assert "torch" in note.split(".")[0]


def test_what_failed_in_the_newer_run_is_no_choice(tmp_path):
    old, new = Fabricated(["cpu fp32"]), Fabricated(["cpu fp32"])
    old.speed("cpu fp32", 500)
    new.add(new.planned(new.cell("cpu fp32"), trials=1), outcome="crashed", reason="signal 11")
    [ranking] = ranked(tmp_path, {"here/old": old, "here/new": later(new)})
    assert ranking.found.best is None
    assert ranking.found.refused[0][1] == "crashed: signal 11"


def test_machines_have_rankings_of_their_own(tmp_path):
    slow, fast = Fabricated(["cpu fp32"]), Fabricated(["cpu fp32"])
    slow.speed("cpu fp32", 10)
    fast.speed("cpu fp32", 1000)
    rankings = ranked(tmp_path, {"laptop/1": slow, "server/1": fast})
    assert [(one.machine, len(one.options)) for one in rankings] == [("laptop", 1), ("server", 1)]
    assert rankings[0].found.best.decode_tok_per_s < 20


def test_models_are_the_same_by_their_weights_not_by_their_names(tmp_path):
    def with_weights(name, digest, strategy):
        run = Fabricated([strategy], {name: "w"})
        run.speed(strategy, 100)
        run.records = [
            msgspec.structs.replace(one, facts={**FACTS, "weights_sha256": digest})
            for one in run.records
        ]
        return run

    same = ranked(
        tmp_path / "a",
        {
            "here/1": with_weights("raven", "abc", "cpu fp32"),
            "here/2": with_weights("raven-3b", "abc", "cpu bf16"),
        },
    )
    assert [len(one.options) for one in same] == [2]
    assert same[0].notes == ("raven and raven-3b are names of the same weights.",)
    other = ranked(
        tmp_path / "b",
        {
            "here/1": with_weights("raven", "abc", "cpu fp32"),
            "here/2": with_weights("raven", "def", "cpu bf16"),
        },
    )
    assert [(one.model, len(one.options)) for one in other] == [("raven", 1), ("raven", 1)]


def test_one_model_alone_can_be_asked_for(tmp_path):
    run = Fabricated(models={"a": "a", "b": "b"})
    for model in run.models:
        run.speed("cpu fp32", 100, model=model)
    assert [one.model for one in ranked(tmp_path, {"here/1": run})] == ["a", "b"]
    assert [one.model for one in ranked(tmp_path, {"here/2": run}, model="b")] == ["b"]
    assert ranked(tmp_path, {"here/3": run}, model="c") == ()


def test_the_report_chooses_what_is_recommended(summary_of):
    for run in (with_devices(), Fabricated()):
        for strategy in run.strategies[:2] if not run.records else ():
            run.speed(strategy, 100)
        [model] = summary_of(run).models
        chosen = {choice.wish: choice.label for choice in model.choices}
        for prefer, wish in (("decode", "fastest"), ("memory", "smallest")):
            best = rank_model(model, Wishes(prefer=prefer), run="r").found.best
            assert chosen[wish] == best.name


def test_what_changes_its_answers_is_no_choice_of_the_report_either(summary_of):
    run = Fabricated(["cpu fp32", "cpu bf16"])
    run.answers("cpu fp32", wrong=("sum",))
    cell = run.planned(run.cell("cpu bf16", "answers"), trials=2)
    for trial in range(2):
        run.add(
            cell, trial=trial, answers=[Answer(id="sum", text="x", token_ids=[trial], right=True)]
        )
    choices = {choice.wish: choice.label for choice in summary_of(run).models[0].choices}
    assert choices["best answers"] == "cpu fp32"


def test_an_option_can_be_written_as_json(rows_of):
    option = option_of(rows_of(with_devices())["cuda fp16"])
    assert msgspec.json.encode(dataclasses.asdict(option))


def test_of_two_cells_of_a_workload_either_may_be_at_fault(rows_of):
    run = Fabricated(["cpu fp32"])
    run.answers("cpu fp32")
    row = rows_of(run)["cpu fp32"]
    [good] = row.outcomes
    bad = msgspec.structs.replace(good, state="failed", kind="crashed", reason="x", ok=0)
    for outcomes in ((good, bad), (bad, good)):
        assert faults_of(msgspec.structs.replace(row, outcomes=outcomes)) == {
            "answers": "crashed: x"
        }
