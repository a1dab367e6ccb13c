"""How quality is shown: in the tables, on a page of its own, in a plot and beside the answers."""

from __future__ import annotations

import io
import re

import fabricate
import pytest
from fabricate import QUESTIONS, Fabricated, difference, scored_tokens
from matplotlib.collections import PathCollection
from matplotlib.text import Text
from rich.console import Console

from harness.quality.summary import Divergence
from harness.records.quality import AnswerQuality, Gate, Lambada, Quality, ScoredTokens
from harness.records.record import Answer
from harness.report.evidence import answer_tables, both_tokens, problem_table, token_text
from harness.report.html import render_html
from harness.report.labels import Point, label_points
from harness.report.markdown import render_markdown
from harness.report.page import make_page
from harness.report.plot_quality import quality, quality_table
from harness.report.quality_cells import chance, divergence_cell, nats, quality_columns
from harness.report.quality_tables import (
    about_quality,
    change,
    gate_table,
    lambada_table,
    scored_answers_table,
    text_table,
)
from harness.report.results import outcome_text, result_table
from harness.report.style import house_style, new_axes
from harness.report.terminal import result_table as terminal_table

MIXED = "cpu fp32i8 *3 -> cpu fp32"


@pytest.fixture
def model_of(summary_of):
    return lambda run: summary_of(run).models[0]


@pytest.fixture
def model(model_of):
    return model_of(fabricate.with_quality())


def column(table, title):
    """Strategy -> the cell below a title."""
    at = [one.title for one in table.columns].index(title)
    return {row[0].text: row[at] for row in table.rows}


def on_terminal(summary, width=80):
    out = io.StringIO()
    Console(file=out, width=width).print(terminal_table(summary), crop=False)
    return out.getvalue()


def test_where_no_speed_was_measured_no_trials_are_spoken_of(summary_of, model):
    run = Fabricated()  # as with --only quality
    run.quality("cpu fp32", kl=0.0)
    assert "tiny: without speeds\n" in on_terminal(summary_of(run))
    assert "tiny: median of " in on_terminal(summary_of(fabricate.with_quality()))


def test_agreement_divergence_and_right_answers_stand_in_the_result_table(model):
    table = result_table(model)
    agreement = column(table, "Agreement")
    assert agreement["cpu fp32"].text == "100 %"
    assert agreement["cpu bf16"].text == "98.00 %"
    divergences = column(table, "Mean KL, nats")
    assert divergences["cpu fp32"].text == "< 1e−9"
    assert divergences["cpu bf16"].text == "2.0e−5"
    assert divergences["cpu fp32i8"].text == "≥ 5.0e−6"
    assert divergences["cpu fp32i8"].tag == "at most 7.5e−6"
    assert column(table, "Right answers")["cpu bf16"].text == "2 of 3"
    for title, word in (("Agreement", "likeliest"), ("Mean KL, nats", "Kullback-Leibler")):
        assert word in next(one.what for one in table.columns if one.title == title)
        assert any(word in remark and "200 tokens" in remark for remark in table.remarks)


def test_every_figure_of_quality_is_defined_where_nobody_can_point_at_a_title(model, summary_of):
    summary = summary_of(fabricate.with_quality())
    markdown = render_markdown(make_page(summary))
    for table in (text_table(model), scored_answers_table(model)):
        for one in table.columns[1:]:
            if one.title != "Tokens":
                assert markdown.count(f"\n- {one.title}: ") == 1, one.title
    assert "\nRight answers: answers that match the pattern of a right one" in markdown
    assert "Right: answers that match" in on_terminal(summary).replace("\n", " ")


def test_a_strategy_without_quality_says_why(model):
    table = result_table(model)
    assert "does not run the workload 'quality'" in column(table, "Agreement")["cpu fp16"].why
    assert column(table, "Agreement")["cpu bf16i8"].why.startswith("wrong answers: It computes")


