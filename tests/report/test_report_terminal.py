"""The table at the end of a run, beside quality: in 80 columns, and no word of it broken."""

from __future__ import annotations

import io

import fabricate
import pytest
from fabricate import MIB, Fabricated
from rich.console import Console

from harness.records.record import Answer, Memory
from harness.report.terminal import result_table


def lines_of(summary):
    """What is printed up to the empty line behind the first table."""
    out = io.StringIO()
    Console(file=out, width=80).print(result_table(summary), crop=False)
    first, _, _ = out.getvalue().partition("\n\n")
    return [line.rstrip() for line in first.split("\n")]


def line_of(strategy, lines):
    return next(line for line in lines if line.startswith(f"{strategy} "))


def answered(run, strategy, variants, **fields):
    """An answers cell, one trial for each variant of its only answer."""
    cell = run.planned(run.cell(strategy, "answers"), trials=len(variants))
    for trial, token in enumerate(variants):
        answer = Answer(id="q7", text="a", token_ids=[token], right=True)
        run.add(cell, trial=trial, answers=[answer], **fields)


@pytest.fixture
def run():
    run = Fabricated(["cpu fp32", "cpu bf16", "cpu fp32i8 *3 -> cpu fp32"], trials=2)
    for strategy in run.strategies:
        run.speed(strategy, 12345, 700)
        run.quality(strategy)
    return run


def test_what_draws_other_tokens_is_flagged_in_one_piece(run, summary_of):
    answered(run, "cpu fp32", (1, 1))
    answered(run, "cpu bf16", (1, 2))
    lines = lines_of(summary_of(run))
    assert max(map(len, lines)) <= 80
    assert line_of("cpu fp32", lines).endswith(" ok")
    assert line_of("cpu bf16", lines).endswith(" varies¹")
    assert "¹ nondeterministic: its trials answer 1 question with different tokens (q7)" in lines


def test_cells_that_ended_differently_are_one_word_and_a_footnote(run, summary_of):
    cell = run.planned(run.cell("cpu bf16", "answers"), trials=1)
    run.add(cell, outcome="timeout", reason="slow")
    answered(run, "cpu fp32", (1,))
    lines = lines_of(summary_of(run))
    assert line_of("cpu bf16", lines).endswith("   –¹  partly²")
    assert "¹ timeout: slow" in lines
    assert "² speed and quality: ok; answers: failed: timeout" in lines


def test_without_quality_an_outcome_is_one_word_too(summary_of):
    run = Fabricated(["cpu fp32", "cpu bf16"], trials=3)
    run.speed("cpu fp32", 100)
    cell = run.planned(run.cell("cpu bf16"))
    run.add(cell, decode_tok_per_s=1.0)
    run.add(cell, trial=1, decode_tok_per_s=1.0)
    run.add(cell, trial=2, outcome="noisy", reason="loud")
    run.strategies.append("cpu fp64")
    run.add(run.planned(run.cell("cpu fp64")), outcome="interrupted")
    lines = lines_of(summary_of(run))
    assert line_of("cpu bf16", lines).rstrip("¹²³").endswith(" partly")
    assert any("2 of 3 trials ok, noisy" in line for line in lines)
    assert line_of("cpu fp64", lines).endswith(" not finished")


def test_what_failed_throughout_has_one_footnote_for_all(summary_of):
    lines = lines_of(summary_of(fabricate.with_quality()))
    assert line_of("cpu bf16i8", lines).endswith(" failed⁴")
    assert sum("It computes another function" in line for line in lines) == 1


def test_figures_in_other_rows_have_one_note_however_many_rows_have_them(summary_of):
    run = Fabricated(["cpu fp32", "cpu bf16"], batches=[1, 4])
    for strategy in run.strategies:
        for batch in run.batches:
            run.speed(strategy, 100, batch=batch)
        run.answers(strategy)
    lines = lines_of(summary_of(run))
    assert [line for line in lines if "one row at a time" in line] == [
        "¹ answered one row at a time: see the strategy’s row that has it"
    ]
    assert sum(line.endswith(" –¹  ok") for line in lines) == 2
    run.plan = [one for one in run.plan if one["cell"]["strategy"] == "cpu fp32"]
    run.records = [one for one in run.records if one.cell.strategy == "cpu fp32"]
    assert "¹ answered one row at a time: see “cpu fp32, batch 1”" in lines_of(summary_of(run))


def test_columns_of_dashes_are_left_out_and_said_to_be(summary_of):
    run = Fabricated(["cpu fp32", "cpu bf16"])
    run.answers("cpu fp32")
    run.planned(run.cell("cpu bf16", "answers"))
    lines = lines_of(summary_of(run))
    assert "tok/s" not in lines[1] + lines[2]
    assert line_of("cpu bf16", lines).split()[2:] == ["–¹", "–¹", "not", "run"]
    said = " ".join(lines).partition("Left out, as no row has a figure there: ")[2]
    why = "the workload 'speed' has not been run in this run's folder"
    assert said == f"“Decode tok/s” and “Prefill tok/s” ({why})."


def test_a_table_of_nothing_but_dashes_keeps_its_columns(summary_of):
    run = Fabricated(["cpu fp32"])
    run.planned(run.cell("cpu fp32"))
    lines = lines_of(summary_of(run))
    assert line_of("cpu fp32", lines).split().count("–¹") == 3
    assert sum(line.startswith("¹ not run: ") for line in lines) == 1


def test_what_failed_in_several_ways_names_them(run, summary_of):
    run.strategies.append("cpu fp64")
    for workload, kind in (("speed", "timeout"), ("answers", "crashed")):
        cell = run.planned(run.cell("cpu fp64", workload), trials=1)
        run.add(cell, outcome=kind, reason="so it was")
    lines = lines_of(summary_of(run))
    assert " failed" in line_of("cpu fp64", lines)
    assert any("speed: failed: timeout; answers: failed: crashed" in line for line in lines)


def test_devices_large_numbers_and_bounds_fit_into_80_columns_too(run, summary_of):
    strategy = "cuda fp16i8 *20 -> cuda fp16"
    run.strategies.append(strategy)
    cell = run.planned(run.cell(strategy))
    for trial, speed in enumerate((20_000.0, 29_000.0)):
        memory = Memory(peak_rss_bytes=30_000 * MIB, device_peak_bytes={"cuda:0": 7_000 * MIB})
        run.add(cell, trial=trial, decode_tok_per_s=speed, prefill_tok_per_s=1e5, memory=memory)
    run.quality(strategy, small=True)
    answered(run, strategy, (1, 2))
    lines = lines_of(summary_of(run))
    assert max(map(len, lines)) <= 80
    said = "\n".join(lines)
    for whole in ("100,000", "29.3 GiB", "cuda:0", "6.84 GiB", "≥ 1.0e−5", "varies"):
        assert whole in said


def test_what_speeds_are_compared_with_is_not_called_what_quality_is_compared_with(summary_of):
    run = Fabricated(["cpu fp32i8", "cpu bf16"])
    for strategy in run.strategies:
        run.speed(strategy, 100)
        run.quality(strategy)
    text = " ".join(lines_of(summary_of(run)))
    assert "cpu fp32i8 (ref) " in text
    assert "(ref): its speed is what others’ is compared with." in text
    assert "the exact float32 model" in text
    assert "reference" not in text
