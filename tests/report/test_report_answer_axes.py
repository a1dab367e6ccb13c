"""Answers under several samplings: a row for each, with the speed in the first."""

import dataclasses

import msgspec
from fabricate import Fabricated

from harness.records.store import read_run
from harness.report.summary import summarise


def test_each_sampling_has_its_row_and_its_reference(tmp_path):
    run = Fabricated(["cpu fp32", "cpu bf16"])
    plain = run.cell

    def named(strategy, workload="speed", *, sampling=None, **names):
        cell = plain(strategy, workload, **names)
        return dataclasses.replace(cell, sampling=sampling, variant=sampling or "")

    run.cell = named
    for strategy in run.strategies:
        run.speed(strategy, 100)
        run.answers(strategy, sampling="greedy")
        wrong = ("sum", "capital") if strategy == "cpu bf16" else ("sum",)
        run.answers(strategy, wrong=wrong, sampling="warm")

    [model] = summarise(read_run(run.write(tmp_path / "run"))).models

    rows = {row.label: row for row in model.rows}
    assert list(rows) == [
        "cpu fp32, greedy",
        "cpu fp32, warm",
        "cpu bf16, greedy",
        "cpu bf16, warm",
    ]
    assert [row.decode_tok_per_s is not None for row in model.rows] == [True, False, True, False]
    assert rows["cpu bf16, warm"].reference == "cpu fp32, warm"
    assert rows["cpu bf16, warm"].agreement.same == 3
    assert rows["cpu bf16, greedy"].agreement.same == 4
    assert rows["cpu fp32, warm"].score.right == 2
    assert msgspec.json.encode(model)