def test_without_quality_nothing_of_it_is_shown(model_of):
    model = model_of(fabricate.plausible())
    assert {one.title for one in quality_columns(model)} == {"Right answers", "Same as reference"}
    assert "Load" in [one.title for one in result_table(model).columns]
    assert about_quality(model) == ()
    with house_style():
        assert quality(model) is None


def test_the_terminal_shows_them_in_80_columns(summary_of):
    said = on_terminal(summary_of(fabricate.with_quality()))
    assert max(map(len, said.splitlines())) <= 80
    line = next(line for line in said.splitlines() if line.startswith("cpu bf16 "))
    assert "98.00 %" in line
    assert "2.0e−5" in line
    assert "2/3" in line
    assert "at most 7.5e−6" in said
    assert "likeliest" in said


def test_a_terminal_without_quality_keeps_the_interval_of_prefill(summary_of):
    said = on_terminal(summary_of(fabricate.plausible()))
    assert "Agrees" not in said
    line = next(line for line in said.splitlines() if line.startswith("cpu bf16 "))
    assert line.count("±") == 2


def test_the_text_has_all_figures_with_their_interval(model):
    table = text_table(model)
    assert "200 tokens" in table.caption
    assert column(table, "Agreement")["cpu bf16"].tag == "94.97 to 99.21\u00a0%"
    assert column(table, "KL, median")["cpu bf16"].text == "2.0e−5"
    assert column(table, "KL, p99")["cpu fp32i8"].tag == "at most 7.5e−6"
    assert column(table, "Perplexity")["cpu bf16"].text == "2.72"
    assert column(table, "NaN, Inf")["cpu bf16"].text == "0"
    assert column(table, "Agreement")["cpu fp16"].text == "–"
    assert any("small form" in remark and "“cpu fp32i8”" in remark for remark in table.remarks)
    assert "“cpu bf16”" not in " ".join(table.remarks)
    assert all(one.what for one in table.columns[1:])


def test_answers_stand_apart_from_the_text(model):
    table = scored_answers_table(model)
    assert column(table, "KL, mean")["cpu bf16"].text == "4.0e−5"
    assert column(table, "Tokens")["cpu bf16"].text == "80"
    assert column(table, "Same answers")["cpu bf16"].text == "3 of 4"
    assert column(table, "Same answers")["cpu fp32"].text == "4 of 4"
    assert "small form" in column(table, "Same answers")["cpu fp32i8"].why
    assert "p99 needs 100" in column(table, "KL, p99")["cpu bf16"].why


def test_figures_of_a_strategy_that_gave_nan_are_missing_with_that_reason(model_of):
    run = Fabricated()
    scored = ScoredTokens(
        kl=[None, 1e-6], agree=[0, 1], log_p=[None, -1.0], reference_log_p=[-1, -1], not_finite=7
    )
    run.quality("cpu fp32", text=scored, answers=[])
    table = text_table(model_of(run))
    assert column(table, "Agreement")["cpu fp32"].text == "50.00 %"
    assert column(table, "KL, mean")["cpu fp32"].why == (
        "7 log-probabilities of it are NaN or infinite"
    )
    assert column(table, "Perplexity")["cpu fp32"].text == "–"
    assert column(table, "Change of p, RMS")["cpu fp32"].text == "–"
    assert column(table, "NaN, Inf")["cpu fp32"].text == "7"


def test_a_divergence_that_nothing_bounds_says_so(model_of):
    run = Fabricated()
    scored = scored_tokens(1e-6, 0, small=True)
    scored = ScoredTokens(
        **{name: getattr(scored, name) for name in ("kl", "agree", "log_p", "reference_log_p")},
        kl_most=[None] * 200,
    )
    run.quality("cpu fp32", text=scored, answers=[], small=True)
    cell = column(text_table(model_of(run)), "KL, mean")["cpu fp32"]
    assert (cell.text, cell.tag) == ("≥ 1.0e−6", "at most: no bound")


