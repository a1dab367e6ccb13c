"""Answers under several samplings: a row for each, with the speed and quality in the first."""

import dataclasses

import msgspec
import pytest
from fabricate import Fabricated, difference

from harness.records.quality import Lambada
from harness.report.numbers import decode as decode_numbers
from harness.report.page import make_page
from harness.report.plot_bars import decode as decode_plot
from harness.report.plot_quality import quality, quality_table
from harness.report.quality_cells import agreement, same
from harness.report.quality_tables import lambada_table, scored_answers_table, text_table
from harness.report.roofline_tables import roofline_table
from harness.report.style import house_style


def under_samplings(batches=(1,)):
    """Two strategies under two samplings, timed in these batches, and the second one at depth."""
    run = Fabricated(["cpu fp32", "cpu bf16"], batches=list(batches), trials=2)
    plain = run.cell

    def named(strategy, workload="speed", *, sampling=None, **names):
        cell = plain(strategy, workload, **names)
        if workload == "quality":
            sampling = "greedy"
        return dataclasses.replace(cell, sampling=sampling, variant=sampling or "")

    run.cell = named
    for strategy in run.strategies:
        for batch in batches:
            run.speed(strategy, 100, batch=batch)
        run.answers(strategy, sampling="greedy")
        wrong = ("sum", "capital") if strategy == "cpu bf16" else ("sum",)
        run.answers(strategy, wrong=wrong, sampling="warm")
        lambada = Lambada(sha256="s", log_p=[-1.0], right=[1])
        run.quality(strategy, lambada=lambada)
    return run


@pytest.fixture
def model_of(summary_of):
    return lambda run: summary_of(run).models[0]


def test_each_sampling_has_its_row_and_its_reference(model_of):
    model = model_of(under_samplings())

    rows = {row.label: row for row in model.rows}
    assert list(rows) == [
        "cpu fp32, greedy",
        "cpu fp32, warm",
        "cpu bf16, greedy",
        "cpu bf16, warm",
    ]
    assert [row.decode_tok_per_s is not None for row in model.rows] == [True, False, True, False]
    assert [row.quality is not None for row in model.rows] == [True, False, True, False]
    assert rows["cpu bf16, warm"].reference == "cpu fp32, warm"
    assert rows["cpu fp32, warm"].score.right == 2
    assert msgspec.json.encode(model)


def test_without_quality_answers_are_compared_with_those_under_the_same_sampling(model_of):
    run = under_samplings()
    gone = {cell["cell"]["id"] for cell in run.plan if cell["cell"]["workload"] == "quality"}
    run.plan = [cell for cell in run.plan if cell["cell"]["id"] not in gone]
    run.records = [record for record in run.records if record.cell.id not in gone]
    rows = {row.label: row for row in model_of(run).rows}
    assert rows["cpu bf16, warm"].agreement.same == 3
    assert rows["cpu bf16, greedy"].agreement.same == 4


@pytest.mark.parametrize("batches", [(1, 2), (2, 1)])
def test_a_figure_that_stands_in_another_row_is_pointed_to(batches, model_of):
    model = model_of(under_samplings(batches))
    rows = {row.label: row for row in model.rows}
    first, warm, larger = (
        rows[label]
        for label in ("cpu bf16, batch 1, greedy", "cpu bf16, batch 1, warm", "cpu bf16, batch 2")
    )
    see = f"see “{first.label}”"
    assert first.elsewhere == {}
    assert warm.elsewhere == {"speed": first.label, "quality": first.label}
    assert larger.elsewhere == {"answers": first.label, "quality": first.label}
    assert warm.missing["decode_tok_per_s"] == f"timed once for all samplings and prompts: {see}"
    assert warm.missing["decode_ratio"] == warm.missing["decode_tok_per_s"]
    once = f"scored once for all batch sizes, samplings and prompts: {see}"
    assert agreement(warm).why == agreement(larger).why == same(larger).why == once
    assert "first sampling and prompt are held against the reference" in same(warm).why
    assert larger.missing["score"] == f"answered one row at a time: {see}"


def test_a_workload_of_another_strategy_engine_or_thread_count_is_no_figure_of_a_row(rows_of):
    run = Fabricated(["cpu fp32", "cpu bf16"], threads=[1, 2])
    run.speed("cpu fp32", 100, threads=1)
    run.answers("cpu fp32", threads=2)
    run.answers("cpu bf16", threads=1)
    rows = rows_of(run)
    assert all(row.elsewhere == {} for row in rows.values())
    why = rows["cpu bf16, 1 thread"].missing["decode_tok_per_s"]
    assert why == "the workload 'speed' has not been run in this run's folder"


