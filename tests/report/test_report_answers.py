from __future__ import annotations

import pytest
from fabricate import QUESTIONS, Fabricated, scored_tokens
from hypothesis import given
from hypothesis import strategies as st

from harness.records.quality import AnswerQuality, Difference
from harness.records.record import Answer
from harness.report.answers import departure, first_difference
from harness.report.costs import costs
from harness.report.html import render_html
from harness.report.joining import Part, joined
from harness.report.markdown import render_markdown
from harness.report.page import make_page
from harness.report.ranking import rank_model, strategies_in
from harness.report.recommend import Wishes
from harness.report.recommended import unmeasured
from harness.report.results import category_table

ids = st.lists(st.integers(0, 5), max_size=8)


@given(ids, ids)
def test_before_the_first_difference_all_tokens_are_the_same(mine, other):
    at = first_difference(mine, other)
    if at is None:
        assert mine == other
    else:
        assert mine[:at] == other[:at]
        assert mine[at : at + 1] != other[at : at + 1]


@pytest.mark.parametrize(
    "mine, other, at", [([1, 2], [1, 2, 3], 2), ([1, 2, 3], [1, 2], 2), ([], [], None)]
)
def test_an_answer_that_ends_earlier_differs_at_its_end(mine, other, at):
    assert first_difference(mine, other) == at


def answered(run, strategy, texts):
    """An answers cell: question id -> (text, token ids, right)."""
    cell = run.planned(run.cell(strategy, "answers"))
    given = [Answer(id=q, text=t, token_ids=i, right=r) for q, (t, i, r) in texts.items()]
    run.add(cell, answers=given)
    return cell


def test_answers_are_compared_with_the_references(summary_of):
    run = Fabricated()
    run.answers("cpu fp32")
    run.answers("cpu bf16", wrong=("sum",))
    model = summary_of(run).models[0]
    rows = {row.label: row for row in model.rows}
    assert (rows["cpu bf16"].agreement.same, rows["cpu bf16"].agreement.of) == (3, 4)
    assert rows["cpu fp32"].agreement is None
    question = next(question for question in model.questions if question.id == "sum")
    reference, other = question.answers
    assert not reference.compared
    right, wrong = QUESTIONS[1][3], QUESTIONS[1][4]
    assert other.text[: other.same_characters] == right[: other.same_characters]
    assert other.text[other.same_characters] != right[other.same_characters]
    assert other.first_difference == len(wrong) - 1  # one token per character here
    assert [question.differs for question in model.questions] == [False, True, False, False]


def test_other_tokens_behind_the_same_text_are_a_difference(summary_of):
    run = Fabricated()
    answered(run, "cpu fp32", {"q": ("ab", [1, 2], True)})
    answered(run, "cpu bf16", {"q": ("ab", [3], True)})
    answer = summary_of(run).models[0].questions[0].answers[1]
    assert answer.first_difference == 0
    assert answer.same_characters == 2


def test_only_questions_with_a_pattern_are_scored(rows_of):
    run = Fabricated()
    run.answers("cpu fp32", wrong=("sum", "poem"))
    row = rows_of(run)["cpu fp32"]
    assert (row.score.right, row.score.of) == (2, 3)
    assert row.score.low < 2 / 3 < row.score.high
    assert {name: (s.right, s.of) for name, s in row.categories.items()} == {
        "facts": (2, 2),
        "arithmetic": (0, 1),
    }


def test_questions_without_patterns_give_no_score_and_say_so(rows_of):
    run = Fabricated()
    answered(run, "cpu fp32", {"q": ("ab", [1, 2], None)})
    row = rows_of(run)["cpu fp32"]
    assert row.score is None
    assert row.missing["score"] == "no question has a pattern of a right answer"


def test_answers_that_were_judged_wrong_are_still_shown_and_scored(rows_of):
    run = Fabricated()
    cell = run.planned(run.cell("cpu fp32", "answers"))
    wrong = Answer(id="q", text="x", token_ids=[1], right=False)
    run.add(cell, outcome="wrong_answers", reason="all alike", answers=[wrong])
    row = rows_of(run)["cpu fp32"]
    assert (row.score.right, row.score.of) == (0, 1)
    assert row.outcomes[0].state == "failed"


def test_the_answers_of_a_crash_are_not_scored(rows_of):
    run = Fabricated()
    cell = run.planned(run.cell("cpu fp32", "answers"))
    run.add(
        cell,
        outcome="crashed",
        reason="boom",
        answers=[Answer(id="q", text="x", token_ids=[1], right=True)],
    )
    row = rows_of(run)["cpu fp32"]
    assert row.score is None
    assert row.missing["score"] == "crashed: boom"