@pytest.mark.parametrize(
    "least, most, said",
    [
        (0.0, 7.5e-6, ("≤ 7.5e−6", None)),  # nothing is at least nothing
        (0.0, 9e-10, ("< 1e−9", None)),
        (9e-10, 2e-9, ("≤ 2.0e−9", None)),
        (1e-9, 2e-9, ("≥ 1.0e−9", "at most 2.0e−9")),
        (2.01e-5, 2.02e-5, ("2.0e−5", None)),  # alike, as far as they are told
        (0.0, None, ("–", None)),
    ],
)
def test_of_two_bounds_only_what_says_something_is_told(least, most, said):
    cell = divergence_cell(Divergence(value=least, most=most), "not asked")
    assert (cell.text, cell.tag) == said
    assert (cell.why == "only the small form of the reference was there, which bounds nothing") == (
        most is None
    )


def test_a_terminal_says_why_a_divergence_is_a_bound(summary_of):
    run = Fabricated()
    scored = scored_tokens(0, 0, small=True)
    scored = ScoredTokens(
        **{name: getattr(scored, name) for name in ("kl", "agree", "log_p", "reference_log_p")},
        kl_most=[3e-6] * 200,
    )
    run.quality("cpu fp32", text=scored, answers=[], small=True)
    said = on_terminal(summary_of(run))
    assert "≤ 3.0e−6" in said
    assert "only the small form of the reference was there\n" in said


def test_last_words_have_a_table_of_their_own(model_of, model):
    assert lambada_table(model) is None
    run = Fabricated()
    run.quality("cpu fp32", lambada=Lambada(sha256="s", log_p=[-1.0, -3.0], right=[1, 0]))
    run.quality("cpu bf16", missing={"lambada": "the file is not there"})
    table = lambada_table(model_of(run))
    assert "2 passages" in table.caption
    assert column(table, "Accuracy")["cpu fp32"].text == "50.00 %"
    assert column(table, "Accuracy")["cpu fp32"].tag == "9.45 to 90.54\u00a0%"
    assert column(table, "Perplexity of the word")["cpu fp32"].text == "7.39"
    assert column(table, "Accuracy")["cpu bf16"].why == "the file is not there"


@pytest.mark.parametrize(
    "log_p, why", [([-1.0, -2000.0], "larger than any number"), ([-1.0, None], "no finite prob")]
)
def test_a_perplexity_of_last_words_that_is_none_says_why(model_of, log_p, why):
    run = Fabricated()
    run.quality("cpu fp32", lambada=Lambada(sha256="s", log_p=log_p, right=[1, 0]))
    table = lambada_table(model_of(run))
    assert column(table, "Accuracy")["cpu fp32"].text == "50.00 %"
    assert column(table, "Perplexity of the word")["cpu fp32"].text == "–"
    assert why in column(table, "Perplexity of the word")["cpu fp32"].why


def test_last_words_that_a_trial_had_scored_are_shown_however_it_ended(model_of):
    run = Fabricated()
    cell = run.planned(run.cell("cpu fp32", "quality"), trials=1)
    lambada = Lambada(sha256="s", log_p=[-1.0, None], right=[1, 0], not_a_number=1)
    scored = Quality(lambada=lambada, missing={"text": "no reference"})
    run.add(cell, outcome="not_a_number", reason="NaN", quality=scored)
    table = lambada_table(model_of(run))
    assert column(table, "Accuracy")["cpu fp32"].text == "50.00 %"


