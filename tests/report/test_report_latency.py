"""The latency of a strategy: its tables, the depth sweep with its verdict, rows of a batch."""

from __future__ import annotations

import pytest
from fabricate import Fabricated
from msgspec.structs import replace

from harness.config.depth_settings import Depth
from harness.records.latency import AnswerLatency, AtDepth, FirstPass, Latency, Prefill
from harness.records.record import Answer
from harness.report.advice import choice_table
from harness.report.latency_tables import (
    answer_table,
    batch_table,
    depth_table,
    latency_tables,
    terminal_depth_table,
    terminal_table,
)
from harness.report.plots import draw_plots
from harness.report.results import result_table

DEPTHS = (0, 1000, 4000)


def texts(table, at=0):
    """What stands in one row of a table, by the column's title."""
    titles = (column.title for column in table.columns)
    return dict(zip(titles, (cell.text for cell in table.rows[at]), strict=True))


def whys(table, at=0):
    titles = (column.title for column in table.columns)
    return {title: cell.why for title, cell in zip(titles, table.rows[at], strict=True) if cell.why}


def measured(run, seconds, *, steps=10, first=4.0, lengths=(10, 40), **fields):
    """A speed cell: a trial for each of `seconds`, all steps of which take as long."""
    cell = run.planned(run.cell("cpu fp32"), trials=len(seconds))
    for trial, s in enumerate(seconds):
        latency = Latency(
            first_pass=FirstPass(
                prefill=[Prefill(tokens=10, s=first)], decode_s=[first], end_to_end_s=2 * first
            ),
            end_to_end_s=[20 * s, 30 * s, 25 * s],
        )
        run.add(
            cell,
            trial=trial,
            load_s=s,
            prefill=[Prefill(tokens=n, s=n * s) for n in lengths],
            decode_s=[[s] * steps] * 2,
            latency=latency,
            **fields,
        )
    return run


def answer(name, *, first, tokens=3):
    return Answer(
        id=name,
        text="a",
        token_ids=[1] * tokens,
        prefill_s=0.5,
        decode_s=[0.25] * (tokens - 1),
        latency=AnswerLatency(
            tokenize_s=0.125,
            sample_s=[0.0625] * tokens,
            text_s=0.03125,
            first_token_s=first,
            end_to_end_s=2.0,
        ),
    )


@pytest.fixture
def model_of(summary_of):
    return lambda run: summary_of(run).models[0]


def test_every_part_of_the_latency_stands_in_tables_that_fit_a_page(model_of):
    run = measured(Fabricated(["cpu fp32"]), [0.01, 0.02, 0.03], steps=50)
    cell = run.planned(run.cell("cpu fp32", "answers"))
    run.add(cell, answers=[answer("a", first=0.7), answer("b", first=0.9), answer("c", first=0.8)])
    waits, steps, prefill = latency_tables(model_of(run))
    assert texts(waits) == {
        "Strategy": "cpu fp32",
        "Load": "20.0 ms",
        "First pass": "8.00 s",
        "First token": "800 ms",
        "End to end": "500 ms",  # the median pass of the median trial
    }
    assert texts(steps) == {
        "Strategy": "cpu fp32",
        "Steps timed": "300",
        "Decode p50": "20.0 ms",
        "Decode p90": "20.0 ms",
        "Decode p99": "20.0 ms",
        "Maximum": "30.0 ms",
    }
    assert texts(prefill) == {"Strategy": "cpu fp32", "10 tokens": "50.0", "40 tokens": "50.0"}
    assert all(table.remarks for table in (waits, steps, prefill))
    assert [cell.text for cell in terminal_table(model_of(run)).rows[0]] == [
        *("cpu fp32", "20.0 ms", "8.00 s", "800 ms", "20.0 ms", "20.0 ms", "20.0 ms", "500 ms")
    ]
    assert texts(answer_table(model_of(run))) == {
        "Strategy": "cpu fp32",
        "Answers": "3",
        "Tokenise": "125 ms",
        "Prefill": "500 ms",
        "Draw": "62.5 ms",
        "First token": "800 ms",
        "Step": "250 ms",
        "Text": "31.2 ms",
        "End to end": "2.00 s",
    }


