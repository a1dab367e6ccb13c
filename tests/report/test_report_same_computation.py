"""Strategies that were not measured because others are the same computation."""

import html

import pytest
from fabricate import Fabricated

from harness.records.store import read_run
from harness.report.html import render_html
from harness.report.markdown import render_markdown
from harness.report.page import make_page
from harness.report.summary import summarise

REFERENCE, MIXED, NONE, BEYOND = "cpu fp32", "cpu fp32i8 *2", "cpu fp32i8 *0", "cpu fp32i8 *99"


@pytest.fixture
def summarised(tmp_path):
    def go(run):
        return summarise(read_run(run.write(tmp_path / "run")))

    return go


def planned_as(run, strategy, other, workload):
    cell = run.planned(run.cell(strategy, workload))
    run.plan[-1] |= {"same_as": run.cell(other, workload).id, "trials": 0}
    return cell


@pytest.fixture
def run():
    """The reference under a second name, which has answers of its own; a third name for another."""
    run = Fabricated([NONE, REFERENCE, MIXED, BEYOND], reference=NONE)
    planned_as(run, NONE, REFERENCE, "speed")
    run.answers(NONE)
    run.speed(REFERENCE, 100)
    run.speed(MIXED, 70)
    run.answers(MIXED, wrong=("sum",))
    for workload in ("speed", "answers"):
        planned_as(run, BEYOND, MIXED, workload)
    return run


def test_they_stand_in_the_row_of_what_was_measured(run, summarised):
    summary = summarised(run)

    [model] = summary.models
    assert [(row.label, row.also) for row in model.rows] == [
        (REFERENCE, (NONE,)),
        (MIXED, (BEYOND,)),
    ]
    first, second = model.rows
    assert first.strategy == REFERENCE
    assert first.is_reference
    assert second.reference == REFERENCE
    assert first.decode_tok_per_s is not None
    assert first.score is not None
    assert second.agreement.same == 3
    assert summary.is_finished
    assert not any(NONE in choice.tied or BEYOND in choice.tied for choice in model.choices)


def test_the_report_says_so(run, summarised):
    page = make_page(summarised(run))

    for text in (render_markdown(page), render_html(page)):
        assert f"“{NONE}” is the same computation as “{REFERENCE}”" in html.unescape(text).replace(
            "\\*", "*"
        )


def test_a_strategy_that_was_measured_before_keeps_its_row(summarised):
    run = Fabricated([REFERENCE, NONE])
    run.speed(REFERENCE, 100)
    run.speed(NONE, 99)
    run.plan[-1] |= {"same_as": run.plan[0]["cell"]["id"], "trials": 0}

    [model] = summarised(run).models

    assert [(row.label, row.also) for row in model.rows] == [(REFERENCE, ()), (NONE, ())]
    assert all(row.decode_tok_per_s is not None for row in model.rows)
