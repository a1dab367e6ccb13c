from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import fabricate
import pytest
from fabricate import Fabricated
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text
from msgspec.structs import replace

from harness.report import plot_bars, plot_curves, plot_latency, plot_order
from harness.report.labels import _apart
from harness.report.order_values import TrialPlace
from harness.report.plots import draw_plots
from harness.report.style import house_style, to_inline, to_png, to_svg

DRAWINGS = (
    plot_bars.decode,
    plot_bars.prefill,
    plot_bars.memory,
    plot_curves.tradeoff,
    plot_curves.latency,
    plot_latency.lengths,
    plot_latency.depth,
    plot_latency.batch,
)


def texts(svg):
    root = ET.fromstring(svg)
    return ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


def axes_of(draw, model):
    with house_style():
        drawing = draw(model)
    return drawing, drawing.figure.axes[0]


@pytest.fixture
def model_of(summary_of):
    return lambda run: summary_of(run).models[0]


def test_a_model_has_its_plots_each_with_its_numbers_and_its_words(model_of):
    plots = draw_plots(model_of(fabricate.plausible()))
    kinds = ["decode", "prefill", "lengths", "memory", "tradeoff", "latency"]
    assert [plot.kind for plot in plots] == kinds
    for plot in plots:
        assert plot.png.startswith(b"\x89PNG")
        assert all(table.rows for table in plot.tables)
        assert "cpu fp32i8 *3 -> cpu fp32: " in plot.says
        assert plot.title in texts(plot.svg)


def test_the_same_numbers_give_the_same_bytes_also_under_the_users_settings(model_of):
    import matplotlib as mpl

    model = model_of(fabricate.with_every_failure())
    usual = [(p.svg, p.png) for p in draw_plots(model)]
    assert [(p.svg, p.png) for p in draw_plots(model)] == usual
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert [(p.svg, p.png) for p in draw_plots(model)] == usual
    assert not any("<dc:date>" in svg for svg, _ in usual)


@pytest.mark.parametrize("draw", DRAWINGS)
def test_where_there_are_no_numbers_nothing_is_drawn(draw, model_of):
    with house_style():
        assert draw(model_of(fabricate.failures_only())) is None
        assert draw(model_of(fabricate.skips_only())) is None


def test_the_least_that_can_be_measured_is_drawn_without_an_interval(model_of):
    (plot,) = draw_plots(model_of(fabricate.one_trial()))
    assert plot.kind == "decode"
    assert plot.title.endswith("median of 1 trial")
    assert any("no interval" in text for text in texts(plot.svg))


@pytest.mark.parametrize("draw", [plot_bars.decode, plot_bars.prefill, plot_bars.memory])
def test_bars_begin_at_zero_and_end_within_the_axes(draw, model_of):
    _, axes = axes_of(draw, model_of(fabricate.with_devices()))
    left, right = axes.get_xlim()
    assert left == 0
    assert all(bar.get_x() >= 0 for bar in axes.patches)
    assert all(bar.get_x() + bar.get_width() < right for bar in axes.patches)


def test_bars_are_as_long_as_the_numbers(model_of):
    model = model_of(fabricate.plausible())
    _, axes = axes_of(plot_bars.decode, model)
    values = [row.decode_tok_per_s.value for row in model.rows if row.decode_tok_per_s]
    assert [bar.get_width() for bar in axes.patches] == values


def test_the_parts_of_a_memory_bar_add_up_to_the_peak(model_of):
    model = model_of(fabricate.plausible())
    _, axes = axes_of(plot_bars.memory, model)
    ends = {bar.get_x() + bar.get_width() for bar in axes.patches if bar.get_x() > 0}
    assert ends == {row.memory.peak_rss_bytes for row in model.rows if row.memory.peak_rss_bytes}


