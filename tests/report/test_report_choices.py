from __future__ import annotations

import msgspec
import pytest
from fabricate import FACTS, MIB, Fabricated, scored_tokens

from harness.records.record import Memory
from harness.report.advice import choice_sentence, choice_table
from harness.report.facts import flatten


def chosen(model):
    return {choice.wish: (choice.label, choice.tied) for choice in model.choices}


def test_the_fastest_the_smallest_and_the_most_often_right_are_named(summary_of):
    run = Fabricated()
    run.speed("cpu fp32", 100, 500)
    run.speed("cpu bf16", 200, 400)
    run.speed("cpu fp32i8", 50, 300)
    run.answers("cpu fp32")
    run.answers("cpu bf16", wrong=("sum",))
    run.answers("cpu fp32i8", wrong=("sum", "capital"))
    model = summary_of(run).models[0]
    assert chosen(model) == {
        "fastest": ("cpu bf16", ()),
        "smallest": ("cpu fp32i8", ()),
        "best answers": ("cpu fp32", ()),
    }
    table = choice_table(model)
    assert [row[1].text for row in table.rows] == ["cpu bf16", "cpu fp32i8", "cpu fp32"]
    sentence = choice_sentence(model)
    assert "Fastest: “cpu bf16”" in sentence
    assert "2 of 3 answers right" in sentence


def test_none_right_is_no_choice_for_right_answers(summary_of):
    run = Fabricated()
    for strategy in ("cpu fp32", "cpu bf16"):
        run.answers(strategy, wrong=("sum", "capital", "script"))
    model = summary_of(run).models[0]
    assert "best answers" not in chosen(model)
    assert "right answers" not in choice_sentence(model)


def test_a_lead_within_the_noise_is_no_lead(summary_of):
    run = Fabricated()
    for strategy, speeds in (("cpu fp32", (100, 90, 110)), ("cpu bf16", (102, 95, 108))):
        cell = run.planned(run.cell(strategy))
        for trial, speed in enumerate(speeds):
            run.add(cell, trial=trial, decode_tok_per_s=float(speed))
    model = summary_of(run).models[0]
    assert chosen(model)["fastest"] == ("cpu bf16", ("cpu fp32",))
    assert choice_sentence(model).endswith("tok/s (in speed not told apart from “cpu fp32”).")
    assert choice_table(model).rows[0][1].tag == "in speed not told apart from 1 other"


def test_one_trial_each_tells_nobody_apart(summary_of):
    run = Fabricated(trials=1)
    run.speed("cpu fp32", 100)
    run.speed("cpu bf16", 500)
    assert chosen(summary_of(run).models[0])["fastest"] == ("cpu bf16", ("cpu fp32",))


def test_among_equally_small_ones_the_faster_wins(summary_of):
    run = Fabricated()
    for strategy, speed in (("cpu fp32", 10.0), ("cpu bf16", 20.0)):
        cell = run.planned(run.cell(strategy), trials=1)
        run.add(cell, decode_tok_per_s=speed, memory=Memory(peak_rss_bytes=100 * MIB))
    assert chosen(summary_of(run).models[0])["smallest"] == ("cpu bf16", ("cpu fp32",))


def beside_exact(means, **more):
    """A run whose strategies have these mean divergences, and one speed each, falling."""
    run = Fabricated(list(means), trials=1)
    for at, (strategy, mean) in enumerate(means.items()):
        cell = run.planned(run.cell(strategy), trials=1)
        run.add(cell, decode_tok_per_s=100.0 - at)
        run.quality(strategy, mean, **more.get(strategy, {}))
    return run


def test_the_nearest_to_the_exact_model_is_named_with_its_divergence(summary_of):
    run = beside_exact({"cpu fp32i8": 5e-6, "cpu bf16": 2e-5, "cpu fp32": 0.0})
    model = summary_of(run).models[0]
    assert chosen(model)["nearest"] == ("cpu fp32", ())
    assert "Nearest to the exact model: “cpu fp32”, 98.0 tok/s" in choice_sentence(model)
    assert "a mean KL of < 1e−9 nats." in choice_sentence(model)
    rows = {row[0].text: row[1].text for row in choice_table(model).rows}
    assert rows == {"speed": "cpu fp32i8", "nearness to the exact model": "cpu fp32"}


@pytest.mark.parametrize(
    "means, named, tied",
    [
        ({"a": 0.0, "b": 9e-10}, "a", ("b",)),  # rounding alone
        ({"a": 1.09e-5, "b": 1e-5}, "a", ("b",)),  # as near, and faster
        ({"a": 1.11e-5, "b": 1e-5}, "b", ()),
        ({"a": 1e-5, "b": 1.09e-5, "c": 1.2e-5}, "a", ("b",)),
    ],
)
def test_divergences_that_are_alike_are_not_told_apart(means, named, tied, summary_of):
    model = summary_of(beside_exact(means)).models[0]
    assert chosen(model)["nearest"] == (named, tied)