def test_last_words_stand_in_the_terminal_and_in_the_summary(summary_of):
    run = Fabricated(["cpu fp32", "cpu bf16"])
    run.quality("cpu fp32", lambada=Lambada(sha256="s", log_p=[-1.0, -3.0], right=[1, 0]))
    run.quality("cpu bf16", missing={"lambada": "the file is not there"})
    summary = summary_of(run)
    out = Console(file=io.StringIO(), width=80)
    out.print(terminal_table(summary), crop=False)
    shown = out.file.getvalue()
    assert "LAMBADA: the last words of 2 passages, tiny" in shown
    assert re.search(r"cpu fp32 +50\.00 % +7\.39\n", shown)
    assert re.search(r"cpu bf16 +–¹ +–¹\n", shown)
    assert "¹ the file is not there" in shown
    summary_md = render_markdown(make_page(summary))
    assert re.search(r"\| `cpu fp32` \| 50\.00 %.* \| 7\.39 \|", summary_md)


def test_it_is_said_what_the_reference_is_and_how_it_was_made(model):
    said = " ".join(about_quality(model))
    assert "exact" in said
    assert "abababababab…" in said
    assert "not kept yet took 36.0 s" in said


def test_what_no_strategy_was_scored_on_has_its_reason(model_of):
    run = Fabricated()
    why = "the content of the weights is not known"
    run.quality("cpu fp32", reference=None, text=None, answers=[], missing={"text": why})
    model = model_of(run)
    assert f"scored on the fixed text: {why}" in " ".join(about_quality(model))
    assert text_table(model) is None
    assert quality_columns(model) == []


def test_a_gate_that_all_pass_is_a_sentence(model_of):
    run = Fabricated()
    run.quality("cpu fp32")
    model = model_of(run)
    assert gate_table(model) is None
    said = "“cpu fp32” was first looked at on 32 tokens, to stop one that computes something else: "
    assert f"{said}no more than 0.005\u00a0% was lost" in " ".join(about_quality(model))
    run.quality("cpu bf16")
    assert "Each strategy was first looked at" in " ".join(about_quality(model_of(run)))


def test_wrong_answers_are_shown_with_the_figures_of_the_gate(model):
    table = gate_table(model)
    assert column(table, "Lost")["cpu bf16i8"].text == "33\u00a0%"
    assert column(table, "Allowed")["cpu bf16i8"].text == "2.5\u00a0%"
    assert column(table, "Found")["cpu bf16i8"].text == "wrong"
    assert column(table, "Found")["cpu fp32"].text == "passed"
    assert "computes another function" in table.remarks[0]
    row = next(row for row in model.rows if row.label == "cpu bf16i8")
    assert outcome_text(row) == "failed: wrong answers"


def test_why_a_strategy_is_broken_is_said_once_by_the_cell_whose_gate_it_did_not_pass(summary_of):
    run = fabricate.with_quality()
    cell = run.planned(run.cell("cpu bf16i8", batch=4))
    (gated,) = (record for record in run.records if record.gate is not None and record.gate.why)
    left_out = f"not measured: in {gated.cell.id} {gated.gate.why}"
    for trial in range(2):
        run.add(cell, trial=trial, outcome="wrong_answers", reason=left_out)
    run.add(run.cell("cpu bf16i8"), trial=1, outcome="wrong_answers", reason=left_out)
    summary = summary_of(run)
    problems = [row for row in problem_table(summary).rows if row[0].text.startswith("cpu bf16i8")]
    assert [[cell.text for cell in row[2:]] for row in problems] == [
        ["speed, answers, quality", "all", "wrong answers", gated.gate.why],
        ["speed", "all", "wrong answers", gated.gate.why],
    ]
    rows = [row for row in summary.models[0].rows if row.strategy == "cpu bf16i8"]
    told = {text for row in rows for text in row.missing.values() if "wrong answers" in text}
    assert told == {f"wrong answers: {gated.gate.why}"}
    assert "not measured: in" not in on_terminal(summary)


def test_what_is_broken_lacks_its_figures_for_that_and_not_because_a_run_ended(rows_of):
    run = Fabricated(["cpu fp32", "cpu bf16"])
    run.planned(run.cell("cpu bf16"))
    cell = run.planned(run.cell("cpu bf16", "answers"))
    gate = Gate(tokens=32, why="another function", figures={})
    run.add(cell, outcome="wrong_answers", reason=gate.why, gate=gate)
    row = rows_of(run)["cpu bf16"]
    assert row.missing["peak_rss_bytes"] == "wrong answers: another function"