def test_the_title_counts_the_trials_whose_memory_is_drawn(model_of):
    run = Fabricated(["cpu fp32", "cpu bf16"])
    for strategy, n in (("cpu fp32", 2), ("cpu bf16", 1)):
        cell = run.planned(run.cell(strategy, "answers"), trials=n)
        for trial in range(n):
            run.add(cell, trial=trial, memory=fabricate.Memory(peak_rss_bytes=fabricate.MIB))
        run.add(run.planned(run.cell(strategy, "depth")), memory=fabricate.Memory())  # not read
    drawing, _ = axes_of(plot_bars.memory, model_of(run))
    assert drawing.title == "Peak memory, tiny, 1 to 2 trials"


def test_what_failed_is_named_where_its_bar_would_be_and_what_was_skipped_is_not_drawn(model_of):
    with house_style():
        drawing = plot_bars.decode(model_of(fabricate.with_every_failure()))
        shown = " ".join(texts(to_svg(drawing.figure)))
    for kind in fabricate.FAILURES:
        assert (f"fabricated {kind}" in shown) == (kind != "skipped")


def test_speeds_far_apart_get_a_logarithmic_axis_that_says_so(model_of):
    _, axes = axes_of(plot_curves.latency, model_of(fabricate.with_devices()))
    assert axes.get_yscale() == "log"
    assert "logarithmic" in axes.get_ylabel()
    _, axes = axes_of(plot_curves.latency, model_of(fabricate.plausible()))
    assert axes.get_ylim()[0] == 0


def test_error_bars_that_dwarf_the_speeds_are_cut_by_the_axis(model_of):
    run = Fabricated(["cpu fp32"], trials=2)
    cell = run.planned(run.cell("cpu fp32"))
    for trial, speed in enumerate((10.0, 90.0)):
        memory = fabricate.Memory(peak_rss_bytes=fabricate.MIB)
        run.add(cell, trial=trial, decode_tok_per_s=speed, memory=memory)
    model = model_of(run)
    assert model.rows[0].decode_tok_per_s.high > 1e6
    _, axes = axes_of(plot_bars.decode, model)
    assert axes.get_xlim()[1] == pytest.approx(2 * 50 * 1.03)
    assert "some end beyond the axis" in axes.get_xlabel()
    _, axes = axes_of(plot_curves.tradeoff, model)
    assert axes.get_ylim()[1] < 150
    assert axes.get_xlabel().endswith("bars of the speed: 95 % interval, some end beyond the axis")


def test_a_curve_says_what_its_bars_are(model_of):
    _, axes = axes_of(plot_latency.lengths, model_of(fabricate.plausible()))
    assert axes.get_xlabel() == "prompt, tokens; bars: 95 % interval"


@pytest.mark.parametrize(
    "draw", [plot_bars.decode, plot_bars.prefill, plot_curves.tradeoff, plot_curves.latency]
)
def test_a_speed_that_no_quiet_trial_gave_is_marked(draw, model_of):
    run = fabricate.plausible()
    noisy = run.cell("cpu bf16")
    run.records = [
        replace(one, outcome=replace(one.outcome, kind="noisy")) if one.cell.id == noisy.id else one
        for one in run.records
    ]
    _, axes = axes_of(draw, model_of(run))
    written = [text.get_text() for text in axes.findobj(Text)]
    assert "cpu bf16 (disturbed)" in written
    assert "cpu fp32 (reference)" in written
    _, axes = axes_of(plot_bars.memory, model_of(run))
    assert "cpu bf16" in [text.get_text() for text in axes.get_yticklabels()]


def test_an_interval_that_reaches_below_zero_is_drawn_all_the_same(model_of):
    run = Fabricated(trials=2)
    for strategy, speeds in (("cpu fp32", (10.0, 90.0)), ("cpu bf16", (2.0, 2.1))):
        cell = run.planned(run.cell(strategy))
        for trial, speed in enumerate(speeds):
            memory = fabricate.Memory(peak_rss_bytes=fabricate.MIB)
            run.add(cell, trial=trial, decode_tok_per_s=speed, memory=memory)
    plots = draw_plots(model_of(run))
    assert [plot.kind for plot in plots] == ["decode", "memory", "tradeoff"]