def test_what_is_nearest_holds_for_all_that_a_bound_leaves_open(summary_of):
    # Of the small form the divergence is up to 1.5 times as large as its least.
    small = {"small": True}
    found = summary_of(beside_exact({"a": 1e-5, "b": 1.2e-5}, a=small)).models[0]
    assert chosen(found)["nearest"] == ("b", ("a",))
    found = summary_of(beside_exact({"a": 1e-5, "b": 1.8e-5}, a=small)).models[0]
    assert chosen(found)["nearest"] == ("a", ())
    assert "a mean KL of ≥ 1.0e−5 nats (at most 1.5e−5)" in choice_sentence(found)
    unbounded = scored_tokens(1e-7, 0, small=True)
    unbounded = msgspec.structs.replace(unbounded, kl_most=[None] * 200)
    found = summary_of(beside_exact({"a": 0, "b": 2e-5}, a={**small, "text": unbounded})).models[0]
    assert chosen(found)["nearest"] == ("b", ("a",))
    found = summary_of(beside_exact({"a": 0}, a={**small, "text": unbounded})).models[0]
    assert "nearest" not in chosen(found)


def test_divergence_along_own_answers_is_not_held_against_that_on_the_text(summary_of):
    run = beside_exact({"a": 1e-5, "b": 1e-6}, b={"text": None})
    assert chosen(summary_of(run).models[0])["nearest"] == ("a", ())
    run = beside_exact({"a": 1e-5, "b": 1e-6}, a={"text": None}, b={"text": None})
    assert chosen(summary_of(run).models[0])["nearest"] == ("b", ())


def test_what_is_no_choice_is_not_the_nearest_either(summary_of):
    run = beside_exact({"a": 1e-5, "b": 0.0})
    cell = run.planned(run.cell("b", "answers"), trials=1)
    run.add(cell, outcome="crashed", reason="boom")
    assert chosen(summary_of(run).models[0])["nearest"] == ("a", ())


def test_those_that_are_not_told_apart_in_several_respects_are_named_once(summary_of):
    means = {"a": 0.0, "b": 0.0, "c": 0.0, "d": 0.0, "e": 1e-5}
    run = beside_exact(means)
    for strategy in means:
        run.answers(strategy, peak_mib=None)
    model = summary_of(run).models[0]
    assert choice_sentence(model).endswith(
        "(in speed and right answers not told apart from “b”, “c”, “d” and 1 other; "
        "in quality not told apart from “b”, “c” and “d”)."
    )
    (row,) = choice_table(model).rows
    assert row[0].text == "speed, nearness to the exact model and right answers"
    assert row[1].tag == (
        "in speed and right answers not told apart from 4 others; "
        "in quality not told apart from 3 others"
    )


def test_what_lies_on_a_device_counts_as_memory(summary_of):
    run = Fabricated(["cuda fp16", "cpu fp32"])
    run.speed("cuda fp16", 100, 300, device=("cuda:0", 900))
    run.speed("cpu fp32", 10, 1000)
    assert chosen(summary_of(run).models[0])["smallest"][0] == "cpu fp32"


def test_where_nothing_was_measured_the_sentence_says_why(summary_of):
    run = Fabricated(["cuda fp16"])
    run.planned(run.cell("cuda fp16"), skip_reason="no CUDA device")
    model = summary_of(run).models[0]
    assert choice_table(model) is None
    assert choice_sentence(model) == (
        "Nothing could be measured: 1 cell skipped. The first reason: no CUDA device."
    )


def test_facts_are_flattened_and_what_is_unavailable_keeps_its_reason():
    facts = {fact.name: fact for fact in flatten({"a": {"b": 1}, "gpus": [{"name": "G"}], **FACTS})}
    assert facts["a.b"].value == "1"
    assert facts["cpu_flags"].value == "avx2, fma"
    assert facts["git_dirty"].value == "no"
    assert facts["gpus"].value is None
    assert facts["gpus"].why_missing == "no NVIDIA driver is loaded"
    assert {f.name for f in flatten({"gpus": [{"name": "G", "mhz": None}]})} == {
        "gpus.0.name",
        "gpus.0.mhz",
    }


def test_a_fact_that_changed_during_the_run_is_warned_of(summary_of):
    run = Fabricated()
    run.speed("cpu fp32", 100)
    cell = run.planned(run.cell("cpu bf16"), trials=1)
    run.add(cell, decode_tok_per_s=1.0, facts={**FACTS, "torch": "2.13.0"})
    summary = summary_of(run)
    (change,) = summary.differences
    assert (change.name, change.values, change.follows) == (
        "torch",
        {"2.0.1": 3, "2.13.0": 1},
        None,
    )
    assert any("torch changed during the run" in warning for warning in summary.warnings)
    assert "torch" not in {fact.name for fact in summary.facts}


def test_a_fact_that_follows_the_model_is_no_surprise(summary_of):
    run = Fabricated(models={"a": "a.pth", "b": "b.pth"})
    for model in run.models:
        for trial in range(2):
            run.add(run.cell("cpu fp32", model=model), trial=trial,
                    facts={**FACTS, "weights_sha256": model})  # fmt: skip
    summary = summary_of(run)
    assert [(c.name, c.follows) for c in summary.differences] == [("weights_sha256", "model")]
    assert not any("changed" in warning for warning in summary.warnings)


def test_a_fact_that_became_unavailable_is_no_difference(summary_of):
    run = Fabricated()
    cell = run.planned(run.cell("cpu fp32"), trials=2)
    run.add(cell, trial=0)
    run.add(cell, trial=1, facts={**FACTS, "torch": {"unavailable": "crashed"}})
    assert summary_of(run).differences == ()
