"""Memory by phase in the report: measured beside predicted, and why a figure is missing."""

from __future__ import annotations

import fabricate
import pytest
from fabricate import MIB, Fabricated
from matplotlib.text import Text

from harness.records.phases import Figure, PhaseForecast, PhaseMemory
from harness.records.record import Memory
from harness.report import phase_tables, plot_phases
from harness.report.format import MISSING
from harness.report.plots import draw_plots
from harness.report.style import house_style, settle

VMHWM = "VmHWM, set back before the phase"


def read(own_mib, children_mib=0, **others):
    host = {
        "own_peak_rss_bytes": Figure(bytes=own_mib * MIB, method=VMHWM),
        "children_peak_rss_bytes": Figure(bytes=children_mib * MIB, method="counted"),
        "peak_rss_bytes": Figure(bytes=(own_mib + children_mib) * MIB, method=VMHWM),
        "pss_bytes": Figure(missing="the kernel does not say Pss"),
    }
    return {**host, **others}


def on_device(allocated_mib, reserved_mib):
    return {
        "allocated_peak_bytes": Figure(bytes=allocated_mib * MIB, method="torch"),
        "reserved_peak_bytes": Figure(bytes=reserved_mib * MIB, method="torch"),
        "process_bytes": Figure(missing="NVML names no process of this number"),
    }


def foreseen(growth_mib, device_mib=None):
    devices = {} if device_mib is None else {"cuda:0": device_mib * MIB}
    return PhaseForecast(rss_growth_bytes=growth_mib * MIB, device_bytes=devices)


def run_with(*trials, strategy="cpu fp32", import_mib=200):
    """A run of one strategy, whose trials had these phases."""
    run = Fabricated([strategy])
    cell = run.planned(run.cell(strategy), trials=len(trials))
    for number, phases in enumerate(trials):
        memory = Memory(
            peak_rss_bytes=999 * MIB, import_rss_bytes=import_mib * MIB, phases=list(phases)
        )
        run.add(cell, trial=number, memory=memory, decode_tok_per_s=9.0)
    return run


@pytest.fixture
def model_of(summary_of):
    return lambda run: summary_of(run).models[0]


def cells(table, row=0):
    titles = [column.title for column in table.columns]
    return dict(zip(titles, table.rows[row], strict=True))


def test_each_phase_is_a_row_with_its_forecast_beside_it(model_of):
    load = PhaseMemory(phase="load", host=read(280), forecast=foreseen(100))
    decode = PhaseMemory(phase="decode", host=read(300), forecast=foreseen(90))
    table = phase_tables.phases(model_of(run_with([load, decode])))
    assert [row[1].text for row in table.rows] == ["load", "decode"]
    first, second = cells(table), cells(table, 1)
    assert first["RSS with children"].text == "280 MiB"
    assert first["of it the model"].text == "80.0 MiB"
    assert first["predicted"].text == "100 MiB, 1.25\u00a0×"
    assert second["predicted"].text == "90.0 MiB, 0.90\u00a0×"
    assert first["RSS with children"].tag is None  # there was no child to tell apart


def test_the_largest_trial_speaks(model_of):
    trials = [[PhaseMemory(phase="load", host=read(mib))] for mib in (250, 270, 260)]
    shown = cells(phase_tables.phases(model_of(run_with(*trials))))
    assert shown["RSS with children"].text == "270 MiB"
    assert shown["of it the model"].text == "70.0 MiB"
    assert shown["predicted"].text == MISSING
    assert "torch engine alone" in shown["predicted"].why


def test_the_largest_forecast_stands_beside_it(model_of):
    trials = [
        [PhaseMemory(phase="load", host=read(250), forecast=foreseen(mib))] for mib in (40, 60, 50)
    ]
    shown = cells(phase_tables.phases(model_of(run_with(*trials))))
    assert shown["predicted"].text == "60.0 MiB, 1.20\u00a0×"


def test_less_than_before_loading_is_no_growth(model_of):
    shown = cells(
        phase_tables.phases(model_of(run_with([PhaseMemory(phase="load", host=read(150))])))
    )
    assert shown["RSS with children"].text == "150 MiB"
    assert shown["of it the model"].text == MISSING


def test_children_are_told_apart_where_there_are_any(model_of):
    phase = PhaseMemory(phase="passes", host=read(260, 308))
    shown = cells(phase_tables.phases(model_of(run_with([phase]))))
    assert shown["RSS with children"].text == "568 MiB"
    assert shown["RSS with children"].tag == "worker 260 MiB\nchildren 308 MiB"
    assert shown["of it the model"].text == "60.0 MiB"


def test_a_child_that_could_not_be_told_leaves_the_workers_own_peak(model_of):
    unknown = Figure(missing="a child ended that never held more than its parent")
    host = read(260) | {"peak_rss_bytes": unknown, "children_peak_rss_bytes": unknown}
    known = PhaseMemory(phase="load", host=read(250))
    table = phase_tables.phases(model_of(run_with([known, PhaseMemory(phase="passes", host=host)])))
    shown = cells(table, 1)["RSS with children"]
    assert (shown.text, shown.why) == (MISSING, unknown.missing)
    assert shown.tag == "worker 260 MiB"


