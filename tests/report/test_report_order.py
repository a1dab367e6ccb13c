"""What a report says of the order of trials, of drift, and of why a run with `until:` ended."""

import math

import pytest
from fabricate import Fabricated

from harness.records.order import Cooling, Heat, Place
from harness.records.stop import Stop, StopCell, read_stop, stop_sentence, write_stop
from harness.report import plot_order
from harness.report.format import number
from harness.report.order import order_lines
from harness.report.order_values import RunOrder
from harness.report.page import make_page
from harness.report.plots import draw_plots
from harness.report.style import house_style
from harness.stats import Drift


def placed(strategies=("cpu fp32", "cpu bf16"), trials=4, *, order="randomised", slope=0.0, **heat):
    """Trials that slow down by `slope` from one to the next, in blocks or one after the other."""
    run = Fabricated(list(strategies), trials=trials)
    cells = [run.planned(run.cell(strategy)) for strategy in strategies]
    turns = [(cell, trial) for trial in range(trials) for cell in cells]
    if order == "sequential":
        turns.sort(key=lambda turn: cells.index(turn[0]))
    for sequence, (cell, trial) in enumerate(turns):
        scatter = 0.001 * (-1) ** (sequence * 7 // 3)
        level = 100 * math.exp(slope * sequence + scatter)
        run.add(
            cell,
            trial=trial,
            decode_s=[[1 / level]],
            decode_tok_per_s=level,
            prefill_tok_per_s=6 * level,
            place=Place(
                order=order,
                seed=5,
                block=trial if order == "randomised" else None,
                sequence=sequence,
            ),
            cooling=_cooling(sequence, **heat),
        )
    return run


def _cooling(sequence, *, first_c=None, step_k=0.0, reached=None, waited_s=None):
    if first_c is None:
        return Cooling(missing={"cpu": "no sensor"})
    start = Heat(celsius={"cpu": first_c + step_k * sequence})
    return Cooling(due=start, start=start, reached=reached, waited_s=waited_s)


def about(summary):
    return dict(make_page(summary).about)


def test_the_order_is_named_with_its_seed_and_blocks(summary_of):
    head = about(summary_of(placed()))
    assert head["Order"] == "randomised: 4 blocks, each strategy once in each (seed 5)"
    assert head["Drift"].startswith("none found: decode speed changed by −")
    assert "Stop" not in head
    assert not {"Heat", "Cool-down"} & head.keys()


def test_drift_is_estimated_and_warned_of(summary_of):
    summary = summary_of(placed(slope=-0.02))
    found = summary.order.drift
    assert found.value == pytest.approx(math.exp(-0.02 * 7), rel=0.005)
    assert "decode speed fell by 13" in about(summary)["Drift"]
    (caution,) = [one for one in summary.warnings if "from the first trial of the run" in one]
    assert "fell by 13" in caution
    assert "favours none" in caution


@pytest.mark.parametrize(
    "low, value, high, said",
    [
        (0.96, 1.01, 1.09, "none found: decode speed changed by −4.0 to +9.0 % (95 %)"),
        (0.632, 0.8, 1.006, "too noisy to tell: decode speed changed by −36.8 to +0.6 % (95 %)"),
        (0.95, 1.05, 1.2, "too noisy to tell: decode speed changed by −5.0 to +20.0 % (95 %)"),
        (1e-9, 0.7, 543.6, "too noisy to tell: not even half the speed at the end, or twice, can"),
        (0.9, 1.5, 2.1, "too noisy to tell: not even half the speed at the end, or twice, can"),
        (1.2, 9.0, 500.0, "decode speed rose by at least 20.0 % (95 %), by how much is too noisy"),
        (0.01, 0.2, 0.9, "decode speed fell by at least 10.0 % (95 %), by how much is too noisy"),
        (0.7, 0.8, 0.9, "decode speed fell by 20.0 % (95 %: 10.0 to 30.0 %) from the first"),
    ],
)
def test_of_noise_no_number_is_made(low, value, high, said):
    found = Drift(value=value, low=low, high=high, n=6, groups=2)
    order = RunOrder(kinds=("randomised",), seeds=(0,), blocks=3, drift=found)
    text = dict(order_lines(order))["Drift"]
    assert text.startswith(said)


def test_a_drift_that_does_not_matter_is_told_and_not_warned_of(summary_of):
    summary = summary_of(placed(slope=-0.002))
    assert summary.order.drift.is_real
    assert "decode speed fell by 1.4 %" in about(summary)["Drift"]
    assert not any("first trial of the run" in one for one in summary.warnings)


def test_the_sequential_order_is_warned_of(summary_of):
    summary = summary_of(placed(order="sequential", slope=-0.02))
    assert about(summary)["Order"] == "sequential, one strategy after the other"
    assert summary.order.blocks == 0
    assert any("sequential order" in one for one in summary.warnings)
    assert any("favours those that came early or late" in one for one in summary.warnings)


def test_disturbed_trials_are_not_asked_for_drift_where_others_are_good(summary_of):
    run = placed()
    good = summary_of(run).order.drift
    place = Place(order="randomised", seed=5, block=4, sequence=8)
    run.add(run.cell("cpu fp32"), trial=4, outcome="noisy", decode_tok_per_s=1.0, place=place)
    assert summary_of(run).order.drift == good


def test_one_trial_each_tells_no_drift(summary_of):
    summary = summary_of(placed(trials=1))
    assert summary.order.drift is None
    assert about(summary)["Drift"].startswith("not known")


def test_records_that_are_older_say_nothing_of_order(summary_of):
    run = Fabricated(["cpu fp32"])
    run.speed("cpu fp32", 100)
    summary = summary_of(run)
    assert summary.order is None
    assert not {"Order", "Drift"} & about(summary).keys()
    assert "sequence" not in [plot.kind for plot in draw_plots(summary.models[0])]


def test_trials_are_drawn_in_their_order_with_the_numbers_behind(summary_of):
    model = summary_of(placed(slope=-0.02, first_c=50.0, waited_s=3.0, reached=True)).models[0]
    (plot,) = [plot for plot in draw_plots(model) if plot.kind == "sequence"]
    (table,) = plot.tables
    assert [row[1].text for row in table.rows] == [str(n) for n in range(1, 9)]
    assert [row[2].text for row in table.rows] == ["1", "1", "2", "2", "3", "3", "4", "4"]
    assert [row[0].text for row in table.rows[:2]] == ["cpu fp32", "cpu bf16"]
    assert [cell.text for cell in table.rows[0][5:]] == ["50", "3"]
    assert "cpu bf16" in plot.says


def test_points_stand_at_the_places_and_the_percents_that_the_table_names(summary_of):
    model = summary_of(placed(slope=-0.02)).models[0]
    with house_style():
        (axes,) = plot_order.sequence(model).figure.axes
    drawn = {(x, number(y)) for line in axes.lines[:2] for x, y in line.get_xydata()}
    rows = plot_order.sequence_table(model).rows
    assert drawn == {(float(row[1].text), row[4].text) for row in rows}


def test_starts_at_different_temperatures_are_warned_of(summary_of):
    summary = summary_of(placed(first_c=45.0, step_k=4.0))
    assert about(summary)["Heat"] == "trials began with the processor at 45 to 73 °C"
    (caution,) = [one for one in summary.warnings if "45 to 73 °C" in one]
    assert "cooldown: {back_to_start_k: 3}" in caution
    steady = summary_of(placed(first_c=45.0, step_k=0.5))
    assert not any("°C" in one for one in steady.warnings)


def test_waits_that_were_in_vain_are_warned_of(summary_of):
    summary = summary_of(placed(first_c=80.0, reached=False, waited_s=120.0))
    assert about(summary)["Cool-down"].startswith("960 s in all")
    assert any(one.startswith("8 trials began though") for one in summary.warnings)


def make_stop(kind="narrow", **halves):
    return Stop(
        kind=kind,
        blocks=5,
        relative_ci=0.02,
        min_trials=3,
        max_trials=5,
        cells={
            name: StopCell(
                trials=5,
                ok=0 if half == "failed" else 5,
                half_width={"decode_tok_per_s": None if half == "failed" else half},
            )
            for name, half in halves.items()
        },
    )


def test_why_a_run_ended_in_words():
    assert stop_sentence(make_stop()) == ("Stopped after 5 blocks: every interval is within ± 2 %.")
    assert stop_sentence(make_stop("max_trials", a=0.041, b=0.01, c="failed", d=None)) == (
        "Stopped after 5 blocks, the most that the study allows, with intervals wider than ± 2 %: "
        "a, decode: ± 4.1 %; d, decode: no interval."
    )
    assert stop_sentence(make_stop("max_trials", a=542.6, b=0.9)).endswith(
        "a, decode: more than ± 99 %; b, decode: ± 90 %."
    )
    assert "no cell has a speed" in stop_sentence(make_stop("no_speeds"))
    assert stop_sentence(make_stop("max_trials", a="failed")).endswith("no cell has a good trial.")


def test_what_was_not_needed_is_not_missed(summary_of, tmp_path):
    run = placed(trials=5)
    for entry in run.plan:
        entry["trials"] = 20  # at most
    folder = tmp_path / "20240501T100000Z"
    folder.mkdir()
    unfinished = summary_of(run)
    assert (unfinished.trials_recorded, unfinished.trials_planned) == (10, 40)
    ids = [entry["cell"]["id"] for entry in run.plan]
    write_stop(folder, make_stop(**dict.fromkeys(ids, 0.01)))
    summary = summary_of(run)
    assert summary.is_finished
    assert [row.outcomes[0].state for row in summary.models[0].rows] == ["ok", "ok"]
    assert about(summary)["Stop"].startswith("Stopped after 5 blocks")
    write_stop(folder, None)
    assert read_stop(folder) is None
    assert not summary_of(run).is_finished
