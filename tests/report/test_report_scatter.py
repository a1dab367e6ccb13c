"""The scatter of speed against quality: few strategies and many, bounds, and sizes."""

from __future__ import annotations

import msgspec
import pytest
from fabricate import MIB, Fabricated, scored_tokens
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.text import Text

from harness.records.record import Memory
from harness.report.labels import MOST_NAMED
from harness.report.plot_curves import tradeoff
from harness.report.plot_quality import quality, quality_table
from harness.report.style import house_style, settle


def beside_exact(means, *, speed=lambda at: 100 + 10 * at, peak=lambda _: 300, **more):
    """A run whose strategies have these mean divergences."""
    run = Fabricated(list(means), trials=2)
    for at, (strategy, mean) in enumerate(means.items()):
        run.speed(strategy, speed(at), peak(at), tokens=4)
        run.quality(strategy, mean, **more.get(strategy, {}))
    return run


def drawn(summary, draw=quality):
    with house_style():
        drawing = draw(summary.models[0])
        settle(drawing.figure)
    return drawing, drawing.figure.axes[0]


def box_of(axes, said):
    (text,) = (one for one in axes.texts if one.get_text() == said)
    return Text.get_window_extent(text)


def many(n):
    return {f"cuda fp16i8 *{at} -> cuda fp16": 10 ** (-6 + 2 * at / n) for at in range(n)}


@pytest.mark.parametrize("draw", [quality, tradeoff])
def test_where_one_would_like_to_be_is_said_where_no_point_can_lie(draw, summary_of):
    # The best of all lies in that very corner.
    drawing, axes = drawn(summary_of(beside_exact({"cpu fp32": 0, "cpu bf16": 1e-5})), draw)
    assert box_of(axes, "better").y0 >= axes.get_window_extent().y1
    title = drawing.figure._suptitle.get_window_extent()
    assert box_of(axes, "better").y1 <= title.y0
    if axes.get_legend() is not None:
        assert not box_of(axes, "better").overlaps(axes.get_legend().get_window_extent())
        assert axes.get_legend().get_window_extent().y1 <= title.y0


@pytest.mark.parametrize(
    "peaks, said",
    [
        ([300], ["peak memory 256 MiB"]),
        ([300, 260, 280], ["peak memory 256 MiB"]),
        ([2048, 600], ["peak memory 512 MiB", "2 GiB"]),
        ([100_000, 600], ["peak memory 4 GiB", "16 GiB", "64 GiB"]),
    ],
)
def test_a_legend_tells_what_some_sizes_are(peaks, said, summary_of):
    means = {f"cpu fp32 *{at}": 1e-5 for at in range(len(peaks))}
    _, axes = drawn(summary_of(beside_exact(means, peak=lambda at: peaks[at])))
    legend = axes.get_legend()
    assert [one.get_text() for one in legend.get_texts()] == said
    discs = [one for one in axes.collections if isinstance(one, PathCollection)]
    largest = max(float(one.get_sizes()[0]) for one in discs)
    # The disc of so many bytes is as large in the legend as in the plot.
    n_bytes = {"MiB": 1, "GiB": 1024}
    for text, line in zip(said, legend.get_lines(), strict=True):
        value, unit = text.removeprefix("peak memory ").split()
        share = float(value) * n_bytes[unit] / max(peaks)
        assert line.get_markersize() ** 2 == pytest.approx(largest * share, rel=0.01)


def test_without_any_peak_there_is_no_legend_and_discs_are_hollow(summary_of):
    run = Fabricated(["cpu fp32"], trials=1)
    run.add(run.planned(run.cell("cpu fp32"), trials=1), decode_tok_per_s=100.0)
    run.quality("cpu fp32")
    drawing, axes = drawn(summary_of(run))
    assert axes.get_legend() is None
    (disc,) = (one for one in axes.collections if isinstance(one, PathCollection))
    assert disc.get_facecolor().size == 0
    assert "memory not known" in drawing.says
    assert "bars" not in axes.get_xlabel()  # one trial has no interval


def test_a_small_disc_lies_on_a_large_one(summary_of):
    run = beside_exact({"a": 1e-5, "b": 1e-5}, speed=lambda _: 100, peak=lambda at: [300, 9000][at])
    _, axes = drawn(summary_of(run))
    small, large = (one for one in axes.collections if isinstance(one, PathCollection))
    assert small.get_zorder() > large.get_zorder()


def upright(axes):
    """The ends of all bars that stand, in nats."""
    bars = [one for one in axes.collections if isinstance(one, LineCollection)]
    ends = [tuple(map(tuple, segment)) for bar in bars for segment in bar.get_segments()]
    return [(y0, y1) for (x0, y0), (x1, y1) in ends if y0 != y1]


def test_a_divergence_that_is_a_bound_stands_at_its_most_with_a_bar_to_its_least(summary_of):
    run = beside_exact({"a": 1e-5, "b": 2e-6}, a={"small": True})
    drawing, axes = drawn(summary_of(run))
    discs = [one for one in axes.collections if isinstance(one, PathCollection)]
    assert [one.get_offsets()[0][1] for one in discs] == pytest.approx([1.5e-5, 2e-6])
    (bar,) = upright(axes)
    assert sorted(bar) == pytest.approx([1e-5, 1.5e-5])
    assert "≥ 1.0e−5 nats (at most 1.5e−5)" in drawing.says
    assert "bounds of KL" in axes.get_xlabel()


