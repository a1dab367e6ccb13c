"""Whole runs with quality: what becomes of strategies that are right, off, wrong, and restless.

The fake engine knows its model exactly, and how far each strategy is off it.
"""

import math

import pytest
import yaml

from harness.cli.main import main
from harness.records.store import read_run
from harness.report.summary import summarise
from tests.cli.in_process import run_in_process

V, LIKELY = 5, 4.0
EXACT, OTHER = "cpu fp32", "cpu bf16"
TEXT_TOKENS = 120
QUESTIONS = ("yes", "no", "stop", "Paris", "yes yes", "yes no", "no no", "Paris stop")
WORKLOADS = {
    "speed": {"prompt_tokens": 4, "generate_tokens": 2, "passes": 1, "trials": 2},
    "answers": {"questions": "questions.yaml", "max_tokens": 8, "trials": 2},
    "quality": {"text": "text.txt", "max_tokens": TEXT_TOKENS},
}


@pytest.fixture
def go(fake_study, tmp_path, monkeypatch, without_report, capfd):
    """Run a study of both strategies, with this of the other one: exit code, run, what was said."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "text.txt").write_text("yes no Paris " * 50, encoding="utf-8")
    run_in_process(monkeypatch)

    def run(other, *options, exact=None, script=None, questions=QUESTIONS, **changes):
        asked = [{"id": f"q{n}", "text": text} for n, text in enumerate(questions)]
        (tmp_path / "questions.yaml").write_text(yaml.safe_dump({"questions": asked}), "utf-8")
        strategies = {EXACT: exact or {}, OTHER: other}
        model = {"vocab": V, "model": {"likely": LIKELY}, "log": "opened.log"}
        study = fake_study(
            {**model, **(script or {}), "strategies": strategies},
            **{"strategies": [EXACT, OTHER], "workloads": WORKLOADS, **changes},
        )
        results = tmp_path / "results"
        with pytest.raises(SystemExit) as stop:
            main(["run", str(study), "--results", str(results), "--machine", "here", *options])
        folder = max((results / "here").glob("faked-*"))
        return stop.value.code, read_run(folder), " ".join("".join(capfd.readouterr()).split())

    return run


def of(run, strategy, workload):
    return [
        one for one in run.records if (one.cell.strategy, one.cell.workload) == (strategy, workload)
    ]


def kinds(run, strategy):
    return {one.outcome.kind for one in run.records if one.cell.strategy == strategy}


def rows(run):
    (model,) = summarise(run).models
    return {row.strategy: row for row in model.rows}


def divergence(likely, other_likely):
    """Of two rows with the same likely token, in float64."""

    def log_p(high):
        total = math.log(math.exp(high) + V - 1)
        return high - total, -total

    (p, rest), (q, other_rest) = log_p(likely), log_p(other_likely)
    return math.exp(p) * (p - q) + (V - 1) * math.exp(rest) * (rest - other_rest)


def test_the_exact_strategy_and_one_a_bit_off_have_the_known_divergence(go):
    code, run, _ = go({"off": {"likely": 0.25}})
    assert code == 0
    assert kinds(run, EXACT) == kinds(run, OTHER) == {"ok"}
    expected = {EXACT: 0.0, OTHER: divergence(LIKELY, LIKELY * 1.25)}
    shown = rows(run)
    for strategy, kl in expected.items():
        (scored,) = of(run, strategy, "quality")
        assert scored.quality.text.kl == pytest.approx([kl] * TEXT_TOKENS, abs=1e-6)
        assert set(scored.quality.text.agree) == {1}
        answers = [(one.id, one.difference) for one in scored.quality.answers]
        assert answers == [(f"q{n}", None) for n in range(len(QUESTIONS))]
        found = shown[strategy].quality.text
        assert found.is_exact
        for figure in (found.kl_mean, found.kl_median, found.kl_p99):
            assert figure.value == pytest.approx(kl, abs=1e-6)
        assert found.agreement == 1
    assert expected[OTHER] > 0.01


def test_a_strategy_that_answers_otherwise_is_shown_where(go):
    code, run, _ = go({"off": {"turned": 0.05}})
    assert code == 0
    (scored,) = of(run, OTHER, "quality")
    assert 0 < sum(scored.quality.text.agree) < TEXT_TOKENS
    told = {one.id: one.difference for one in scored.quality.answers}
    exact, other = (
        {one.id: one.token_ids for one in of(run, strategy, "answers")[0].answers}
        for strategy in (EXACT, OTHER)
    )
    assert exact != other
    for question, difference in told.items():
        if exact[question] == other[question]:
            assert difference is None
        else:
            at = difference.index
            # The stop token, 0, is drawn and not part of the answer.
            assert exact[question][:at] == other[question][:at]
            assert [*other[question], 0][at] == difference.token
            assert [*exact[question], 0][at] == difference.reference_token


def test_a_wrong_strategy_is_stopped_before_anything_of_it_is_measured(go):
    code, run, said = go({"off": {"turned": 1.0}})
    assert code == 3
    assert kinds(run, EXACT) == {"ok"}
    assert kinds(run, OTHER) == {"wrong_answers"}
    wrong = [one for one in run.records if one.cell.strategy == OTHER]
    assert len(wrong) == 2 + 2 + 1
    assert all(not one.decode_s and not one.answers and one.load_s is None for one in wrong[1:])
    assert not wrong[0].decode_s
    assert not wrong[0].answers
    assert wrong[0].gate.why == wrong[0].outcome.reason
    assert wrong[0].gate.figures["lost"] > wrong[0].gate.figures["tolerated"]
    assert all(one.gate is None and wrong[0].cell.id in one.outcome.reason for one in wrong[1:])
    assert "wrong_answers" in said


def test_without_a_gate_what_is_wrong_is_measured_and_shown(go):
    code, run, _ = go({"off": {"turned": 1.0}}, gate=False)
    assert code == 0
    assert all(one.gate is None for one in run.records)
    assert kinds(run, OTHER) == {"ok"}
    assert rows(run)[OTHER].quality.text.agreement == 0


def test_where_every_strategy_is_wrong_nothing_was_measured(go):
    code, run, _ = go({"off": {"turned": 1.0}}, exact={"off": {"turned": 1.0}})
    assert code == 4
    assert {one.outcome.kind for one in run.records} == {"wrong_answers"}


def test_a_wrong_strategy_is_not_measured_when_the_run_goes_on(go, tmp_path):
    go({"off": {"turned": 1.0}}, "--only", "speed")
    before = (tmp_path / "opened.log").read_text("utf-8")
    code, run, _ = go({"off": {"turned": 1.0}}, "--resume")
    assert code == 3
    assert kinds(run, OTHER) == {"wrong_answers"}
    after = (tmp_path / "opened.log").read_text("utf-8").removeprefix(before)
    assert OTHER not in after
    assert EXACT in after


def test_a_strategy_that_answers_otherwise_each_time_is_called_nondeterministic(go):
    code, run, _ = go({"off": {"turned": 0.08, "each_time": True}})
    assert code == 0
    first, second = of(run, OTHER, "answers")
    changed = tuple(
        one.id
        for one, again in zip(first.answers, second.answers, strict=True)
        if one.token_ids != again.token_ids
    )
    assert changed
    assert rows(run)[OTHER].unsteady == changed
    assert rows(run)[EXACT].unsteady == ()
    assert any("nondeterministic" in one for one in summarise(run).warnings)


def test_a_strategy_that_ends_in_nan_behind_the_gate_keeps_its_gate(go):
    code, run, _ = go({"fail": {"at": "decode", "how": "not_a_number"}})
    assert code == 3
    assert kinds(run, OTHER) == {"not_a_number", "ok"}  # it answers nothing, but can be scored
    assert [one.gate.why for one in run.records if one.gate and one.cell.strategy == OTHER] == [
        None
    ]


def test_nan_at_the_gate_is_an_outcome_and_the_gate_is_tried_again(go):
    code, run, _ = go({"fail": {"at": "score", "how": "not_a_number"}})
    assert code == 3
    assert kinds(run, EXACT) == {"ok"}
    assert kinds(run, OTHER) == {"not_a_number"}
    assert all(one.gate is None for one in run.records if one.cell.strategy == OTHER)


def test_nan_in_the_text_alone_is_the_outcome_and_is_counted(go, tmp_path):
    quality = {**WORKLOADS["quality"], "answers": False}
    fails = {"at": "score", "how": "not_a_number"}
    workloads = {"speed": WORKLOADS["speed"], "quality": quality}
    code, run, _ = go({"fail": {**fails, "after": 1}}, workloads=workloads)
    assert code == 0
    (scored,) = of(run, OTHER, "quality")
    assert scored.gate is None  # which was in its first speed trial, with one passage
    assert scored.quality.text.not_finite == 0
    code, run, said = go({"fail": fails}, "--only", "quality", gate=False, workloads=workloads)
    assert code == 3
    (scored,) = of(run, OTHER, "quality")
    assert scored.outcome.kind == "not_a_number"
    assert f"not_a_number: The model gave NaN or infinity for {TEXT_TOKENS} of " in said
    assert scored.quality.text.not_finite == TEXT_TOKENS * V
    assert rows(run)[OTHER].quality.text.not_finite == TEXT_TOKENS * V
    assert of(run, EXACT, "quality")[0].outcome.kind == "ok"
    before = (tmp_path / "opened.log").read_text("utf-8")
    code, run, _ = go(
        {"fail": fails}, "--resume", "--only", "quality", gate=False, workloads=workloads
    )
    assert code == 0
    assert len(of(run, OTHER, "quality")) == 1  # it is final
    assert (tmp_path / "opened.log").read_text("utf-8") == before


@pytest.mark.parametrize("how", ["error", "out_of_memory_host", "not_a_number"])
def test_a_reference_that_fails_takes_quality_alone_and_says_why(how, go):
    code, run, _ = go({}, script={"fail": {"at": "reference", "how": how}})
    assert code == 0
    for strategy in (EXACT, OTHER):
        assert {one.outcome.kind for one in of(run, strategy, "speed")} == {"ok"}
        (scored,) = of(run, strategy, "quality")
        assert scored.outcome.kind == "skipped"
        assert scored.outcome.reason == scored.quality.missing["text"]
        assert set(scored.quality.missing) == {"text", "answers"}
        why = [one.gate.missing for one in run.records if one.gate is not None]
        assert set(why) == {scored.outcome.reason}
    words = {"error": "scripted error", "out_of_memory_host": "scripted", "not_a_number": "finite"}
    assert words[how] in scored.outcome.reason


def test_without_a_cache_references_are_computed_beside_the_results(go, tmp_path):
    (tmp_path / "cache").touch()  # where the folder should be
    code, run, said = go({"off": {"likely": 0.25}})
    assert code == 0
    assert "for this run alone: the cache of references cannot be written" in said
    for strategy in (EXACT, OTHER):
        assert kinds(run, strategy) == {"ok"}
        assert not of(run, strategy, "quality")[0].quality.missing
    left = list((tmp_path / "results" / "references").iterdir())
    assert {path.suffix for path in left} == {".npz"}  # the small forms


def test_where_a_reference_can_be_kept_nowhere_all_else_is_whole(go, tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE_BUDGET", "0")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "references").touch()  # where the folder should be
    code, run, _ = go({"off": {"turned": 1.0}})  # which is not looked at
    assert code == 0
    for strategy in (EXACT, OTHER):
        for one in (*of(run, strategy, "speed"), *of(run, strategy, "answers")):
            assert one.outcome.kind == "ok"
            assert one.gate.missing
            assert one.decode_tok_per_s or one.answers
        (scored,) = of(run, strategy, "quality")
        assert (scored.outcome.kind, scored.outcome.reason) == ("skipped", one.gate.missing)
        assert scored.quality.missing == dict.fromkeys(("text", "answers"), one.gate.missing)
    assert str(tmp_path) not in one.gate.missing


def test_questions_that_are_one_to_the_tokenizer_are_scored_each(go, tmp_path):
    code, run, _ = go({}, questions=["yes", "no", "yes"])
    assert code == 0
    for strategy in (EXACT, OTHER):
        (scored,) = of(run, strategy, "quality")
        assert not scored.quality.missing
        assert [one.id for one in scored.quality.answers] == ["q0", "q1", "q2"]
        first, _, again = scored.quality.answers
        assert first.scored == again.scored