def test_a_device_has_its_own_columns_and_reasons(model_of):
    phase = PhaseMemory(
        phase="load",
        host=read(300),
        devices={"cuda": on_device(400, 512)},
        forecast=foreseen(90, device_mib=380),
    )
    table = phase_tables.phases(model_of(run_with([phase], strategy="cuda fp16")))
    shown = cells(table)
    assert shown["Allocated, cuda"].text == "400 MiB"
    assert shown["predicted, cuda"].text == "380 MiB, 0.95\u00a0×"
    assert shown["Reserved, cuda"].text == "512 MiB"
    assert not any("Process" in title for title in shown)
    assert "Process: – (NVML names no process of this number)." in table.remarks
    for one in table.columns[2:]:  # behind strategy and phase
        assert one.what, one.title
    said = {one.title: one.what for one in table.columns}
    assert said["predicted, cuda"] == said["predicted"]
    assert said["Allocated, cuda"].startswith("the most that torch's allocator")


def test_what_is_shown_is_defined_and_what_no_one_has_is_named(model_of):
    table = phase_tables.phases(model_of(run_with([PhaseMemory(phase="load", host=read(280))])))
    remarks = "\n".join(table.remarks)
    assert "Phases: load, from after the imports until the model is loaded." in remarks
    assert f"Method: {VMHWM}." in remarks
    assert "PSS: – (the kernel does not say Pss)." in remarks
    assert "PSS" not in [column.title for column in table.columns]


def test_a_phase_that_was_not_reached_says_so_beside_its_forecast(model_of):
    missing = PhaseMemory(phase="decode", missing="it did not come this far", forecast=foreseen(9))
    load = PhaseMemory(phase="load", host=read(280))
    shown = cells(phase_tables.phases(model_of(run_with([load, missing]))), 1)
    assert shown["RSS with children"].why == "it did not come this far"
    assert shown["predicted"].text == "9.00 MiB"


@pytest.mark.parametrize("n_bytes", [-1, 2**70])
def test_figures_that_cannot_be_are_left_out(n_bytes, model_of):
    host = read(280) | {"peak_rss_bytes": Figure(bytes=n_bytes, method="by hand")}
    good = PhaseMemory(phase="load", host=read(280))
    table = phase_tables.phases(model_of(run_with([good, PhaseMemory(phase="passes", host=host)])))
    assert "cannot be" in cells(table, 1)["RSS with children"].why


def test_records_without_phases_have_no_plot_of_them(model_of):
    assert "phases" not in [plot.kind for plot in draw_plots(model_of(fabricate.plausible()))]
    off = PhaseMemory(phase="load", missing="probes are switched off")
    assert plot_phases.phases(model_of(run_with([off]))) is None


def drawn(model):
    with house_style():
        drawing = plot_phases.phases(model)
        settle(drawing.figure)
    return drawing


def test_the_plot_has_a_panel_per_place_and_names_each_phase(model_of):
    phases = [
        PhaseMemory(
            phase=phase,
            host=read(280 + 10 * at, 50),
            devices={"cuda:0": on_device(400 + at, 512)},
            forecast=foreseen(90, device_mib=380),
        )
        for at, phase in enumerate(("load", "passes", "prefill", "decode"))
    ]
    drawing = drawn(model_of(run_with(phases, strategy="cuda fp16")))
    host, device = drawing.figure.axes
    assert "host" in host.get_xlabel()
    assert "cuda:0" in device.get_xlabel()
    written = [text.get_text() for text in host.findobj(Text)]
    assert "340 MiB  passes" in written  # 290 of the worker and 50 of children
    assert "cuda fp16: load 330 MiB, passes 340 MiB" in drawing.says
    [ticks] = {tuple(line.get_xdata()) for line in host.lines}
    assert ticks == (290 * MIB, 290 * MIB)  # the libraries' 200 and the predicted 90
    widths = [bar.get_width() for bar in device.patches]
    assert widths[:2] == [400 * MIB, 112 * MIB]  # allocated, and kept in reserve
    labels = {text.get_text() for text in drawing.figure.legends[0].get_texts()}
    assert {"libraries", "load", "children", "kept in reserve", "predicted"} <= labels
    assert drawing.figure.legends[0].get_lines()[0].get_marker() == "|"  # upright, as the tick


def test_the_plots_title_counts_the_trials_in_which_a_phase_was_read(model_of):
    run = Fabricated(["cpu fp32"])
    cell = run.planned(run.cell("cpu fp32", "answers"), trials=2)
    for trial in range(2):
        phases = [PhaseMemory(phase="load", host=read(280))]
        run.add(cell, trial=trial, memory=Memory(peak_rss_bytes=999 * MIB, phases=phases))
    assert drawn(model_of(run)).title == "Memory by phase, tiny, 2 trials"


def test_a_devices_panel_has_only_the_strategies_that_use_it(model_of):
    run = Fabricated(["cuda fp16", "cpu fp32"])
    for strategy, devices in (("cuda fp16", {"cuda:0": on_device(400, 512)}), ("cpu fp32", {})):
        cell = run.planned(run.cell(strategy), trials=1)
        phase = PhaseMemory(phase="load", host=read(280), devices=devices)
        run.add(cell, memory=Memory(phases=[phase]), decode_tok_per_s=9.0)
    host, device = drawn(model_of(run)).figure.axes
    names = [[label.get_text() for label in axes.get_yticklabels()] for axes in (host, device)]
    assert names == [["cuda fp16 (reference)", "cpu fp32"], ["cuda fp16 (reference)"]]


def test_the_text_of_bars_stays_within_the_picture(model_of):
    phases = [PhaseMemory(phase="passes", host=read(12000), forecast=foreseen(20000))]
    drawing = drawn(model_of(run_with(phases)))
    [axes] = drawing.figure.axes
    right = drawing.figure.bbox.x1
    assert all(text.get_window_extent().x1 <= right for text in axes.texts)