def test_answers_that_were_judged_wrong_keep_their_own_reason_beside_a_gate(rows_of):
    run = fabricate.with_quality()
    cell = run.planned(run.cell("cpu bf16", "depth"), trials=1)
    run.add(cell, outcome="wrong_answers", reason="all answers are alike")
    assert rows_of(run)["cpu bf16"].outcomes[-1].reason == "all answers are alike"


def test_of_several_looks_at_the_first_tokens_the_bad_one_counts(rows_of):
    run = Fabricated()
    run.quality("cpu fp32")
    cell = run.planned(run.cell("cpu fp32"))
    bad = Gate(tokens=32, why="another function", figures={"lost": 0.5, "tolerated": 0.1})
    run.add(cell, outcome="wrong_answers", reason="another function", gate=bad)
    assert rows_of(run)["cpu fp32"].gate == bad


def test_a_look_that_could_not_be_taken_does_not_hide_one_that_was(rows_of, model_of):
    run = Fabricated(["cpu fp32"])
    without = Gate(tokens=32, missing="the reference cannot be held")
    run.add(run.planned(run.cell("cpu fp32"), trials=1), decode_tok_per_s=9.0, gate=without)
    assert rows_of(run)["cpu fp32"].gate == without
    run.quality("cpu fp32")  # passes
    assert rows_of(run)["cpu fp32"].gate == run.records[-1].gate
    assert "were not looked at" not in " ".join(about_quality(model_of(run)))


def test_a_gate_without_figures_leaves_one_empty_line(summary_of):
    run = Fabricated(["cpu fp32"])
    passed = Gate(tokens=32, figures={"lost": 1e-5, "tolerated": 1e-3})
    run.add(run.planned(run.cell("cpu fp32"), trials=1), decode_tok_per_s=9.0, gate=passed)
    markdown = render_markdown(make_page(summary_of(run)))
    assert "### Quality of" in markdown
    assert "\n\n\n" not in markdown


def drawn(model):
    with house_style():
        drawing = quality(model)
    return drawing, drawing.figure.axes[0]


def test_the_scatter_has_a_disc_per_strategy_as_large_as_its_memory(model):
    drawing, axes = drawn(model)
    discs = [one for one in axes.collections if isinstance(one, PathCollection)]
    assert len(discs) == 4
    areas = [one.get_sizes()[0] for one in discs]
    peaks = [row.memory.total_peak_bytes for row in model.rows[:4]]
    assert [a / areas[0] for a in areas] == pytest.approx([p / peaks[0] for p in peaks])
    places = [tuple(one.get_offsets()[0]) for one in discs]
    assert places[0][1] == 1e-9
    assert places[1] == (model.rows[1].decode_tok_per_s.value, pytest.approx(2e-5))
    assert axes.yaxis_inverted()
    assert axes.get_yscale() == "log"
    for row in model.rows[:4]:
        assert row.label in drawing.says


def test_what_has_no_place_in_the_scatter_is_named_below_it(model):
    drawing, axes = drawn(model)
    assert "Not shown: “cpu bf16i8” (wrong answers" in axes.get_xlabel()
    assert "“cpu fp16” (the study does not run the workload 'quality'" in axes.get_xlabel()
    assert drawing.says.endswith("Not shown: cpu fp16; cpu bf16i8.")
    table = quality_table(model)
    assert [row[0].text for row in table.rows] == [row.label for row in model.rows]
    assert column(table, "Decode, tok/s")["cpu bf16i8"].text == "–"


def test_eight_strategies_have_their_names_in_the_scatter_without_overlap(model_of):
    run = fabricate.with_devices()
    for at, strategy in enumerate(run.strategies):
        run.quality(strategy, kl=10.0 ** -(at % 3 + 3))
    _, axes = drawn(model_of(run))
    boxes = [Text.get_window_extent(one) for one in axes.texts if "iB" in one.get_text()]
    assert len(boxes) == 8
    for at, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:at])


