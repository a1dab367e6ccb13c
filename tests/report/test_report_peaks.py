"""Peak memory: which trials it is of, and that it is one number wherever it is shown."""

from __future__ import annotations

import dataclasses

import pytest
from fabricate import FACTS, MIB, Fabricated
from msgspec import structs

from harness.records.phases import Figure, PhaseMemory
from harness.records.record import Memory
from harness.records.store import read_run
from harness.report.advice import choice_sentence, choice_table
from harness.report.format import size
from harness.report.ranking import rank_model, rank_runs
from harness.report.recommend import Wishes
from harness.report.summary import summarise

SMALLEST = Wishes(prefer="memory")


def peak(n_mib, on_device=None):
    """So much of the host, and by the driver of a device."""
    held = {"cuda:0": {"process_bytes": Figure(bytes=(on_device or 0) * MIB, method="m")}}
    phases = [PhaseMemory(phase="load", devices=held)] if on_device else []
    return Memory(peak_rss_bytes=n_mib * MIB, phases=phases)


def measured(run, strategy, workload, memory, *, sampling=None, tok_per_s=None, **names):
    cell = run.cell(strategy, workload, **names)
    cell = dataclasses.replace(cell, sampling=sampling, variant=sampling or "")
    run.add(run.planned(cell, trials=1), memory=memory, decode_tok_per_s=tok_per_s)


def used(peaks, workloads=("speed", "answers")):
    """A run of strategies, each with its peaks in these workloads; None: it did not run it."""
    run = Fabricated(list(peaks))
    for at, (strategy, mib) in enumerate(peaks.items()):
        for workload, one in zip(workloads, mib, strict=True):
            if one is not None:
                speed = 100.0 - 40 * at if workload == "speed" else None
                measured(run, strategy, workload, peak(one), tok_per_s=speed)
    return run


