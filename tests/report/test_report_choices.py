from __future__ import annotations

from fabricate import FACTS, MIB, Fabricated

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
    assert "not told apart from: cpu fp32" in choice_sentence(model)


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