def test_tables_and_plots_of_speed_and_quality_leave_out_rows_that_only_point(model_of):
    model = model_of(under_samplings())
    first = ["cpu fp32, greedy", "cpu bf16, greedy"]
    for table in (text_table, scored_answers_table, lambada_table, decode_numbers, quality_table):
        assert [row[0].text for row in table(model).rows] == first, table.__name__
    assert roofline_table(model, ()) is None
    with house_style():
        bars, scatter = decode_plot(model), quality(model)
        assert len(bars.figure.axes[0].get_yticklabels()) == 2
        assert "Not shown" not in scatter.says


def test_a_gate_before_a_trial_that_noise_had_measured_again_still_counts(rows_of):
    run = Fabricated(["cpu fp32"], trials=1)
    run.quality("cpu fp32")
    gate = run.records.pop().gate
    cell = run.planned(run.cell("cpu fp32"), trials=1)
    run.add(cell, outcome="noisy", reason="loud", gate=gate)
    run.add(cell, attempt=1, decode_tok_per_s=100.0)
    assert rows_of(run)["cpu fp32"].gate == gate


def test_answers_that_were_not_held_against_the_reference_are_told_apart(summary_of):
    run = under_samplings()
    [page] = make_page(summary_of(run)).models
    assert page.about_answers == (
        "Each answer that was held against the exact reference (“greedy”) is what it would have "
        "given, token for token. The others were not held against it."
    )
    assert page.agreeing_title == (
        "4 questions to which no answer that was held against the exact reference (“greedy”) "
        "differs from its own"
    )
    titles = [table.caption for table in page.agreeing]
    assert titles == ["Answers of tiny, greedy", "Answers of tiny, warm"]


def test_which_answers_were_held_is_said_beside_those_that_differ(summary_of):
    run = under_samplings()
    at = next(i for i, one in enumerate(run.records) if one.cell.workload == "quality")
    [first, *others] = run.records[at].quality.answers
    first = msgspec.structs.replace(first, difference=difference("Paris"))
    quality = msgspec.structs.replace(run.records[at].quality, answers=[first, *others])
    run.records[at] = msgspec.structs.replace(run.records[at], quality=quality)
    [page] = make_page(summary_of(run)).models
    assert page.about_answers.endswith("Only the answers of “greedy” were held against it.")


def test_where_all_answers_were_held_against_the_reference_none_are_told_apart(summary_of):
    run = Fabricated(["cpu fp32"])
    run.answers("cpu fp32")
    run.quality("cpu fp32")
    [page] = make_page(summary_of(run)).models
    assert page.about_answers.startswith("Each answer is what the exact reference")
    assert page.agreeing_title == (
        "4 questions that no strategy answers otherwise than the exact reference"
    )


def test_without_variants_the_strategies_that_were_held_are_named(summary_of):
    run = Fabricated(["cpu fp32", "cpu bf16"])
    for strategy in run.strategies:
        run.answers(strategy)
    run.quality("cpu fp32")
    [page] = make_page(summary_of(run)).models
    assert "(“cpu fp32”)" in page.about_answers


def test_tables_of_answers_that_would_share_a_title_are_numbered(summary_of):
    run = Fabricated([f"s{n}" for n in range(6)])
    for strategy in run.strategies:
        run.answers(strategy)
    [page] = make_page(summary_of(run)).models
    assert [table.caption for table in page.agreeing] == [
        "Answers of tiny, part 1 of 2",
        "Answers of tiny, part 2 of 2",
    ]


def test_a_row_without_its_reference_says_that_its_speed_is_elsewhere(model_of):
    run = under_samplings()
    gone = next(
        entry["cell"]["id"]
        for entry in run.plan
        if (entry["cell"]["strategy"], entry["cell"]["sampling"]) == ("cpu fp32", "warm")
    )
    run.plan = [entry for entry in run.plan if entry["cell"]["id"] != gone]
    run.records = [record for record in run.records if record.cell.id != gone]
    rows = {row.label: row for row in model_of(run).rows}
    assert "cpu fp32, warm" not in rows
    why = rows["cpu bf16, warm"].missing["decode_ratio"]
    assert why.startswith("timed once for all samplings and prompts: see “cpu bf16, greedy”")