def test_without_answers_of_the_reference_nothing_is_compared(summary_of):
    run = Fabricated()
    run.speed("cpu fp32", 100)
    run.answers("cpu bf16")
    model = summary_of(run).models[0]
    assert all(row.agreement is None for row in model.rows)
    assert not any(given.compared for question in model.questions for given in question.answers)


def test_trials_that_answer_differently_are_warned_of(summary_of):
    run = Fabricated()
    cell = run.planned(run.cell("cpu fp32", "answers"), trials=2)
    for trial, text in enumerate("ab"):
        answer = Answer(id="q7", text=text, token_ids=[trial])
        run.add(cell, trial=trial, answers=[answer])
    warnings = [w for w in summary_of(run).warnings if "nondeterministic" in w]
    assert len(warnings) == 1
    assert "q7" in warnings[0]


@pytest.mark.parametrize(
    "strategies, said",
    [
        (["cpu bf16", "cpu fp32i8"], "reference strategy has no answers"),
        (["cpu fp32"], "Only the reference"),
        (["cpu fp32", "cpu bf16"], "No strategy answers any question otherwise"),
    ],
)
def test_that_all_agree_is_said_only_of_what_was_compared(strategies, said, summary_of):
    run = Fabricated(reference="cpu fp32")
    run.planned(run.cell("cpu fp32"))
    for strategy in strategies:
        run.answers(strategy)
    (model,) = make_page(summary_of(run)).models
    assert said in model.about_answers
    assert ("otherwise" in model.agreeing_title) == (len(strategies) > 1 and "No strategy" in said)


def test_an_answer_that_was_cut_at_its_deadline_is_marked(summary_of):
    run = Fabricated()
    cell = run.planned(run.cell("cpu fp32", "answers"))
    cut = Answer(id="q", text="a", token_ids=[1], stop="cut")
    run.add(cell, answers=[cut, Answer(id="p", text="b", token_ids=[2], stop="max_tokens")])
    (model,) = make_page(summary_of(run)).models
    tags = {row[1].text: row[1].tag for table in model.agreeing for row in table.rows}
    assert tags == {"a": "cut at its deadline (limits.question_s)", "b": None}


def told(ids, stop, right=None):
    """One answer whose text is its tokens."""
    return Answer(id="q", text="".join(map(str, ids)), token_ids=ids, stop=stop, right=right)


@pytest.mark.parametrize(
    "mine, other, at",
    [
        (([1, 2], "cut"), ([1, 2, 3], "cut"), None),
        (([1, 2], "cut"), ([1, 2, 3], "max_tokens"), None),
        (([1, 2], "cut"), ([1, 2], "stop_token"), None),
        (([1, 2], "cut"), ([1, 3, 3], "cut"), 1),
        (([1, 2], "stop_token"), ([1, 2, 3], "cut"), 2),  # which the clock did not end
        (([1, 2], "stop_token"), ([1, 2, 3], "max_tokens"), 2),
    ],
)
def test_a_cut_answer_is_compared_as_far_as_it_goes(mine, other, at, summary_of):
    pair = [told(*mine), told(*other)]
    assert departure(*pair) == departure(*reversed(pair)) == at
    run = Fabricated(["cpu fp32"], trials=2)
    run.speed("cpu fp32", 100)
    cell = run.planned(run.cell("cpu fp32", "answers"), trials=2)
    for trial, one in enumerate(pair):
        run.add(cell, trial=trial, answers=[one])
    summary = summary_of(run)
    assert summary.models[0].rows[0].unsteady == (() if at is None else ("q",))
    best = rank_model(summary.models[0], Wishes(), run="r").found.best
    assert (best is None) == (at is not None)
    assert any("nondeterministic" in one for one in summary.warnings) == (at is not None)


def test_two_answers_that_differ_behind_a_cut_one_are_nondeterministic(rows_of):
    run = Fabricated(["cpu fp32"])
    cell = run.planned(run.cell("cpu fp32", "answers"), trials=3)
    for trial, one in enumerate([([1], "cut"), ([1, 2], "max_tokens"), ([1, 3], "max_tokens")]):
        run.add(cell, trial=trial, answers=[told(*one)])
    assert rows_of(run)["cpu fp32"].unsteady == ("q",)


