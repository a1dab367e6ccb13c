"""Disturbed trials in a report: left out where there is a quiet one, else shown with a mark."""

import io
import re

import pytest
from fabricate import Fabricated
from rich.console import Console

from harness.machine.facts import NotKnown
from harness.machine.quiet.source import long_enough
from harness.records.validity import DEFINITIONS, Disturbance, GpuSeen, Validity
from harness.report.html import render_html
from harness.report.markdown import render_markdown
from harness.report.page import make_page
from harness.report.quiet_tables import quiet_tables
from harness.report.terminal import MOST_WAYS, result_table

SHOWN = ("other_cpu_cores", "cpu_min_mhz")
SWAPPED = Disturbance(cause="swap_in_bytes", figure=2.0**22, limit=2.0**20, spoils=True)
OTHERS = Disturbance(cause="other_cpu_cores", figure=0.8, limit=0.25, spoils=False)


def seen(*disturbances, **figures):
    """How quiet it was in one trial."""
    return Validity(
        during="measuring",
        **{
            "wall_s": 10.0,
            "parent_cpu_s": 0.02,
            "other_cpu_cores": 0.05,
            "missing": {"steal_share": "macOS does not say"},
            **figures,
        },
        disturbances=list(disturbances),
    )


def with_attempts(*attempts, planned=1):
    """One cell; each attempt is (trial, attempt, outcome, tok/s, validity)."""
    run = Fabricated(["cpu fp32"])
    cell = run.planned(run.cell("cpu fp32"), trials=planned)
    for trial, attempt, outcome, speed, validity in attempts:
        reason = "swap in 4.0 MiB (limit 1.0 MiB)" if outcome == "noisy" else None
        run.add(
            cell,
            trial=trial,
            attempt=attempt,
            outcome=outcome,
            reason=reason,
            decode_tok_per_s=speed,
            validity=validity,
        )
    return run


def on_terminal(summary):
    out = Console(file=io.StringIO(), width=80)
    out.print(result_table(summary), crop=False)
    return out.file.getvalue()


def test_a_noisy_attempt_is_left_out_where_a_quiet_one_came_after(rows_of):
    row = rows_of(with_attempts((0, 0, "noisy", 50.0, seen(SWAPPED)), (0, 1, "ok", 100.0, seen())))[
        "cpu fp32"
    ]
    assert row.decode_trials == (100.0,)
    assert row.outcomes[0].state == "ok"
    assert (row.quiet.trials, row.quiet.disturbed, row.quiet.left_out) == (1, 0, 1)
    assert row.quiet.note() is None


def test_noisy_trials_are_left_out_where_another_trial_of_the_cell_was_quiet(rows_of):
    run = with_attempts(
        (0, 0, "ok", 100.0, seen()),
        (1, 0, "noisy", 50.0, seen(SWAPPED)),
        (1, 1, "noisy", 55.0, seen(SWAPPED)),
        planned=2,
    )
    row = rows_of(run)["cpu fp32"]
    assert row.decode_trials == (100.0,)
    assert (row.outcomes[0].state, row.outcomes[0].kind) == ("partial", "noisy")
    assert row.quiet.left_out == 2


def test_where_no_trial_was_quiet_the_figure_is_shown_and_marked(summary_of):
    run = with_attempts(
        (0, 0, "noisy", 50.0, seen(SWAPPED)), (0, 1, "noisy", 60.0, seen(SWAPPED, OTHERS))
    )
    summary = summary_of(run)
    (row,) = summary.models[0].rows
    assert row.decode_trials == (60.0,)
    assert row.outcomes[0].state == "disturbed"
    assert row.quiet.note() == "no trial was quiet: other CPU, swap in"
    shown = on_terminal(summary)
    assert re.search(r"cpu fp32.* 60\.0 .*disturbed¹", shown)
    assert "¹ no trial was quiet: other CPU, swap in" in shown
    assert summary.is_finished
    (caution,) = [one for one in summary.warnings if "not quiet" in one]
    assert "cpu fp32" in caution