def test_the_exact_reference_decides_where_there_is_quality(model):
    assert model.by_exact
    rows = {row.label: row for row in model.rows}
    assert (rows["cpu bf16"].agreement.same, rows["cpu bf16"].agreement.of) == (3, 4)
    assert (rows["cpu fp32"].agreement.same, rows["cpu fp32"].agreement.of) == (4, 4)
    assert rows["cpu fp32i8"].agreement is None  # only the small form was there
    given = {one.label: one for one in model.questions[1].answers}
    assert given["cpu bf16"].first_difference == 1
    assert given["cpu bf16"].same_characters == 1
    assert given[MIXED].first_difference is None
    assert given[MIXED].compared
    assert not given["cpu fp32i8"].compared


def test_an_answer_unlike_the_reference_strategys_is_no_difference_to_the_exact_one(model_of):
    run = Fabricated()
    run.answers("cpu fp32")
    run.answers("cpu bf16", wrong=("sum",))
    run.quality("cpu fp32", differ=("sum",))
    run.quality("cpu bf16")
    model = model_of(run)
    given = {one.label: one for one in model.questions[1].answers}
    assert given["cpu fp32"].first_difference == 1
    assert given["cpu bf16"].first_difference is None
    assert [question.differs for question in model.questions] == [False, True, False, False]


def test_the_first_differing_token_is_marked_and_told_with_both_probabilities(summary_of, model):
    (page,) = make_page(summary_of(fabricate.with_quality())).models
    assert "the exact reference" in page.about_answers
    cells = [cell for table in page.differing for row in table.rows for cell in row]
    cell = next(cell for cell in cells if cell.tag and "token 2" in cell.tag)
    assert cell.text[: cell.mark_from] == QUESTIONS[1][4][:1]
    assert cell.tag.splitlines() == [
        "wrong, differs from token 2 on",
        "“7”: 25.0\u00a0%, reference 20.0\u00a0%",
        "not “<z>”: 24.0\u00a0%, reference 30.0\u00a0%",
    ]
    titles = [one.title for table in page.differing for one in table.columns]
    assert not any("(reference)" in title for title in titles)
    assert any("not held against the reference" in (cell.tag or "") for cell in cells)


def test_an_older_difference_without_texts_marks_nothing_and_names_the_tokens(model_of):
    run = Fabricated()
    run.answers("cpu fp32")
    told = difference("ab")
    bare = type(told)(
        **{
            name: getattr(told, name)
            for name in told.__struct_fields__
            if name not in ("text", "reference_text", "same_characters")
        }
    )
    one = AnswerQuality(id="sum", scored=scored_tokens(0, 1), difference=bare)
    run.quality("cpu fp32", answers=[one])
    model = model_of(run)
    given = model.questions[1].answers[0]
    assert given.same_characters == len(given.text)
    (table,) = answer_tables(model, [model.questions[1]])
    assert "token 7: 25.0" in table.rows[0][1].tag
    assert "not token 9: 24.0" in table.rows[0][1].tag


@pytest.mark.parametrize(
    "text, said",
    [
        ("a", "“a”"),
        (" a", "“\u00a0a”"),
        ("\n", "“↵”"),
        ("", "token 5"),
        (None, "token 5"),
        ("\ufffd", "token 5"),
    ],
)
def test_a_token_is_told_by_what_can_be_seen_of_it(text, said):
    assert token_text(5, text) == said


def test_no_difference_has_no_tokens():
    assert list(both_tokens(None)) == []


