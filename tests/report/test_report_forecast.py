"""What was predicted, beside what was measured."""

from __future__ import annotations

import pytest
from fabricate import MIB, Fabricated

from harness.records.record import Memory, MemoryForecast
from harness.report import numbers
from harness.report.evidence import planned_table
from harness.report.format import MISSING
from harness.report.results import result_table


def memory_of(peak_mib, foreseen):
    return Memory(
        peak_rss_bytes=peak_mib * MIB,
        import_rss_bytes=200 * MIB,
        device_peak_bytes={"cuda": 400 * MIB},
        forecast=foreseen,
    )


def model_with(summary_of, *memories):
    run = Fabricated(["cuda fp16"])
    cell = run.planned(run.cell("cuda fp16"), trials=len(memories))
    for trial, memory in enumerate(memories):
        run.add(cell, trial=trial, memory=memory, decode_tok_per_s=9.0)
    return summary_of(run).models[0]


def cells(table, row=0):
    titles = [column.title for column in table.columns]
    return dict(zip(titles, table.rows[row], strict=True))


def test_the_ratio_is_to_the_models_part_of_the_peak(summary_of):
    foreseen = MemoryForecast(
        load_rss_bytes=90 * MIB, peak_rss_bytes=110 * MIB, device_peak_bytes={"cuda:0": 380 * MIB}
    )
    model = model_with(summary_of, memory_of(290, foreseen), memory_of(300, foreseen))

    shown = cells(numbers.memory(model))
    assert shown["of it the model"].text == "100 MiB"
    assert shown["predicted"].text == "110 MiB, 1.10\u00a0×"
    assert shown["predicted, cuda"].text == "380 MiB, 0.95\u00a0×"
    tag = cells(result_table(model))["Peak memory"].tag
    assert tag == "model 100 MiB\npredicted 110 MiB, 1.10\u00a0×"


def test_an_old_record_has_none_and_says_so(summary_of):
    model = model_with(summary_of, memory_of(300, None))

    shown = cells(numbers.memory(model))["predicted"]
    assert shown.text == MISSING
    assert "no forecast" in str(shown.why)
    assert cells(result_table(model))["Peak memory"].tag == "model 100 MiB"


@pytest.mark.parametrize("n_bytes", [-1, 2**70])
def test_a_forecast_that_cannot_be_is_left_out(n_bytes, summary_of):
    foreseen = MemoryForecast(load_rss_bytes=1, peak_rss_bytes=n_bytes)
    [row] = model_with(summary_of, memory_of(300, foreseen)).rows
    assert row.memory.forecast_bytes is None
    assert row.memory.peak_rss_bytes == 300 * MIB


def test_what_was_planned_and_did_not_run_has_its_predicted_peak(summary_of):
    run = Fabricated(["cpu fp32", "cuda fp16"])
    run.speed("cpu fp32", 9.0)
    run.planned(run.cell("cuda fp16"))
    run.plan[-1]["forecast_bytes"] = {"cpu": 100 * MIB, "cuda:0": 700 * MIB}

    [row] = planned_table(summary_of(run).models[0]).rows
    assert [cell.text for cell in row] == [
        "cuda fp16",
        "9.00 MiB on cpu",
        "100 MiB on cpu and 700 MiB on cuda:0",
    ]