def test_many_ways_of_having_been_disturbed_are_one_note_on_a_terminal(summary_of):
    causes = list(DEFINITIONS)[: MOST_WAYS + 1]

    def noted(n):
        run = Fabricated([f"cpu fp32i8 *{at} -> cpu fp32" for at in range(n)])
        for strategy, cause in zip(run.strategies, causes, strict=False):
            validity = seen(Disturbance(cause=cause, figure=4.0, limit=1.0, spoils=False))
            run.add(
                run.planned(run.cell(strategy), trials=1), decode_tok_per_s=60.0, validity=validity
            )
        return [line for line in on_terminal(summary_of(run)).splitlines() if "disturbed" in line]

    assert len(noted(MOST_WAYS)) == MOST_WAYS
    assert noted(MOST_WAYS + 1) == ["¹ disturbed (by what: report.html)"]


def test_an_attempt_that_was_broken_off_does_not_hide_a_noisy_one(rows_of):
    row = rows_of(
        with_attempts((0, 0, "noisy", 50.0, seen(SWAPPED)), (0, 1, "interrupted", None, None))
    )["cpu fp32"]
    assert row.decode_trials == (50.0,)


def test_a_trial_that_is_only_marked_counts(summary_of):
    run = with_attempts((0, 0, "ok", 100.0, seen(OTHERS)), (1, 0, "ok", 104.0, seen()), planned=2)
    summary = summary_of(run)
    (row,) = summary.models[0].rows
    assert row.decode_trials == (100.0, 104.0)
    assert (row.quiet.disturbed, row.quiet.trials) == (1, 2)
    assert "ok¹" in on_terminal(summary)
    assert "¹ disturbed: other CPU" in on_terminal(summary)
    assert not [one for one in summary.warnings if "not quiet" in one]


def test_the_table_shows_the_worst_trial_and_defines_every_figure(summary_of):
    run = with_attempts(
        (0, 0, "ok", 100.0, seen(OTHERS, other_cpu_cores=0.8, cpu_min_mhz=3000.0)),
        (1, 0, "ok", 104.0, seen(cpu_min_mhz=1200.0)),
        planned=2,
    )
    table, definitions = quiet_tables(summary_of(run).models)
    titles = [column.title for column in table.columns]
    (row,) = table.rows
    texts = dict(zip(titles, (cell.text for cell in row), strict=True))
    assert texts["Disturbed trials"] == "1 of 2"
    assert texts["Other CPU"] == "0.80 CPUs"
    assert texts["CPU clock, lowest"] == "1,200 MHz"
    assert texts["Beyond the limits of the study"] == "other CPU 0.80 CPUs (limit 0.25 CPUs)"
    defined = {title.text: what.text for title, what in definitions.rows}
    assert list(defined) == titles[2:-1] == [DEFINITIONS[name].title for name in SHOWN]
    assert {column.title: column.what for column in table.columns[2:-1]} == {
        title: f"{what}." for title, what in defined.items()
    }
    assert "Stolen: – (macOS does not say)." in definitions.remarks
    assert any("0.20 % of one CPU" in remark for remark in definitions.remarks)


def test_the_figures_of_several_models_are_defined_once(summary_of):
    run = Fabricated(models={"a": "a.pth", "b": "b.pth", "c": "c.pth"})
    for model, figures in (("a", {"swap_in_bytes": 0}), ("b", {}), ("c", None)):
        cell = run.planned(run.cell("cpu fp32", model=model), trials=1)
        run.add(cell, decode_tok_per_s=1.0, validity=None if figures is None else seen(**figures))
    summary = summary_of(run)
    of_a, of_b, definitions = quiet_tables(summary.models)
    assert "a, the worst" in of_a.caption
    assert of_a.columns == of_b.columns
    assert [cell.text for cell in of_b.rows[0]][3] == "–"  # swapping in: seen with a alone
    assert not of_a.remarks + of_b.remarks
    html = render_html(make_page(summary))
    what = DEFINITIONS["other_cpu_cores"].what
    assert html.count(f"<td>{what}</td>") == 1
    assert html.count(f'title="{what}."') == 2
    assert definitions.caption in html