def unbounded(least):
    scored = scored_tokens(least, 0, small=True)
    return {"small": True, "text": msgspec.structs.replace(scored, kl_most=[None] * 200)}


def test_without_an_upper_bound_the_bar_reaches_the_end_of_the_axis(summary_of):
    run = beside_exact({"a": 1e-5, "b": 2e-6}, a=unbounded(1e-5))
    _, axes = drawn(summary_of(run))
    (bar,) = upright(axes)
    assert sorted(bar) == pytest.approx([1e-5, max(axes.get_ylim())])


def test_bars_that_the_axis_cuts_are_said_to_be_cut(summary_of):
    said = "bars: 95 % interval, some end beyond the axis"
    run = beside_exact({"cpu fp32": 0})
    _, axes = drawn(summary_of(run))
    assert "95 % interval" in axes.get_xlabel()
    assert said not in axes.get_xlabel()
    cell = run.planned(run.cell("cpu bf16"), trials=2)
    for trial, speed in enumerate((10.0, 90.0)):
        run.add(cell, trial=trial, decode_tok_per_s=speed)
    run.strategies.append("cpu bf16")
    run.quality("cpu bf16", 1e-5)
    _, axes = drawn(summary_of(run))
    assert said in axes.get_xlabel()


@pytest.mark.parametrize("draw", [quality, tradeoff])
def test_what_the_bars_are_stays_within_the_picture_however_much_it_is(draw, summary_of):
    run = beside_exact({"cpu fp32": 0, "a": 1e-5}, a={"small": True})
    for strategy, speeds in (("noisy", (10.0, 90.0)), ("one", (10.0,))):
        run.strategies.append(strategy)
        cell = run.planned(run.cell(strategy), trials=2)
        for trial, speed in enumerate(speeds):
            memory = Memory(peak_rss_bytes=299 * MIB)
            run.add(cell, trial=trial, decode_tok_per_s=speed, memory=memory)
        run.quality(strategy, 1e-5)
    drawing, axes = drawn(summary_of(run), draw)
    assert "none of one trial, some end beyond the axis" in axes.get_xlabel().replace("\n", " ")
    box, page = axes.xaxis.label.get_window_extent(), drawing.figure.bbox
    assert (box.x0 > page.x0, box.x1 < page.x1, box.y0 > page.y0) == (True, True, True)


def test_what_nothing_bounds_has_no_place(summary_of):
    run = beside_exact({"a": 0, "b": 2e-6}, a=unbounded(0))
    drawing, axes = drawn(summary_of(run))
    assert drawing.says.endswith("Not shown: a.")
    assert "“a” (only the small form of the reference was there, which" in axes.get_xlabel()
    table = quality_table(summary_of(run).models[0])
    assert [row[2].text for row in table.rows] == ["–", "2.0e−6"]


@pytest.mark.parametrize("means", [[0.0], [2e-5] * 4, [0.0] * 3, [5e-324, 1.0], [1e-9, 30.0]])
def test_any_divergences_have_an_axis_with_all_of_them_and_a_tick(means, summary_of):
    run = beside_exact({f"cpu fp32 *{at}": mean for at, mean in enumerate(means)})
    _, axes = drawn(summary_of(run))
    worst, best = axes.get_ylim()
    assert all(best < max(mean, 1e-9) < worst for mean in means)
    labels = [one.get_text() for one in axes.get_yticklabels()]
    shown = [
        label
        for label, at in zip(labels, axes.get_yticks(), strict=True)
        if best <= at <= worst and label
    ]
    assert 2 <= len(shown) <= 9
    assert len(set(shown)) == len(shown)
    assert ("< 1e−9" in shown) == (min(means) <= 1e-9)


@pytest.mark.parametrize("draw", [quality, tradeoff])
def test_where_there_are_too_many_for_their_names_they_have_numbers_and_a_key(draw, summary_of):
    means = many(40)
    _, axes = drawn(summary_of(beside_exact(means)), draw)
    texts = [one.get_text() for one in axes.texts if one.get_text() not in ("", "better")]
    assert texts == [str(at) for at in range(1, 41)]
    boxes = [box_of(axes, text) for text in texts]
    for at, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:at])
    key = axes.get_xlabel().replace("\N{NO-BREAK SPACE}", " ").split("\n")
    for at, strategy in enumerate(means, start=1):
        assert any(f" {at} {strategy}" in f" {line}" for line in key)  # whole, in one line
    figure = axes.figure
    assert axes.xaxis.get_label().get_window_extent().x0 >= 0
    assert axes.xaxis.get_label().get_window_extent().x1 <= figure.bbox.x1


def test_the_discs_of_many_are_smaller(summary_of):
    areas = []
    for n in (MOST_NAMED, MOST_NAMED + 1):
        _, axes = drawn(summary_of(beside_exact(many(n))))
        discs = [one for one in axes.collections if isinstance(one, PathCollection)]
        areas.append(max(float(one.get_sizes()[0]) for one in discs))
    assert areas[1] < areas[0] / 2


def test_as_many_as_have_room_have_their_names(summary_of):
    means = many(MOST_NAMED)
    _, axes = drawn(summary_of(beside_exact(means)))
    named = [one.get_text() for one in axes.texts if "iB" in one.get_text()]
    assert len(named) == len(means)
    assert "\n" not in axes.get_xlabel()