def test_a_cut_answer_beside_the_references_is_told_as_far_as_both_go(summary_of):
    run = Fabricated(["cpu fp32", "cpu bf16", "cpu fp32i8", "cpu fp16"])
    ends = [([1, 2], "cut"), ([1, 2, 3], "max_tokens"), ([1], "cut"), ([4], "cut")]
    for strategy, end in zip(run.strategies, ends, strict=True):
        cell = run.planned(run.cell(strategy, "answers"))
        run.add(cell, answers=[told(*end, right=strategy == "cpu bf16")])
    model = summary_of(run).models[0]
    given = [one.first_difference for one in model.questions[0].answers]
    assert given == [None, None, None, 0]
    [table] = make_page(summary_of(run)).models[0].differing
    assert [cell.tag.split("\n")[0] for cell in table.rows[0][1:]] == [
        "not right by then, cut at its deadline (limits.question_s)",
        "right, the reference’s was cut before it could differ",
        "not right by then, cut at its deadline (limits.question_s)",
        "not right by then, cut at its deadline (limits.question_s), differs from token 1 on",
    ]


def test_right_answers_that_the_clock_cut_are_told_of_and_not_compared(summary_of):
    run = Fabricated(["cpu fp32", "cpu bf16"])
    for strategy, stop in zip(run.strategies, ("max_tokens", "cut"), strict=True):
        run.speed(strategy, 100)
        cell = run.planned(run.cell(strategy, "answers"))
        run.add(cell, answers=[told([1], stop, right=strategy == "cpu fp32")])
    ranking = rank_model(summary_of(run).models[0], Wishes(), run="r")
    assert ("Careful", f"“cpu bf16”: {CUT}.") in list(unmeasured(ranking))
    [line] = costs(ranking)
    assert "answer" not in line


def test_what_was_cut_in_another_run_is_told_of_those_answers_alone(summary_of):
    parts = []
    for name, stop, speeds in (("new", "max_tokens", False), ("old", "cut", True)):
        run = Fabricated(["cpu fp32"])
        if speeds:
            run.speed("cpu fp32", 100)
        cell = run.planned(run.cell("cpu fp32", "answers"))
        run.add(cell, answers=[told([1], stop, right=False)])
        parts.append(Part(run=name, model=summary_of(run).models[0]))
    new, old = parts
    for order, said in (((new, old), ()), ((old, new), (CUT,))):
        [found] = strategies_in(order)
        assert joined(found).cautions == said


CUT = "cut at limits.question_s and not right by then: 1 of 1 answer"


def beside_exact(
    text, *, index, same, token="x", other="y", ids=(1, 2, 3), strategies=("cpu fp32",)
):
    """A run whose strategies all give this answer, which the reference would leave at a token."""
    run = Fabricated(list(strategies), {"<i>m</i>": "m.pth"}, trials=1)
    told = Difference(
        index=index,
        token=7,
        reference_token=9,
        p=0.25,
        reference_p=0.2,
        p_of_reference_token=0.24,
        reference_p_of_reference_token=0.3,
        text=token,
        reference_text=other,
        same_characters=same,
    )
    scored = AnswerQuality(id="q", scored=scored_tokens(1e-6, 0, tokens=5), difference=told)
    for strategy in strategies:
        cell = run.planned(run.cell(strategy, "answers"), trials=1)
        answer = Answer(id="q", text=text, token_ids=list(ids), question="<b>Q</b> & | `q`\n# h?")
        run.add(cell, answers=[answer])
        run.quality(strategy, answers=[scored])
    return run