def test_gpus_have_a_table_of_their_own(summary_of):
    gpu = GpuSeen(
        index=0, name="H100", sm_min_mhz=1200, max_celsius=80, slowed_by=["heat, by the driver"]
    )
    run = with_attempts((0, 0, "ok", 100.0, seen(gpus=[gpu])))
    _, table, definitions = quiet_tables(summary_of(run).models)
    assert any("Of GPUs: samples of NVML" in remark for remark in definitions.remarks)
    (row,) = table.rows
    texts = [cell.text for cell in row]
    assert texts == ["cpu fp32", "0: H100", "1,200", "–", "80.0", "–", "heat, by the driver"]


def test_of_several_trials_the_worst_is_said_and_the_hottest_shown(summary_of):
    def trial(number, swapped, celsius):
        limit = Disturbance(cause="swap_in_bytes", figure=swapped, limit=2.0**20, spoils=False)
        gpu = GpuSeen(index=0, name="H100", max_celsius=celsius)
        return (number, 0, "ok", 100.0, seen(limit, swap_in_bytes=swapped, gpus=[gpu]))

    run = with_attempts(trial(0, 2**21, 60), trial(1, 2**23, 80), trial(2, 2**22, 70), planned=3)
    (row,) = summary_of(run).models[0].rows
    assert row.quiet.says == ("swap in 8.0 MiB (limit 1.0 MiB)",)
    assert [gpu.max_celsius for gpu in row.quiet.gpus] == [80]


def hurried(*disturbances):
    """A trial that was over before its shares of time could be told."""
    with pytest.raises(NotKnown) as why:
        long_enough(0.48)
    missing = {"other_cpu_cores": str(why.value)}
    return seen(*disturbances, other_cpu_cores=None, missing=missing)


def test_a_trial_that_was_too_short_is_not_judged(summary_of):
    def beyond(*validities):
        trials = [(at, 0, "ok", 100.0, one) for at, one in enumerate(validities)]
        summary = summary_of(with_attempts(*trials, planned=len(trials)))
        (row,) = quiet_tables(summary.models)[0].rows
        return row[-1].text, summary.models[0].rows[0].quiet.note()

    all_of_them = "not judged: too short"
    disturbed = "too short to judge whether it was disturbed"
    assert beyond(hurried(), hurried()) == (all_of_them, disturbed)
    one = "1 of 2 trials not judged: too short"
    assert beyond(hurried(), seen()) == (f"nothing; {one}", f"1 of 2 trials {disturbed}")
    swapped = "swap in 4.0 MiB (limit 1.0 MiB)"
    assert beyond(hurried(SWAPPED)) == (
        *(f"{swapped}; all else {all_of_them}", "disturbed: swap in"),
    )
    assert beyond(seen(SWAPPED), hurried()) == (f"{swapped}; {one}", "disturbed: swap in")
    assert beyond(seen()) == ("nothing", None)


def test_that_noisy_attempts_are_left_out_is_said(summary_of):
    run = with_attempts((0, 0, "noisy", 50.0, seen(SWAPPED)), (0, 1, "ok", 100.0, seen()))
    table, definitions = quiet_tables(summary_of(run).models)
    assert table.caption.endswith("the worst of the trials that count")
    assert any("Noisy attempts are left out" in remark for remark in definitions.remarks)


def test_old_records_were_not_watched(summary_of):
    model = summary_of(with_attempts((0, 0, "ok", 100.0, None))).models[0]
    assert model.rows[0].quiet is None
    assert quiet_tables([model]) == ()


def test_page_and_markdown_say_it_too(summary_of):
    page = make_page(summary_of(with_attempts((0, 0, "noisy", 60.0, seen(SWAPPED)))))
    markdown = render_markdown(page)
    html = render_html(page)
    for text in (markdown, html):
        assert "Was the machine quiet?" in text
        assert "no trial was quiet: swap in" in text
        assert "swap in 4.0 MiB (limit 1.0 MiB)" in text


def test_every_figure_with_a_limit_has_a_definition():
    from harness.measure.watching import _CAUSES

    assert set(_CAUSES) <= set(DEFINITIONS)
    assert set(DEFINITIONS) <= set(Validity.__struct_fields__)
