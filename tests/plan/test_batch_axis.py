"""Batch sizes as an axis, and the depth workload: cells, reasons, forecasts, trials."""

from __future__ import annotations

import dataclasses

import pytest

from harness.plan.document import plan_document
from harness.plan.look import look
from harness.plan.matrix import cells
from harness.plan.plan import plan

SEVERAL = ("speed: {trials: 3}", "speed: {trials: 3, batch: [1, 4, 16]}")
DEPTH = ("speed: {trials: 3}", "speed: {trials: 3}\n  depth: {at: [0, 1k], trials: 2}")


@pytest.fixture
def planned_of(load, machine_with):
    def planned(*replacements):
        loaded = load(*replacements)
        seen = dataclasses.replace(look(loaded), packages=frozenset({"torch", "rwkv"}))
        return plan(loaded, machine_with(), seen)

    return planned


def test_each_batch_is_a_cell_and_only_of_speed(load):
    found = [cell for cell in cells(load(SEVERAL).study) if cell.strategy == "cpu fp32"]
    assert [cell.id for cell in found] == [
        "tiny/torch/cpu fp32/1t/speed",
        "tiny/torch/cpu fp32/1t/batch4/speed",
        "tiny/torch/cpu fp32/1t/batch16/speed",
        "tiny/torch/cpu fp32/1t/answers",
        "made-up/torch/cpu fp32/1t/speed",
        "made-up/torch/cpu fp32/1t/batch4/speed",
        "made-up/torch/cpu fp32/1t/batch16/speed",
    ]
    assert {cell.batch for cell in found if cell.workload == "answers"} == {1}


def test_excluding_a_batch_spares_the_answers(load):
    without = ("exclude:\n", "exclude:\n  - {batch: 1}\n  - {batch: 16, model: tiny}\n")
    found = [cell for cell in cells(load(SEVERAL, without).study) if cell.strategy == "cpu fp32"]
    places = [(cell.model, cell.workload, cell.batch) for cell in found]
    assert places == [
        ("tiny", "speed", 4),
        ("tiny", "answers", 1),
        ("made-up", "speed", 4),
        ("made-up", "speed", 16),
    ]


@pytest.mark.parametrize(
    "said, batch",
    [("workload: speed", 4), ("workload: speed, batch: 2", 2), ("workload: answers", 1)],
)
def test_a_cell_beside_the_matrix_has_the_first_batch_or_its_own(said, batch, load):
    several = ("speed: {trials: 3}", "speed: {batch: [4, 8]}")
    include = ("exclude:", f"include: [{{model: tiny, strategy: cpu bf16, {said}}}]\nexclude:")
    last = cells(load(several, include).study)[-1]
    assert (last.strategy, last.batch) == ("cpu bf16", batch)


def test_every_batch_has_a_forecast_of_its_own(planned_of):
    peaks = {
        one.cell.batch: one.forecasts.as_given.host.prefill_bytes
        for one in planned_of(SEVERAL).cells
        if (one.cell.model, one.cell.strategy, one.cell.workload) == ("tiny", "cpu fp32", "speed")
    }
    assert list(peaks) == [1, 4, 16]
    assert peaks[1] < peaks[4] < peaks[16]


def test_an_engine_that_runs_one_row_skips_the_others_with_the_reason(planned_of):
    found = {
        one.cell.batch: one.skip_reason
        for one in planned_of(SEVERAL, ("strategies:\n", "engines: [rwkv]\nstrategies:\n")).cells
        if (one.cell.model, one.cell.strategy, one.cell.workload) == ("tiny", "cpu fp32", "speed")
    }
    assert found[1] is None
    assert found[4] == "the rwkv package runs one row at a time, not a batch of 4"
    assert found[16] == "the rwkv package runs one row at a time, not a batch of 16"


def test_depth_has_its_own_trials(planned_of):
    planned = planned_of(DEPTH)
    assert {(one.cell.workload, one.trials) for one in planned.cells} == {
        ("speed", 3),
        ("depth", 2),
        ("answers", 2),
    }
    entries = plan_document(planned)["cells"]
    assert [entry["cell"]["batch"] for entry in entries] == [1] * len(entries)