def test_an_axis_that_does_not_begin_at_zero_says_so(model_of):
    _, axes = axes_of(plot_curves.tradeoff, model_of(fabricate.plausible()))
    assert axes.get_xlim()[0] > 0
    assert "not from zero" in axes.get_xlabel()
    _, axes = axes_of(plot_curves.tradeoff, model_of(fabricate.with_devices()))
    assert axes.get_xlim()[0] == 0
    assert "not from zero" not in axes.get_xlabel()


def test_a_memory_axis_is_no_magnifying_glass(model_of):
    run = Fabricated(trials=1)
    for strategy, kib in (("cpu fp32", 0), ("cpu bf16", 100), ("cpu fp32i8", 200)):
        memory = fabricate.Memory(peak_rss_bytes=115 * fabricate.MIB + kib * 1024)
        run.add(run.planned(run.cell(strategy)), decode_tok_per_s=9.0, memory=memory)
    drawing, axes = axes_of(plot_curves.tradeoff, model_of(run))
    left, right = axes.get_xlim()
    assert right - left >= 5 * fabricate.MIB
    drawing.figure.draw_without_rendering()
    ticks = [label.get_text() for label in axes.get_xticklabels()]
    assert len(ticks) == len(set(ticks)) > 3
    assert max(map(len, ticks)) <= 5


def long_names():
    """Names and reasons that are wider than the page."""
    ends = ["cpu fp32", "cpu bf16", "cpu fp32i8"]
    strategies = ["cuda fp16i8 *10 -> cuda fp16 *5 -> cpu fp32i8 *7 -> " + end for end in ends]
    run = Fabricated(strategies, {"世界-" * 20 + "a-very-long-name-" * 5: "x.pth"}, trials=2)
    for strategy in strategies[:2]:
        run.speed(strategy, 100, device=("cuda:0", 900))
    cell = run.planned(run.cell(strategies[2]))
    run.add(cell, outcome="crashed", reason="signal 11 while decoding " + "a token " * 40)
    return run


# Depth and batch are drawn as the lengths of prompts are.
@pytest.mark.parametrize("draw", DRAWINGS[: DRAWINGS.index(plot_latency.depth)])
def test_nothing_is_cut_at_the_edge_however_long_the_names_are(draw, model_of):
    drawing, axes = axes_of(draw, model_of(long_names()))
    with house_style():
        drawing.figure.draw_without_rendering()
    page = drawing.figure.bbox
    shown = [text for text in drawing.figure.findobj(Text) if re.search("[a-z]", text.get_text())]
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in shown]
    assert any("…" in text for text, _ in boxes)
    assert [text for text, box in boxes if box.x0 < page.x0 or box.x1 > page.x1] == []
    assert axes.get_window_extent().width > page.width / 4
    assert "世界-a-very" in drawing.title.replace("世界-" * 19, "")


def crowded():
    """Points close together, one of which has an error bar across the whole plot."""
    run = Fabricated([f"cpu fp32 *{n} -> cpu bf16" for n in range(1, 6)], trials=2)
    for at, strategy in enumerate(run.strategies):
        cell = run.planned(run.cell(strategy))
        for trial in range(2):
            speed = 30.0 + at + trial * (12 if at == 2 else 0.1)
            memory = fabricate.Memory(peak_rss_bytes=(1000 + 20 * at) * fabricate.MIB)
            run.add(cell, trial=trial, decode_tok_per_s=speed, memory=memory)
    return run


@pytest.mark.parametrize("make", [fabricate.plausible, fabricate.with_devices, crowded])
def test_labels_of_points_cover_neither_each_other_nor_a_point(make, model_of):
    drawing, axes = axes_of(plot_curves.tradeoff, model_of(make()))
    drawing.figure.draw_without_rendering()
    names = [text for text in axes.texts if text.get_text() not in ("", "better")]
    boxes = [Text.get_window_extent(text) for text in names]
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
    assert len(boxes) > 3
    for at, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:at])
    points = [line.get_xydata()[0] for line in axes.lines if len(line.get_xydata()) == 1]
    for x, y in axes.transData.transform(points):
        assert not any(box.x0 < x < box.x1 and box.y0 < y < box.y1 for box in boxes)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.01, 0.08))