def peaks_in(rows):
    return {label: row.memory.peak_rss_bytes // MIB for label, row in rows.items()}


DEEP = ("speed", "answers", "depth")


@pytest.mark.parametrize(
    "second, peaks",
    [
        ((261, 258, 268), [270, 268]),  # both went deep
        ((261, 258, None), [264, 261]),  # the reference alone did
        ((None, 258, None), [264, 258]),
        ((None, None, None), [270]),  # it was not measured, and is not compared
        ((None, None, 268), [270, 268]),
    ],
)
def test_depth_counts_where_every_measured_strategy_went_through_it(second, peaks, rows_of):
    rows = rows_of(used({"cpu fp32": (264, 250, 270), "cpu bf16": second}, DEEP))
    assert list(peaks_in(rows).values()) == peaks


def test_a_strategy_that_only_went_deep_says_why_it_has_no_peak(rows_of):
    rows = rows_of(used({"cpu fp32": (None, None, 270), "cpu bf16": (261, 258, None)}, DEEP))
    first = rows["cpu fp32"]
    assert first.memory.peak_rss_bytes is None
    assert first.missing["peak_rss_bytes"] == (
        "measured at depth alone, which counts where every strategy was"
    )


def test_a_limit_does_not_refuse_what_alone_went_deep(summary_of):
    run = used({"cpu fp32": (264, 250, 270), "cpu bf16": (261, 258, None)}, DEEP)
    [model] = summary_of(run).models
    ranking = rank_model(model, Wishes(ram_bytes=266 * MIB), run="r")
    assert (ranking.found.best.name, ranking.notes) == ("cpu fp32", ())


def deep(mib):
    """Phases of a device at depth, the most of all that is held."""
    held = {"cuda:0": {"process_bytes": Figure(bytes=mib * MIB, method="m")}}
    return Memory(
        peak_rss_bytes=MIB,
        device_peak_bytes={"cuda:0": MIB},
        phases=[PhaseMemory(phase="depth", devices=held)],
    )


def test_what_a_device_held_at_depth_counts_likewise_and_is_shown_by_phase(summary_of):
    run = Fabricated(["cuda fp16", "cuda fp16i8"])
    for strategy in run.strategies:
        measured(run, strategy, "speed", peak(10, 5), tok_per_s=9.0)
    measured(run, "cuda fp16", "depth", deep(9))
    [model] = summary_of(run).models
    assert {one.vram_bytes for one in rank_model(model, SMALLEST, run="r").options} == {5 * MIB}
    assert "depth" in [one.phase for one in model.rows[0].phases]
    measured(run, "cuda fp16i8", "depth", deep(8))
    [model] = summary_of(run).models
    options = rank_model(model, SMALLEST, run="r").options
    assert [one.vram_bytes // MIB for one in options] == [9, 8]


def ranked(tmp_path, wishes=SMALLEST, **runs):
    """Runs of one machine, each a year after the one before."""
    read = []
    for year, (name, run) in enumerate(runs.items(), start=2030):
        run.records = [
            structs.replace(one, started_at=one.started_at.replace("2024", str(year)))
            for one in run.records
        ]
        read.append(read_run(run.write(tmp_path / "here" / name)))
    return rank_runs([(run, summarise(run)) for run in read], wishes)


def test_runs_that_went_deep_and_runs_that_did_not_are_compared_without(tmp_path):
    first = used({"cpu fp32": (264, 250, 270)}, DEEP)
    second = used({"cpu bf16": (266, 258, None)}, DEEP)
    [ranking] = ranked(tmp_path / "a", first=first, second=second)
    assert {one.name: one.ram_bytes // MIB for one in ranking.options} == {
        "cpu bf16": 266,
        "cpu fp32": 264,
    }
    assert ranking.notes == (
        "Memory is that of speed and answers: not every strategy was measured at depth.",
    )
    only = used({"cpu fp32": (None, None, 270)}, DEEP)
    [ranking] = ranked(tmp_path / "only", first=only, second=second)
    assert ranking.found.unknown[0][1] == (
        "RAM not measured: measured at depth alone, which counts where every strategy was"
    )
    # What is of a run that a newer one takes the place of is compared with nothing.
    newer = used({"cpu bf16": (261, 258, 268)}, DEEP)
    [ranking] = ranked(tmp_path / "b", first=first, second=second, third=newer)
    assert {one.name: one.ram_bytes // MIB for one in ranking.options} == {
        "cpu bf16": 268,
        "cpu fp32": 270,
    }
    assert not any("depth" in note for note in ranking.notes)


def under_samplings(peaks):
    """Strategies with a peak of their speed, and one under each sampling."""
    run = Fabricated(list(peaks))
    for at, (strategy, (speed, *answers)) in enumerate(peaks.items()):
        measured(run, strategy, "speed", peak(speed), tok_per_s=90.0 + at, sampling=None)
        for name, one in zip(("greedy", "warm", "hot"), answers, strict=False):
            measured(run, strategy, "answers", peak(one), sampling=name)
    return run


def test_the_peak_of_a_strategy_is_one_number_wherever_it_is_named(summary_of):
    run = under_samplings({"cpu fp32": (300, 320, 310), "cpu bf16": (250, 255, 330)})
    [model] = summary_of(run).models
    ranking = rank_model(model, SMALLEST, run="r")
    rows = {row.label: row for row in model.rows}
    # Its other samplings have what their own answers took.
    assert peaks_in(rows) == {
        "cpu fp32, greedy": 320,
        "cpu fp32, warm": 310,
        "cpu bf16, greedy": 330,
        "cpu bf16, warm": 330,
    }
    assert {one.name: one.ram_bytes // MIB for one in ranking.options} == {
        "cpu fp32": 320,
        "cpu bf16": 330,
    }
    smallest = next(one for one in model.choices if one.wish == "smallest")
    assert (ranking.found.best.name, smallest.label) == ("cpu fp32", "cpu fp32, greedy")
    assert "“cpu fp32, greedy”, 90.0 tok/s, 320 MiB at its peak" in choice_sentence(model)
    shown = {row[1].text: row[4].text for row in choice_table(model).rows}
    assert shown["cpu fp32, greedy"] == size(320 * MIB)


def test_what_is_not_told_apart_is_counted_in_strategies(summary_of):
    run = under_samplings({"cpu fp32": (300, 301, 299, 300), "cpu bf16": (300, 300, 299, 300)})
    [model] = summary_of(run).models
    found = {one.wish: (one.label, one.tied) for one in model.choices}
    assert found["smallest"] == ("cpu bf16, greedy", ("cpu fp32, greedy",))


def test_the_samplings_of_a_strategy_are_one_for_right_answers_too(summary_of):
    run = Fabricated(["cpu fp32", "cpu bf16"])
    plain = run.cell
    for sampling in ("greedy", "warm"):
        run.cell = lambda *names, sampling=sampling, **more: dataclasses.replace(
            plain(*names, **more), sampling=sampling, variant=sampling
        )
        run.answers("cpu fp32", wrong=("sum",) if sampling == "greedy" else ())
        run.answers("cpu bf16")
    run.cell = plain
    run.speed("cpu fp32", 100)
    run.speed("cpu bf16", 50)
    [choice] = [one for one in summary_of(run).models[0].choices if one.wish == "best answers"]
    assert (choice.label, choice.tied) == ("cpu fp32, warm", ("cpu bf16, greedy",))


def test_the_same_weights_under_two_names_keep_the_figures_of_each(tmp_path):
    run = Fabricated(["cpu fp32"], {"raven": "w", "raven-again": "w"})
    for model, speed, mib in (("raven", 90.0, 258), ("raven-again", 80.0, 262)):
        measured(run, "cpu fp32", "speed", peak(mib), tok_per_s=speed, model=model)
    run.records = [
        structs.replace(one, facts={**FACTS, "weights_sha256": "abc"}) for one in run.records
    ]
    [ranking] = ranked(tmp_path, run=run)
    [option] = ranking.options
    assert (option.decode_tok_per_s, option.ram_bytes) == (90.0, 258 * MIB)
    assert ranking.notes == (
        (
            "raven and raven-again are names of the same weights; of what a run has under several, "
            "the first counts."
        ),
    )


def test_a_strategy_that_was_only_scored_says_which_workload_is_missing(summary_of):
    run = Fabricated(["cpu fp32"])
    run.quality("cpu fp32")
    ranking = rank_model(summary_of(run).models[0], SMALLEST, run="r")
    [(_, why)] = ranking.found.unknown
    assert why == "RAM not measured: the workload 'speed' has not been run in this run's folder"
    run.planned(run.cell("cpu fp32"))
    ranking = rank_model(summary_of(run).models[0], SMALLEST, run="r")
    [(_, why)] = ranking.found.unknown
    assert why == "RAM not measured: not run: no trial of 'speed' was run yet"


def test_a_workload_that_was_not_run_yet_is_named_below_what_was(summary_of):
    run = used({"cpu fp32": (264, 250)})
    run.planned(run.cell("cpu fp32", "quality"), trials=1)
    best = rank_model(summary_of(run).models[0], Wishes(), run="r").found.best
    assert best.why("agreement") == "not run: no trial of 'quality' was run yet"
