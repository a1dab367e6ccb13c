"""Rows of one run or several that become one ranking: names, references, faults, notes."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest
from fabricate import FACTS, MIB, Fabricated

from harness.config.quality_settings import QualityText
from harness.records.quality import Gate, Quality
from harness.records.record import Answer, Memory
from harness.records.store import read_run
from harness.report.costs import costs
from harness.report.ranking import rank_model, rank_runs
from harness.report.recommend import Wishes
from harness.report.recommended import ranking_sentence, unmeasured
from harness.report.summary import summarise

WHY = "It computes another function than the reference: of 32 tokens 33 % is lost."
PASSED = Gate(tokens=32, figures={"lost": 1e-5})


def with_facts(run, year=2024, **facts):
    """The same run with other facts in each record, and of another year."""
    run.records = [
        msgspec.structs.replace(
            one,
            facts={**FACTS, **facts},
            started_at=one.started_at.replace("2024", str(year)),
        )
        for one in run.records
    ]
    return run


def ranked(tmp_path, wishes=None, **runs):
    """Runs of one machine by their names, ranked."""
    read = [read_run(run.write(tmp_path / "here" / name)) for name, run in runs.items()]
    return rank_runs([(run, summarise(run)) for run in read], wishes or Wishes())


def of_one(summary_of, run, **wishes):
    """The ranking of the only model of one run."""
    [model] = summary_of(run).models
    return rank_model(model, Wishes(**wishes), run="r")


def timed(*strategies, year=2024, **facts):
    """A run with a speed of each strategy, the first the fastest."""
    run = Fabricated(list(strategies))
    for at, strategy in enumerate(strategies):
        run.speed(strategy, 100 - 20 * at)
    return with_facts(run, year, **facts)


@pytest.mark.parametrize("broken", ["speed", "answers", "quality"])
def test_what_is_broken_is_explained_by_the_cell_that_showed_it(rows_of, summary_of, broken):
    run = Fabricated(["cpu fp32"])
    cells = {
        name: run.planned(run.cell("cpu fp32", name)) for name in ("speed", "answers", "quality")
    }
    for name, cell in cells.items():
        gate, reason = None, f"not measured: in {cells[broken].id} {WHY}"
        if name == broken:
            gate, reason = Gate(tokens=32, why=WHY), WHY
        run.add(cell, outcome="wrong_answers", reason=reason, gate=gate)
    ranking = of_one(summary_of, run)
    assert list(unmeasured(ranking)) == [("No choice", f"“cpu fp32”: wrong answers: {WHY}")]
    assert ranking_sentence(ranking) == (
        f"nothing to recommend, as no strategy was measured: wrong answers: {WHY}"
    )
    row = rows_of(run)["cpu fp32"]
    said = {row.missing[name] for name in ("decode_tok_per_s", "score", "quality", "load_s")}
    assert said | {row.missing["peak_rss_bytes"]} == {f"wrong answers: {WHY}"}


def test_an_engine_that_is_not_our_own_is_named_also_where_it_is_the_only_one(summary_of):
    for engine, name in (("torch", "cpu fp32"), ("rwkv", "cpu fp32, rwkv")):
        run = Fabricated(["cpu fp32"], engines=[engine])
        run.speed("cpu fp32", 100)
        assert of_one(summary_of, run).found.best.name == name


def test_a_batch_that_is_all_there_is_has_its_name_and_a_note(summary_of):
    run = Fabricated(["cpu fp32"], batches=[4, 8])
    for batch in run.batches:
        run.speed("cpu fp32", 100 * batch, batch=batch)
    run.records = [msgspec.structs.replace(one, batch=one.cell.batch) for one in run.records]
    ranking = of_one(summary_of, run)
    assert [one.name for one in ranking.options] == ["cpu fp32, batch 4"]
    assert ranking.notes == (
        (
            "1 cell with a larger batch than 4 is not compared: rows of a batch together are "
            "always faster."
        ),
        "All speeds are those of 4 rows of a batch together.",
    )


def test_a_smaller_batch_without_a_speed_does_not_hide_the_others(tmp_path):
    answered = Fabricated(["cpu fp32"])
    answered.answers("cpu fp32")
    run = Fabricated(["cpu fp32"], batches=[4])
    run.speed("cpu fp32", 400, batch=4)
    run.records = [msgspec.structs.replace(one, batch=4) for one in run.records]
    [ranking] = ranked(tmp_path, old=answered, new=with_facts(run, 2025))
    best = ranking.found.best
    assert (best.name, best.right, best.runs) == ("cpu fp32, batch 4", (3, 3), ("new", "old"))


def test_each_thread_count_has_its_own_reference(summary_of):
    run = Fabricated(["cpu fp32", "cpu bf16", "cpu fp32i8"], threads=[1, 2])
    for threads in run.threads:
        for at, strategy in enumerate(run.strategies):
            run.speed(strategy, 100 * threads * (1 + at), threads=threads)
    ranking = of_one(summary_of, run)
    assert ranking.found.best.name == "cpu fp32i8, 2 threads"
    assert ranking.reference.name == "cpu fp32, 2 threads"
    assert {one.name: one.reference for one in ranking.options} == {
        f"{strategy}, {threads}": f"cpu fp32, {threads}"
        for strategy in run.strategies
        for threads in ("1 thread", "2 threads")
    }
    beside = [text.split(" beside ")[1].split(": ")[0] for text in costs(ranking)]
    assert beside == [
        "the best, “cpu fp32i8, 2 threads”",
        *["the reference, “cpu fp32, 2 threads”"] * 2,
    ]


def test_only_figures_that_are_missing_have_a_reason(summary_of):
    run = Fabricated(["cpu fp32"])
    run.speed("cpu fp32", 100)
    run.answers("cpu fp32")
    run.quality("cpu fp32")
    assert of_one(summary_of, run).options[0].why_missing == ()
    run = Fabricated(["cpu fp32"])
    run.answers("cpu fp32")
    [option] = of_one(summary_of, run).options
    lacking = ["decode_tok_per_s", "prefill_tok_per_s", "agreement", "kl_mean"]
    assert [name for name, _ in option.why_missing] == lacking
    assert all(getattr(option, name) is None for name in lacking)


def test_what_a_newer_run_adds_is_not_said_to_be_missing(tmp_path):
    scored = Fabricated(["cpu fp32"])
    scored.quality("cpu fp32")
    [ranking] = ranked(tmp_path, old=timed("cpu fp32"), new=with_facts(scored, 2025))
    [option] = ranking.options
    assert [name for name, _ in option.why_missing] == ["right"]
    assert option.agreement == 0.99


def failed(workload, kind="crashed", year=2025, strategy="cpu fp32", **more):
    run = Fabricated([strategy])
    cell = run.planned(run.cell(strategy, workload), trials=1)
    run.add(cell, outcome=kind, reason="why", **more)
    return with_facts(run, year)


def test_of_each_workload_the_newest_run_says_whether_it_failed(tmp_path):
    def unfit(place, **runs):
        [ranking] = ranked(tmp_path / place, **runs)
        return ranking.options[0].unfit

    ok = timed("cpu fp32", year=2024)
    assert unfit("a", old=ok, new=failed("speed")) == "crashed: why"
    assert unfit("b", old=failed("speed", year=2023), new=ok) is None
    # That it can compute does not say that it can answer.
    assert unfit("c", old=failed("answers", year=2023), new=ok) == "crashed: why"
    # What was not tried again is as it was.
    for kind in ("skipped", "interrupted"):
        assert unfit(f"{kind}-ok", old=ok, new=failed("speed", kind)) is None
        bad = failed("speed", year=2023)
        assert unfit(f"{kind}-bad", old=bad, new=failed("speed", kind)) == "crashed: why"


def test_a_gate_that_is_passed_now_speaks_against_one_that_was_not(tmp_path):
    broken = failed("answers", "wrong_answers", 2023, gate=Gate(tokens=32, why="why"))
    fine = timed("cpu fp32")
    [ranking] = ranked(tmp_path / "a", old=broken, new=fine)
    assert ranking.found.refused[0][1] == "wrong answers: why"
    fine.records[0] = msgspec.structs.replace(fine.records[0], gate=PASSED)
    [ranking] = ranked(tmp_path / "b", old=broken, new=fine)
    assert ranking.found.best.name == "cpu fp32"
    # One that could not be held against the reference has passed nothing.
    unknown = Gate(tokens=0, missing="no room in the cache")
    fine.records[0] = msgspec.structs.replace(fine.records[0], gate=unknown)
    [ranking] = ranked(tmp_path / "c", old=broken, new=fine)
    assert ranking.found.best is None


def under(run, sampling, *tokens, right=True, strategy="cpu fp32"):
    """Answers under one sampling, a trial for each of the tokens."""
    cell = dataclasses.replace(run.cell(strategy, "answers"), sampling=sampling, variant=sampling)
    run.planned(cell, trials=len(tokens))
    for trial, token in enumerate(tokens):
        given = Answer(id="sum", text="x", token_ids=[token], right=right)
        run.add(cell, trial=trial, answers=[given])


def test_of_several_samplings_the_first_speaks_and_it_is_said(summary_of):
    run = timed("cpu fp32")
    under(run, "greedy", 7)
    under(run, "warm", 8, right=False)
    under(run, "hot", 9, right=False)
    ranking = of_one(summary_of, run)
    assert [(one.name, one.right) for one in ranking.options] == [("cpu fp32", (1, 1))]
    assert ranking.notes == (
        "Right answers are those of “greedy”; the report has those of “warm” and “hot”.",
    )


APART = (
    "The sampling, the prompt or the length of answers is not the same for “cpu fp32” and "
    "“cpu bf16”: their right answers cannot be compared."
)


@pytest.mark.parametrize("only", [True, False])
def test_right_answers_under_another_sampling_are_not_compared(only, summary_of):
    run = timed("cpu fp32", "cpu bf16")
    under(run, "greedy", 7)
    under(run, "warm", 8, strategy="cpu bf16", right=False)
    if not only:
        under(run, "warm", 8, right=False)
    ranking = of_one(summary_of, run)
    assert [one.right for one in ranking.options] == [(1, 1), (0, 1)]
    rest = "" if only else "; the report has all"
    assert ranking.notes == (
        (
            "Right answers are of “cpu fp32” those of “greedy” and of “cpu bf16” those of "
            f"“warm”{rest}."
        ),
        APART,
    )
    [text] = costs(ranking)
    assert "answer" not in text


def test_a_sampling_that_two_strategies_share_is_told_once_and_compared(summary_of):
    run = timed("cpu fp32", "cpu bf16")
    for strategy in run.strategies:
        under(run, "greedy", 7, strategy=strategy, right=strategy == "cpu fp32")
    under(run, "warm", 7)
    ranking = of_one(summary_of, run)
    assert ranking.notes == (
        "Right answers are those of “greedy”; the report has those of “warm”.",
    )
    [text] = costs(ranking)
    assert "1 right answer fewer" in text


@pytest.mark.parametrize("one, other, same", [("p", "p", True), ("p", "q", False)])
def test_how_runs_asked_is_known_by_content_whatever_they_call_it(one, other, same, tmp_path):
    old, new = timed("cpu fp32"), timed("cpu bf16")
    under(old, "greedy", 7)
    under(old, "warm", 7)
    new.answers("cpu bf16")
    for run, key in ((old, one), (new, other)):
        run.records = [
            msgspec.structs.replace(
                record, key=msgspec.structs.replace(record.key, presentation=key)
            )
            for record in run.records
        ]
    [ranking] = ranked(tmp_path, old=old, new=with_facts(new, 2025))
    assert {option.asked for option in ranking.options} == {(None, one), (None, other)}
    said = "Right answers are of “cpu bf16” those of a run that has no other and of “cpu fp32” "
    assert f"{said}those of “greedy”; the report has all." in ranking.notes
    assert (
        any("is not the same for “cpu bf16” and “cpu fp32”" in note for note in ranking.notes)
        != same
    )


@pytest.mark.parametrize("steady_first", [True, False])
def test_what_is_wrong_under_one_sampling_is_wrong(summary_of, steady_first):
    run = timed("cpu fp32")
    under(run, "greedy", 7, 7 if steady_first else 8)
    under(run, "warm", 8, 9 if steady_first else 8)
    [(option, why)] = of_one(summary_of, run).found.refused
    assert why == "nondeterministic: 1 answer changed from trial to trial"
    assert option.decode_tok_per_s is not None


def test_memory_is_the_most_under_any_sampling(summary_of):
    run = Fabricated(["cpu fp32"])
    run.speed("cpu fp32", 100, 300)
    for name, peak in (("greedy", 290), ("warm", 320)):
        answers = run.cell("cpu fp32", "answers")
        cell = dataclasses.replace(answers, sampling=name, variant=name)
        run.add(run.planned(cell, trials=1), memory=Memory(peak_rss_bytes=peak * MIB))
    ranking = of_one(summary_of, run, ram_bytes=310 * MIB)
    [option] = ranking.options
    assert (option.decode_tok_per_s is not None, option.ram_bytes) == (True, 320 * MIB)
    assert ranking.found.best is None


def test_a_gate_that_another_sampling_met_is_what_is_told(summary_of):
    run = Fabricated(["cpu fp32"])
    cells = [
        dataclasses.replace(run.cell("cpu fp32", "answers"), sampling=name, variant=name)
        for name in ("greedy", "warm")
    ]
    run.planned(cells[0], trials=1)
    run.planned(cells[1], trials=1)
    run.add(cells[1], outcome="wrong_answers", reason=WHY, gate=Gate(tokens=32, why=WHY))
    run.add(cells[0], outcome="wrong_answers", reason=f"not measured: in {cells[1].id} {WHY}")
    [(_, why)] = of_one(summary_of, run).found.refused
    assert why == f"wrong answers: {WHY}"


def test_the_samplings_of_another_run_are_not_told_of(tmp_path):
    old, new = timed("cpu fp32"), timed("cpu fp32")
    for name in ("cold", "warm"):
        under(old, name, 7)
    for name in ("greedy", "warm"):
        under(new, name, 7)
    [ranking] = ranked(tmp_path, old=old, new=with_facts(new, 2025))
    assert "Right answers are those of “greedy”; the report has those of “warm”." in ranking.notes


def test_the_newest_run_says_what_a_strategy_is_compared_with(tmp_path):
    old = timed("cpu fp32", "cpu bf16")
    new = Fabricated(["cpu bf16", "cpu fp32"])
    for strategy in new.strategies:
        new.answers(strategy)
    [ranking] = ranked(tmp_path, old=old, new=with_facts(new, 2025))
    assert {one.name: one.is_reference for one in ranking.options} == {
        "cpu bf16": True,
        "cpu fp32": False,
    }
    assert {one.reference for one in ranking.options} == {"cpu bf16"}
    assert {one.questions for one in ranking.options} == {None}


def test_right_answers_bring_their_questions_along(tmp_path):
    old = Fabricated(["cpu fp32", "cpu bf16"])
    for strategy in old.strategies:
        old.speed(strategy, 100)
        old.answers(strategy)
    new = timed("cpu fp32", year=2025, questions_sha256="b")
    [ranking] = ranked(tmp_path, old=with_facts(old, questions_sha256="a"), new=new)
    assert {one.questions for one in ranking.options} == {"a"}
    assert not any("questions" in note for note in ranking.notes)


def test_a_figure_that_the_newest_score_lacks_has_its_reason(tmp_path):
    old, new = timed("cpu fp32"), Fabricated(["cpu fp32"])
    for run in (old, new):
        run.quality("cpu fp32", answers=[])
    quality = new.records[-1].quality
    text = msgspec.structs.replace(quality.text, kl=[None, *quality.text.kl[1:]])
    new.records[-1] = msgspec.structs.replace(
        new.records[-1], quality=msgspec.structs.replace(quality, text=text)
    )
    [ranking] = ranked(tmp_path, old=old, new=with_facts(new, 2025))
    [option] = ranking.options
    assert (option.kl_mean, option.agreement) == (None, 0.99)
    assert dict(option.why_missing)["kl_mean"].startswith("infinite")


def test_notes_on_many_strategies_are_one_sentence(tmp_path):
    [ranking] = ranked(
        tmp_path / "all",
        old=timed("cpu fp32", "cpu bf16"),
        new=timed("cpu fp32", "cpu bf16", year=2025),
    )
    assert ranking.notes == (
        "Every strategy was measured in 2 runs; of each figure the newest counts: new.",
    )
    [ranking] = ranked(
        tmp_path / "some",
        old=timed("cpu fp32", "cpu bf16", "cpu fp32i8"),
        new=timed("cpu fp32", "cpu bf16", year=2025),
    )
    assert ranking.notes == (
        "“cpu fp32” and “cpu bf16” were measured in 2 runs; of each figure the newest counts: new.",
    )
    [ranking] = ranked(tmp_path / "single", old=timed("cpu fp32"), new=timed("cpu fp32", year=2025))
    assert ranking.notes[0].startswith("“cpu fp32” was measured in 2 runs; ")
    [ranking] = ranked(
        tmp_path / "one", old=timed("cpu fp32", "cpu bf16"), new=timed("cpu fp32", year=2025)
    )
    assert ranking.notes == (
        "“cpu fp32” was measured in 2 runs; of each figure the newest counts: new.",
    )


def test_a_run_that_does_not_know_the_weights_is_of_the_model_of_that_name(tmp_path):
    old = timed("cuda fp16", weights_sha256="abc")
    new = Fabricated(["cuda fp16"])
    new.planned(new.cell("cuda fp16"), skip_reason="the weights are not here")
    [ranking] = ranked(tmp_path / "a", old=old, new=new)
    assert ranking.found.best.name == "cuda fp16"
    # Of two models of that name it is neither.
    other = timed("cpu fp32", weights_sha256="def")
    assert len(ranked(tmp_path / "b", old=old, new=new, other=other)) == 3


def test_a_model_can_be_asked_for_by_each_of_its_names(tmp_path):
    runs = {}
    for at, name in enumerate(("raven", "raven-3b")):
        run = Fabricated(["cpu fp32", "cpu bf16"][at : at + 1], {name: "w"})
        run.speed(run.strategies[0], 100)
        runs[name] = with_facts(run, weights_sha256="abc")
    read = [read_run(run.write(tmp_path / "here" / name)) for name, run in runs.items()]
    summaries = [(run, summarise(run)) for run in read]
    for name in (None, *runs):
        [ranking] = rank_runs(summaries, Wishes(), name)
        assert len(ranking.options) == 2
        assert ranking.also_called == ("raven-3b",)
    assert rank_runs(summaries, Wishes(), "other") == ()


class Texts(Fabricated):
    """A run whose study scores quality on another text."""

    text = "builtin:prose"

    @property
    def study(self):
        workloads = msgspec.structs.replace(
            super().study.workloads, quality=QualityText(text=self.text)
        )
        return msgspec.structs.replace(super().study, workloads=workloads)


def test_quality_on_another_text_is_not_compared(tmp_path):
    old, new = Texts(["cpu fp32"]), Texts(["cpu bf16"])
    for run in (old, new):
        run.speed(run.strategies[0], 100)
        run.quality(run.strategies[0])
    [ranking] = ranked(tmp_path / "same", old=old, new=with_facts(new, 2025))
    assert {one.scored_on for one in ranking.options} == {"200 tokens of the fixed text"}
    new.text = "texts/mine.txt"
    [ranking] = ranked(tmp_path / "other", old=old, new=new)
    assert ranking.notes == (
        (
            "The agreement is of “cpu bf16” on 200 tokens of mine.txt and of “cpu fp32” on 200 "
            "tokens of builtin:prose, which cannot be compared."
        ),
    )
    [text] = costs(ranking)
    assert "agreement" not in text


def test_right_answers_to_other_questions_are_not_compared(tmp_path):
    old, new = (timed(one, questions_sha256=one) for one in ("cpu fp32", "cpu bf16"))
    for run in (old, new):
        run.answers(run.strategies[0])
    [ranking] = ranked(
        tmp_path,
        old=with_facts(old, questions_sha256="a"),
        new=with_facts(new, 2025, questions_sha256="b"),
    )
    assert ranking.notes == (
        (
            "The questions are not the same for “cpu bf16” and “cpu fp32”: their right answers "
            "cannot be compared."
        ),
    )
    [text] = costs(ranking)
    assert "answer" not in text


def test_a_strategy_that_is_the_same_computation_is_told_of(summary_of):
    run = timed("cpu fp32")
    cell = run.planned(run.cell("cpu fp32 *99"))
    run.plan[-1]["same_as"] = run.plan[0]["cell"]["id"]
    assert cell
    [note] = of_one(summary_of, run).notes
    assert note.startswith("“cpu fp32 *99” is the same computation as “cpu fp32”")


def test_nothing_is_said_of_memory_that_was_measured_on_no_accelerator(summary_of):
    run = Fabricated(["cuda fp16"])
    cell = run.planned(run.cell("cuda fp16"), trials=1)
    run.plan[-1]["weight_bytes"] = {"cuda": 5}
    run.add(cell, decode_tok_per_s=10.0, memory=Memory(peak_rss_bytes=MIB))
    ranking = of_one(summary_of, run, vram_bytes=2**40)
    assert ranking_sentence(ranking) == (
        "nothing to recommend: VRAM not measured: what it took of cuda:0 was not measured."
    )


def test_what_was_scored_without_a_number_is_no_choice(summary_of):
    run = timed("cpu fp32")
    run.quality("cpu fp32")
    quality = run.records[-1].quality
    text = msgspec.structs.replace(quality.text, not_finite=2)
    run.records[-1] = msgspec.structs.replace(
        run.records[-1], quality=Quality(reference=quality.reference, text=text)
    )
    [(_, why)] = of_one(summary_of, run).found.refused
    assert why == "gave 2 log-probabilities without a number"


def test_prefill_on_other_prompts_is_not_compared_in_silence(tmp_path):
    old, new = timed("cpu fp32", "cpu bf16"), timed("cpu fp32i8")
    answered = Fabricated(["cpu fp32", "cpu fp16"])
    for strategy in answered.strategies:
        answered.answers(strategy)
    runs = {"old": old, "new": new, "newest": with_facts(answered, 2026)}
    [ranking] = ranked(tmp_path / "same", **runs)
    assert not any("prefill" in note for note in ranking.notes)
    new.records = [
        msgspec.structs.replace(one, prefill=[one for one in one.prefill if one.tokens == 32])
        for one in new.records
    ]
    [ranking] = ranked(tmp_path / "other", old=old, new=with_facts(new, 2025))
    assert ranking.notes == (
        (
            "The prefill speed is of “cpu fp32i8” on prompts of 32 tokens and of “cpu fp32” and "
            "“cpu bf16” on prompts of 32 and 128 tokens: not the same work."
        ),
    )


def disturbed(run):
    """The same run, no speed trial of which was quiet."""
    run.records = [
        msgspec.structs.replace(
            one, outcome=msgspec.structs.replace(one.outcome, kind="noisy", reason="load")
        )
        if one.cell.workload == "speed"
        else one
        for one in run.records
    ]
    return run


def test_a_speed_that_was_disturbed_gives_way_to_an_older_one_that_was_not(tmp_path):
    old, new = timed("cpu fp32", "cpu bf16"), disturbed(timed("cpu fp32", year=2025))
    new.answers("cpu fp32")
    [ranking] = ranked(tmp_path / "a", old=old, new=with_facts(new, 2025))
    best = ranking.found.best
    assert (best.runs, best.is_disturbed, best.right) == (("old", "new"), False, (3, 3))
    assert best.decode_tok_per_s == pytest.approx(100, rel=0.1)
    assert ranking.notes == (
        (
            "“cpu fp32” was measured in 2 runs; of each figure the newest counts, of speed and "
            "memory the newest that was not disturbed: old and new."
        ),
    )
    assert not list(unmeasured(ranking))[1:]
    assert "disturbed" not in ranking_sentence(ranking)


def test_of_two_speeds_that_were_disturbed_the_newer_counts_and_the_sentence_says_so(tmp_path):
    old, new = (disturbed(timed("cpu fp32", year=year)) for year in (2024, 2025))
    [ranking] = ranked(tmp_path, old=old, new=new)
    assert ranking.found.best.runs == ("new",)
    assert ranking.notes == (
        "“cpu fp32” was measured in 2 runs; of each figure the newest counts: new.",
    )
    assert " tok/s (disturbed in every trial), " in ranking_sentence(ranking)
    # One that was quiet at times was not disturbed in every trial.
    at_times = timed("cpu fp32", year=2026)
    at_times.records[0] = disturbed(timed("cpu fp32", year=2026)).records[0]
    [ranking] = ranked(tmp_path / "b", old=old, new=at_times)
    assert ranking.found.best.runs == ("new",)
    assert "disturbed" not in ranking_sentence(ranking)


def on_answers(run, sampling, kl, *strategies):
    """Quality of own answers under one sampling."""
    plain = run.cell
    run.cell = lambda *names, **more: dataclasses.replace(
        plain(*names, **more), sampling=sampling, variant=sampling
    )
    for strategy in strategies:
        run.answers(strategy)
        run.quality(strategy, kl, text=None)
    run.cell = plain


def test_quality_of_answers_under_another_sampling_is_not_compared(summary_of):
    run = timed("cpu fp32", "cpu bf16", "cpu fp32i8")
    on_answers(run, "greedy", 1e-5, "cpu fp32")
    on_answers(run, "warm", 1e-3, "cpu bf16")
    on_answers(run, "warm", 1e-4, "cpu fp32i8")
    [model] = summary_of(run).models
    ranking = rank_model(model, Wishes(), run="r")
    assert (
        "The agreement is of “cpu fp32” on its own answers under “greedy” and of “cpu bf16” and "
        "“cpu fp32i8” on its own answers under “warm”, which cannot be compared."
    ) in ranking.notes
    assert ["KL" in line for line in costs(ranking)] == [False]
    # Nearest is said of those that can be compared: the most, else the first.
    [nearest] = [one for one in model.choices if one.wish == "nearest"]
    assert nearest.label == "cpu fp32i8, warm"


def test_quality_of_answers_that_two_runs_asked_otherwise_is_not_compared(tmp_path):
    def asked(strategy, key, year):
        run = timed(strategy)
        run.answers(strategy)
        run.quality(strategy, text=None)
        run.records = [
            msgspec.structs.replace(one, key=msgspec.structs.replace(one.key, presentation=key))
            for one in run.records
        ]
        return with_facts(run, year)

    old = asked("cpu fp32", "p", 2024)
    [ranking] = ranked(tmp_path / "same", old=old, new=asked("cpu bf16", "p", 2025))
    assert ranking.notes == ()
    assert ["KL" in line for line in costs(ranking)] == [True]
    [ranking] = ranked(tmp_path / "other", old=old, new=asked("cpu bf16", "q", 2025))
    assert ranking.notes[0] == (
        "The agreement is of “cpu bf16” on its own answers and of “cpu fp32” on its own answers, "
        "asked otherwise, which cannot be compared."
    )
    assert ["KL" in line for line in costs(ranking)] == [False]