def test_labels_of_lines_keep_their_order_and_their_distance(shares, step):
    wanted = [(share, at) for at, share in enumerate(sorted(shares))]
    placed = _apart(wanted, step)
    assert [at for _, at in placed] == [at for _, at in wanted]
    heights = [share for share, _ in placed]
    assert all(b - a >= step - 1e-9 for a, b in pairwise(heights))
    assert heights[-1] <= 1 + 1e-9


def test_labels_that_have_room_stay_where_they_belong():
    assert _apart([(0.1, 0), (0.5, 1), (0.9, 2)], 0.05) == [
        (pytest.approx(0.1), 0),
        (pytest.approx(0.5), 1),
        (pytest.approx(0.9), 2),
    ]


def test_names_are_drawn_as_they_are_written_and_escaped(model_of):
    model = model_of(fabricate.hostile())
    for plot in draw_plots(model):
        assert "<script>" not in plot.svg
        assert any(model.name in text for text in texts(plot.svg))  # "$m$" is no formula


def test_an_inline_drawing_has_the_pages_colours_ids_of_its_own_and_a_label(model_of):
    plot = draw_plots(model_of(fabricate.plausible()))[0]
    inline = to_inline(plot.svg, "here", 'says "so" & <so>')
    root = ET.fromstring(inline)
    assert root.get("role") == "img"
    assert root.get("aria-label") == 'says "so" & <so>'
    ids = [node.get("id") for node in root.iter() if node.get("id")]
    assert ids
    assert all(name.startswith("here-") for name in ids)
    assert "http" not in inline
    assert "currentColor" in inline
    assert "<metadata" not in inline


def test_a_png_says_nothing_of_who_made_it(model_of):
    with house_style():
        png = to_png(plot_bars.decode(model_of(fabricate.plausible())).figure)
    assert b"Software" not in png


def test_a_strategy_looks_the_same_in_every_plot_of_a_report(model_of):
    run = Fabricated(["cpu fp32", "cpu bf16", "cpu fp32i8"])
    for strategy in run.strategies:
        run.speed(strategy, 70)
    model = model_of(run)
    looks = plot_curves.looks_of(model)
    assert len({look["color"] for look in looks.values()}) == 3
    places = tuple(TrialPlace(sequence=n, block=n, decode_tok_per_s=70.0) for n in range(2))
    bare = {"curve_s": (), "prefill_lengths": (), "places": ()}  # no line in the plots below
    rows = [replace(row, places=places) for row in model.rows]
    model = replace(model, rows=(rows[0], replace(rows[1], **bare), rows[2]))
    for draw in (plot_curves.latency, plot_latency.lengths, plot_order.sequence):
        _, axes = axes_of(draw, model)
        drawn = [line.get_color() for line in axes.lines if line.get_marker() in "os^"]
        assert drawn == [looks["cpu fp32"]["color"], looks["cpu fp32i8"]["color"]], draw


def test_strategies_differ_in_colour_before_their_batches_do(model_of):
    run = Fabricated(["cpu fp32", "cpu bf16"], batches=[2**n for n in range(8)])
    for strategy in run.strategies:
        for batch in run.batches:
            cell = run.planned(run.cell(strategy, batch=batch), trials=1)
            run.add(cell, decode_tok_per_s=50.0 * batch, batch=batch)
    looks = plot_curves.looks_of(model_of(run))
    assert len(looks) == len({tuple(look.values()) for look in looks.values()}) == 16
    assert looks["cpu fp32, batch 1"]["color"] == plot_curves.INK
    assert looks["cpu bf16, batch 1"]["color"] == plot_curves.LINES[0]