def test_what_was_not_measured_is_missing_for_its_own_reason(model_of):
    run = measured(Fabricated(["cpu fp32"]), [0.01], steps=4)
    waits, steps, _ = latency_tables(model_of(run))
    assert whys(waits) == {
        "First token": "the workload 'answers' has not been run in this run's folder",
    }
    assert whys(steps) == {
        "Decode p90": "p90 needs 20 steps in a trial, and there are 8",
        "Decode p99": "p99 needs 100 steps in a trial, and there are 8",
    }
    assert answer_table(model_of(run)) is None


def test_without_a_timed_step_there_is_no_table_of_steps(model_of):
    run = Fabricated(["cpu fp32"])
    run.add(run.planned(run.cell("cpu fp32", "answers")), answers=[answer("a", first=0.5)])
    (waits,) = latency_tables(model_of(run))
    assert texts(waits)["First token"] == "500 ms"


def test_percentiles_are_of_the_trials_that_carry_them(model_of):
    run = Fabricated(["cpu fp32"])
    cell = run.planned(run.cell("cpu fp32"), trials=2)
    for trial, steps in enumerate((8, 30)):
        run.add(cell, trial=trial, decode_s=[[0.01] * steps])
    _, steps = latency_tables(model_of(run))
    assert texts(steps)["Decode p90"] == "10.0 ms"
    assert whys(steps) == {"Decode p99": "p99 needs 100 steps in a trial, and there are 30"}


def test_a_part_that_took_no_time_counts_as_well(model_of):
    run = Fabricated(["cpu fp32"])
    parts = [answer(name, first=0.5) for name in "abc"]
    for one in parts[:2]:
        parts[parts.index(one)] = replace(one, latency=replace(one.latency, tokenize_s=0.0))
    run.add(run.planned(run.cell("cpu fp32", "answers")), answers=parts)
    assert texts(answer_table(model_of(run)))["Tokenise"] == "0 ms"


def test_old_records_have_no_latency_and_say_so(model_of):
    run = Fabricated(["cpu fp32"])
    run.speed("cpu fp32", 100)
    waits, *_ = latency_tables(model_of(run))
    found = whys(waits)
    assert (found["First pass"], found["End to end"]) == ("not recorded", "not recorded")


def test_one_prompt_length_needs_no_table_of_its_own(model_of):
    run = Fabricated(["cpu fp32"])
    measured(run, [0.01], lengths=(10,))
    assert [table.caption for table in latency_tables(model_of(run))] == [
        "Latency of tiny",
        "Decode steps of tiny",
    ]


def test_an_answer_that_ends_at_once_has_no_first_token(model_of):
    run = Fabricated(["cpu fp32"])
    run.add(run.planned(run.cell("cpu fp32", "answers")), answers=[answer("a", first=None)])
    assert "before its first token" in whys(latency_tables(model_of(run))[0])["First token"]


def swept(per_thousand, depths=DEPTHS):
    """A depth cell: one trial per slope, each a share per 1,000 tokens."""
    run = Fabricated(["cpu fp32"], depth=Depth(), trials=len(per_thousand))
    cell = run.planned(run.cell("cpu fp32", "depth"))
    for trial, share in enumerate(per_thousand):
        visits = [
            AtDepth(tokens=n, decode_s=[0.1 * (1 + share * n / 1000)] * 3)
            for _ in range(2)
            for n in reversed(depths)
        ]
        run.add(cell, trial=trial, latency=Latency(depth=visits))
    return run


@pytest.mark.parametrize(
    "slopes, verdict",
    [
        ([0.001, -0.001, 0.0], "flat"),
        ([0.1, 0.101, 0.102], "not flat"),
        ([0.0, 0.1, -0.1], "cannot tell"),
        ([0.0], "cannot tell"),  # one trial has no interval
        ([0.0, 0.0, 0.0], "cannot tell"),  # that no spread was seen is no interval either
    ],
)
def test_flat_is_said_only_where_the_interval_says_it(slopes, verdict, model_of):
    model = model_of(swept(slopes))
    found = texts(depth_table(model))
    assert found["Verdict"] == verdict
    assert found["After 0, tok/s"] == "10.0"
    mean = sum(slopes) / len(slopes) * 100
    assert found["Slope, % per 1,000"] == f"{mean:+.2f}".replace("-", "−")
    assert model.rows[0].latency.depth.slope.n == len(slopes)  # those that are 0 as well
    (plot,) = [plot for plot in draw_plots(model) if plot.kind == "depth"]
    assert verdict in plot.says