def test_both_pages_show_the_section(summary_of):
    page = make_page(summary_of(fabricate.with_quality()))
    html, markdown = render_html(page), render_markdown(page)
    for text in ("Quality of tiny", "Agreement", "Kullback-Leibler", "small form", "Same answers"):
        assert text in html
        assert text in markdown
    assert html.index("Quality of tiny") < html.index("Scatter plot of decode speed against the")
    assert markdown.count("tiny-quality.svg") == 1
    assert html.count('id="tiny_quality"') == 1


def unsteady_run():
    run = Fabricated(trials=2)
    run.speed("cpu fp32", 100)
    cell = run.planned(run.cell("cpu fp32", "answers"), trials=2)
    for trial in range(2):
        run.add(cell, trial=trial, answers=[Answer(id="q7", text="a", token_ids=[trial])])
    return run


def test_other_tokens_in_the_second_trial_are_flagged_nondeterministic(summary_of):
    summary = summary_of(unsteady_run())
    (row,) = summary.models[0].rows
    assert outcome_text(row) == "ok, nondeterministic"
    cell = column(result_table(summary.models[0]), "Outcome")["cpu fp32"]
    assert "1 question with different tokens (q7)" in cell.why
    assert "nondeterministic" in on_terminal(summary)
    assert any("nondeterministic" in warning for warning in summary.warnings)


def test_equal_tokens_in_both_trials_are_not_flagged(summary_of):
    run = Fabricated(trials=2)
    cell = run.planned(run.cell("cpu fp32", "answers"), trials=2)
    for trial in range(2):
        run.add(cell, trial=trial, answers=[Answer(id="q7", text="a", token_ids=[1])])
    model = summary_of(run).models[0]
    (row,) = model.rows
    assert row.unsteady == ()
    assert outcome_text(row) == "ok"
    assert column(result_table(model), "Outcome")["cpu fp32"].why is None


@pytest.mark.parametrize(
    "value, said",
    [
        (0.0, "< 1e−9"),
        (9.9e-10, "< 1e−9"),
        (1e-9, "1.0e−9"),
        (7.725e-5, "7.7e−5"),
        (0.0024, "2.4e−3"),
        (0.0123, "0.0123"),
        (1.5, "1.50"),
    ],
)
def test_divergences_are_read_at_a_glance(value, said):
    assert nats(value) == said


@pytest.mark.parametrize(
    "p, said",
    [
        (1.0, "100\u00a0%"),
        (0.25, "25.0\u00a0%"),
        (0.002, "0.200\u00a0%"),
        (1.3e-9, "1.3e−9"),
        (0.0, "0\u00a0%"),
        (None, "not a number"),
    ],
)
def test_probabilities_are_percents_unless_they_are_all_zeros(p, said):
    assert chance(p) == said


@pytest.mark.parametrize(
    "ratio, said",
    [(1.0, "±0.00"), (1.00004, "±0.00"), (1.0081, "+0.81"), (0.9919, "−0.81"), (1.5, "+50.0")],
)
def test_a_change_of_perplexity_has_a_sign(ratio, said):
    assert change(ratio) == f"{said}\u00a0%"


def test_an_axis_upside_down_leaves_the_place_below_a_point_free():
    with house_style():
        _, axes = new_axes(3)
        axes.set_xlim(0, 10)
        axes.set_ylim(10, 0)
        # The name of the upper one fits below it only: the bar lies where it would go beside it.
        label_points(axes, [Point(5, 1, None, None, "one", 4, (0, 10)), Point(5, 5, 5, 5, "two")])
    one = next(text for text in axes.texts if text.get_text() == "one")
    assert one.xyann[0] == 0  # right above or below it, not away at a side
    assert one.arrow_patch is not None  # what stands above or below a disc is tied to it


def test_what_one_strategy_lacks_is_not_said_of_all(model_of):
    run = Fabricated()
    run.quality("cpu fp32")
    run.quality("cpu bf16", text=None, answers=[], missing={"text": "no reference"})
    model = model_of(run)
    assert not any("Nothing of" in said for said in about_quality(model))
    assert column(text_table(model), "Agreement")["cpu bf16"].why == "no reference"