@pytest.mark.parametrize(
    "case, shown, tag",
    [
        (
            {"text": "Grüße 世界 👩\u200d👧", "index": 1, "same": 6, "token": "世"},
            "Grüße <mark>世界 👩\u200d👧</mark>",
            ["differs from token 2 on", "“世”: 25.0 %", "not “y”: 24.0 %"],
        ),
        (
            {"text": "Lyon", "index": 0, "same": 0, "token": "Ly"},
            "<mark>Lyon</mark>",
            ["differs from token 1 on", "“Ly”: 25.0 %", "not “y”: 24.0 %"],
        ),
        (  # the stop token is drawn behind the last token, and is no text
            {"text": "Lyon", "index": 3, "same": 4, "token": None},
            "Lyon",
            [
                "ends at token 4, where the reference goes on",
                "the end (token 7): 25.0 %",
                "not “y”",
            ],
        ),
        (
            {"text": "", "index": 0, "same": 0, "token": "", "ids": ()},
            "",
            [
                "no text, ends at token 1, where the reference goes on",
                "the end (token 7)",
                "not “y”",
            ],
        ),
        (  # tokens of a stop string are no text of the answer
            {"text": "Lyon", "index": 2, "same": 4, "token": "\n\n", "other": " "},
            "Lyon",
            ["other tokens from token 3 on", "“↵↵”: 25.0 %", "not “\u00a0”"],
        ),
        (
            {"text": " \n", "index": 1, "same": 1, "token": "\n"},
            " <mark>\n</mark>",
            ["nothing but blanks, differs from token 2 on", "“↵”", "not “y”"],
        ),
        (  # half a character
            {"text": "a\ufffdb", "index": 1, "same": 1, "token": "\ufffd"},
            "a<mark>\ufffdb</mark>",
            ["differs from token 2 on", "token 7: 25.0 %", "not “y”"],
        ),
        (
            {"text": "</td><script>x", "index": 2, "same": 5, "token": "<scr", "other": "</b>"},
            "&lt;/td&gt;<mark>&lt;script&gt;x</mark>",
            ["differs from token 3 on", "“&lt;scr”: 25.0 %", "not “&lt;/b&gt;”"],
        ),
        (
            {"text": "word " * 900, "index": 2, "same": 4000},
            "word " * 800 + "<mark>" + "word " * 100 + "</mark>",
            ["differs from token 3 on", "“x”", "not “y”"],
        ),
    ],
)
def test_the_first_differing_token_of_any_answer_is_marked_and_told(case, shown, tag, summary_of):
    page = make_page(summary_of(beside_exact(**case)))
    html = render_html(page)
    (cell,) = (one for one in html.split("<td>") if "reference 20.0" in one)
    text, small = cell.split("</td>")[0].split("<small>")
    assert text == shown
    lines = small.removesuffix("</small>").replace("\u00a0%", " %").split("\n")
    assert len(lines) == 3
    assert all(line.startswith(begin) for line, begin in zip(lines, tag, strict=True))
    assert "<script" not in html
    assert "<script" not in render_markdown(page)


def test_eight_strategies_stand_beside_each_other_a_few_at_a_time(summary_of):
    names = [*(f"cpu fp32 *{at}" for at in range(7)), 'x<b>"&$m$ *4 -> |`a`']
    run = beside_exact("Lyon", index=0, same=0, strategies=names)
    page = make_page(summary_of(run))
    tables = page.models[0].differing
    shown = [one.title for table in tables for one in table.columns[1:]]
    assert list(dict.fromkeys(shown)) == names
    assert all(2 <= len(table.columns) <= 5 for table in tables)
    html, markdown = render_html(page), render_markdown(page)
    assert html.count("<mark>Lyon</mark>") == len(shown)
    assert markdown.count("<b>Lyon</b>") == len(shown)
    for written in (html, markdown):
        assert 'x<b>"' not in written
        assert "<i>m" not in written
        assert "<b>Q" not in written


def test_an_answer_that_ends_before_the_reference_strategys_says_so(summary_of):
    run = Fabricated()
    answered(run, "cpu fp32", {"q": ("ab", [1, 2], True)})
    answered(run, "cpu bf16", {"q": ("a", [1], True)})
    answered(run, "cpu fp32i8", {"q": ("abc", [1, 2, 3], True)})
    (model,) = make_page(summary_of(run)).models
    (table,) = model.differing
    tags = [cell.tag for cell in table.rows[0][1:]]
    assert tags == [
        "right",
        "right, ends at token 2, where the reference goes on",
        "right, differs from token 3 on",
    ]


def test_many_categories_go_down_the_page(summary_of):
    def table(categories, strategies):
        run = Fabricated(list(strategies))
        for strategy in strategies:
            cell = run.planned(run.cell(strategy, "answers"))
            given = [
                Answer(id=f"q{n}", text="x", token_ids=[1], right=n > 0, category=f"kind {n}")
                for n in range(categories)
            ]
            run.add(cell, answers=given)
        found = category_table(summary_of(run).models[0])
        return [column.title for column in found.columns], [
            [cell.text for cell in row] for row in found.rows
        ]

    few, _ = table(6, ["cpu fp32"])
    assert few == ["Strategy", "All", "95\u00a0% interval", *(f"kind {n}" for n in range(6))]
    titles, rows = table(7, ["cpu fp32", "cpu bf16"])
    assert titles == ["Category", "cpu fp32", "cpu bf16"]
    assert rows[0] == ["All", "6 of 7", "6 of 7"]
    assert [row[0] for row in rows[1:]] == ["95\u00a0% interval", *(f"kind {n}" for n in range(7))]
    assert (rows[2], rows[3]) == (["kind 0", *["0 of 1"] * 2], ["kind 1", *["1 of 1"] * 2])
    many, _ = table(7, [f"s{n}" for n in range(7)])
    assert many[0] == "Strategy"