def test_the_interval_of_a_slope_is_in_percent_like_the_slope(model_of):
    (row,) = depth_table(model_of(swept([0.1, 0.101, 0.102]))).rows
    assert [cell.tag for cell in row[-2:]] == ["+9.85 to +10.35", None]


def test_a_terminal_shows_the_least_and_the_largest_depth(model_of):
    table = terminal_depth_table(model_of(swept([0.001, -0.001, 0.0])))
    assert texts(table) == {
        "Strategy": "cpu fp32",
        "After 0": "10.0",
        "After 4,000": "10.0",
        "Slope, % per 1,000": "+0.00",
        "Verdict": "flat",
    }
    assert len(table.caption) <= 80
    one = terminal_depth_table(model_of(swept([0.1], depths=(8,))))
    assert [column.title for column in one.columns[1:3]] == ["After 8", "Slope, % per 1,000"]
    run = Fabricated(["cpu fp32"])
    run.speed("cpu fp32", 100)
    assert terminal_depth_table(model_of(run)) is None


def test_a_disturbed_sweep_does_not_count_where_others_are_good(model_of):
    run = swept([0.001, -0.001, 0.0])
    visits = [AtDepth(tokens=n, decode_s=[9.0]) for n in DEPTHS]
    run.add(run.cell("cpu fp32", "depth"), trial=3, outcome="noisy", latency=Latency(depth=visits))
    assert {one.tok_per_s.n for one in model_of(run).rows[0].latency.depth.speeds} == {3}


def test_one_depth_has_no_slope_and_no_plot(model_of):
    model = model_of(swept([0.1, 0.2], depths=(0,)))
    assert "one depth" in whys(depth_table(model))["Verdict"]
    assert [plot.kind for plot in draw_plots(model)] == []


def with_batches():
    run = Fabricated(["cpu fp32", "cpu bf16"], batches=[1, 4])
    for strategy, speed in (("cpu fp32", 100), ("cpu bf16", 50)):
        for batch in run.batches:
            cell = run.planned(run.cell(strategy, batch=batch), trials=1)
            run.add(cell, decode_tok_per_s=float(speed * batch), batch=batch)
        run.answers(strategy)
    return run


def test_rows_of_a_batch_are_rows_of_their_own_in_all_and_apiece(model_of):
    model = model_of(with_batches())
    labels = [row.label for row in model.rows]
    assert labels == [f"cpu {dtype}, batch {n}" for dtype in ("fp32", "bf16") for n in (1, 4)]
    table = batch_table(model)
    assert [texts(table, at)["In all, tok/s"] for at in range(4)] == ["100", "400", "50.0", "200"]
    assert [texts(table, at)["Per row, tok/s"] for at in range(4)] == ["100", "100", "50.0", "50.0"]
    results = result_table(model)
    assert [texts(results, at)["Per row, tok/s"] for at in (1, 3)] == ["100", "50.0"]
    assert "batch" in [plot.kind for plot in draw_plots(model)]


def test_answers_and_the_choice_belong_to_the_least_batch(model_of):
    model = model_of(with_batches())
    rows = {row.label: row for row in model.rows}
    assert rows["cpu fp32, batch 1"].score is not None
    assert rows["cpu fp32, batch 4"].score is None
    assert rows["cpu fp32, batch 4"].missing["score"] == (
        "answered one row at a time: see “cpu fp32, batch 1”"
    )
    assert {choice.label for choice in model.choices} == {"cpu fp32, batch 1"}
    assert [texts(choice_table(model), at)["Run"] for at in range(1)] == ["cpu fp32, batch 1"]
    assert len(choice_table(model).rows) == 1


def test_a_batch_is_compared_with_the_reference_of_the_same_batch(model_of):
    rows = {row.label: row for row in model_of(with_batches()).rows}
    assert rows["cpu bf16, batch 4"].reference == "cpu fp32, batch 4"
    assert rows["cpu bf16, batch 4"].decode_ratio.value == pytest.approx(0.5)


def test_one_batch_size_names_no_batch(model_of):
    run = Fabricated(["cpu fp32"], batches=[4])
    run.add(run.planned(run.cell("cpu fp32", batch=4), trials=1), decode_tok_per_s=8.0, batch=4)
    (row,) = model_of(run).rows
    assert (row.label, row.batch) == ("cpu fp32", 4)
    assert texts(batch_table(model_of(run)))["Per row, tok/s"] == "2.00"
