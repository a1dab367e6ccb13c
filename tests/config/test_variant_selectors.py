"""`sampling` and `prompt` in `include` and `exclude`."""

import re
from pathlib import Path

import pytest
import yaml

from harness.config.load import load_study
from harness.config.matrix import study_cells
from harness.errors import StudyError

STUDY = """\
name: named
models:
  tiny:
    weights: tiny.pth
    prompt: {bob: "Bob: {question}", q: "Q: {question}"}
  other:
    weights: other.pth
    prompt: {q: "Q: {question}", plain: "{question}"}
  bare: {weights: bare.pth}
strategies: [cpu fp32, cpu bf16]
workloads:
  speed: {}
  answers:
    questions: questions.txt
    sampling: {greedy: {}, warm: {temperature: 1}}
  quality: {}
"""


@pytest.fixture
def load(write_study):
    def load(more="", text=STUDY):
        return load_study(write_study(text + more))

    return load


def points(loaded, workload="answers", **like):
    return [
        one
        for one in study_cells(loaded.study)
        if one.workload == workload and all(getattr(one, k) == v for k, v in like.items())
    ]


def variants(loaded, workload="answers", **like):
    return [(one.sampling, one.prompt) for one in points(loaded, workload, **like)]


def test_what_is_excluded_by_name_is_answers_alone(load):
    whole = load()
    less = load("exclude: [{sampling: warm, strategy: cpu bf16}, {prompt: bob}]\n")

    assert points(less, "speed") == points(whole, "speed")
    assert points(less, "quality", model="bare") == points(whole, "quality", model="bare")
    assert variants(less, model="tiny", strategy="cpu fp32") == [("greedy", "q"), ("warm", "q")]
    assert variants(less, model="tiny", strategy="cpu bf16") == [("greedy", "q")]
    assert variants(less, model="bare", strategy="cpu fp32") == [("greedy", None), ("warm", None)]
    left_out = set(points(whole)) - set(points(less))
    assert left_out == {
        one
        for one in points(whole)
        if one.prompt == "bob" or (one.sampling, one.strategy) == ("warm", "cpu bf16")
    }


def test_quality_scores_answers_that_there_are(load):
    less = load(
        "exclude: [{model: tiny, sampling: greedy}, {model: other, prompt: q, sampling: greedy},"
        " {model: bare, workload: answers}]\n"
    )
    assert variants(less, "quality", model="tiny") == [("warm", "bob")] * 2
    assert variants(less, "quality", model="other") == [("greedy", "plain")] * 2
    assert variants(less, "quality", model="bare") == [("greedy", None)] * 2


def test_an_addition_may_name_both_and_has_the_first_ones_without(load):
    more = "{model: tiny, strategy: cpu fp32i8, workload: answers"
    loaded = load(
        f"include:\n  - {more}}}\n  - {more}, sampling: warm}}\n"
        f"  - {more}, sampling: warm, prompt: q}}\n"
        "  - {model: tiny, strategy: cpu fp32i8, workload: quality}\n"
    )
    added = {"strategy": "cpu fp32i8"}
    assert variants(loaded, **added) == [("greedy", "bob"), ("warm", "bob"), ("warm", "q")]
    assert variants(loaded, "quality", **added) == [("greedy", "bob")]
    only = load(
        f"include:\n  - {more}, sampling: warm, prompt: q}}\n"
        "  - {model: tiny, strategy: cpu fp32i8, workload: quality}\n"
    )
    assert variants(only, "quality", **added) == [("warm", "q")]


@pytest.mark.parametrize(
    "more, words",
    [
        (
            "exclude: [{sampling: wram}]",
            (
                "exclude[0].sampling: 'wram' is not among the samplings of this study. Did you "
                "mean 'warm'? Allowed: greedy, warm."
            ),
        ),
        (
            "exclude: [{prompt: bab}]",
            (
                "exclude[0].prompt: 'bab' is not among the prompts of this study. Did you mean "
                "'bob'? Allowed: bob, q, plain."
            ),
        ),
        (
            "exclude: [{model: other, prompt: bob}]",
            (
                "exclude[0].prompt: 'bob' is not among the prompts of the model 'other'. Allowed: "
                "q, plain."
            ),
        ),
        (
            "exclude: [{model: bare, prompt: bob}]",
            (
                "exclude[0].prompt: 'bob': none of the prompts of the model 'bare' has a name. "
                "Name them: prompt: {NAME: 'Bob: {question}', …}."
            ),
        ),
        (
            "exclude: [{workload: quality, sampling: warm}]",
            (
                "exclude[0].sampling: 'warm': the workload 'quality' has no samplings. Leave it "
                "out; it is of 'answers'."
            ),
        ),
        (
            "include: [{model: tiny, strategy: cpu fp32i8, workload: speed, prompt: q}]",
            "include[0].prompt: 'q': the workload 'speed' has no prompts.",
        ),
        (
            "include: [{model: tiny, strategy: cpu fp32i8, workload: answers, sampling: hot}]",
            "include[0].sampling: 'hot' is not among the samplings",
        ),
        (
            "include: [{model: other, strategy: cpu fp32i8, workload: answers, prompt: bob}]",
            "include[0].prompt: 'bob' is not among the prompts of the model 'other'.",
        ),
        (
            "include: [{model: tiny, strategy: cpu fp32, workload: answers, sampling: warm}]",
            "include[0]: this cell is in the study already.",
        ),
        (
            "exclude: [{model: gone, prompt: bob}]",
            "exclude[0].model: 'gone' is not among the models of this study.",
        ),
        ("exclude: [{sampling: 3}]", "exclude[0].sampling: 3 is not allowed; allowed: text"),
        ("exclude: [{smpling: warm}]", "Did you mean 'sampling'?"),
        ("exclude: [{}]", "Name one of: model, engine, strategy, threads, workload, batch, sam"),
    ],
)
def test_slips_name_what_is_allowed(more, words, load):
    with pytest.raises(StudyError) as caught:
        load(f"{more}\n")
    [told] = caught.value.problems
    assert words in told


def test_an_addition_without_an_axis_to_take_the_first_of_is_no_cell(load):
    entry = "{model: tiny, strategy: cpu fp32i8, workload: answers, sampling: warm}"
    with pytest.raises(StudyError) as caught:
        load(f"engines: []\ninclude: [{entry}]\n")
    [told] = caught.value.problems
    assert "engines: an empty list" in told


def test_one_row_is_what_everything_runs_with(load):
    entry = "{model: tiny, strategy: cpu fp32i8, workload: answers, batch: 1}"
    assert variants(load(f"include: [{entry}]\n"), strategy="cpu fp32i8") == [("greedy", "bob")]


@pytest.mark.parametrize("batch", ["1", "[4, 8]"])
def test_one_row_of_a_workload_that_has_no_more_is_all_of_it(batch, load):
    text = STUDY.replace("speed: {}", f"speed: {{batch: {batch}}}")
    whole = load(text=text)
    for workload in ("answers", "quality"):
        entry = f"workload: {workload}, strategy: cpu bf16"
        less = load(f"exclude: [{{{entry}, batch: 1}}]\n", text)
        assert set(study_cells(whole.study)) - set(study_cells(less.study)) == set(
            points(whole, workload, strategy="cpu bf16")
        )
    with pytest.raises(StudyError) as caught:
        load(
            "exclude: [{workload: answers, batch: 4}]\n", STUDY.replace("{}", "{batch: [1, 4]}", 1)
        )
    [told] = caught.value.problems
    assert "exclude[0].batch: 4 rows: the workload 'answers' runs one at a time." in told


def test_one_row_without_a_workload_is_of_speed_alone(load):
    text = STUDY.replace("speed: {}", "speed: {batch: [1, 4]}")
    whole, less = load(text=text), load("exclude: [{batch: 1}]\n", text)
    assert set(study_cells(whole.study)) - set(study_cells(less.study)) == set(
        points(whole, "speed", batch=1)
    )


def test_what_is_left_out_of_answers_stays_so_with_another_batch_of_speed(load):
    path = load("exclude: [{workload: answers, strategy: cpu bf16, batch: 1}]\n").path
    loaded = load_study(path, ["workloads.speed.batch=4"])
    assert points(loaded, "answers", strategy="cpu bf16") == []


def test_a_sampling_without_a_name_cannot_be_named(write_study, good_study):
    path = write_study(
        good_study.replace("{model: made-up,", "{sampling: warm}\n  - {model: made-up,")
    )
    with pytest.raises(StudyError) as caught:
        load_study(path)
    [told] = caught.value.problems
    assert "'warm': none of the samplings of this study has a name. Name them: sampling: {" in told


def test_what_was_said_of_names_goes_with_them(load, write_study):
    more = (
        "exclude: [{sampling: warm}, {model: tiny, prompt: bob}]\n"
        "include: [{model: tiny, strategy: cpu fp32i8, workload: answers, sampling: warm}]\n"
    )
    path = load(more).path
    one = load_study(path, ["workloads.answers.sampling={temperature: 1}"]).study
    assert [entry.prompt for entry in one.exclude] == ["bob"]
    assert one.include == []
    two = load_study(path, ["models.tiny.prompt=Q {question}"]).study
    assert [entry.sampling for entry in two.exclude] == ["warm"]
    none = load_study(path, ["workloads.answers=null"]).study
    assert [entry.prompt for entry in none.exclude] == ["bob"]
    assert none.include == []


def test_what_is_said_of_them_is_part_of_what_a_study_asks(load):
    assert load("exclude: [{sampling: warm}]\n").sha256 != load().sha256


def test_the_starter_shows_how_samplings_and_prompts_are_named(tmp_path):
    text = (Path(__file__).parents[2] / "configs/starter.yaml").read_text(encoding="utf-8")
    [prompt] = re.findall(r"^  #   prompt: (\{.*?\})  #", text, re.MULTILINE)
    sampling = re.findall(r"^    # (sampling:\n(?:    #   .*\n)+)", text, re.MULTILINE)
    named = yaml.safe_load(sampling[0].replace("\n    # ", "\n"))["sampling"]
    document = yaml.safe_load(text)
    document["workloads"]["answers"]["sampling"] = named
    document["models"]["shipped"]["prompt"] = yaml.safe_load(prompt)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    loaded = load_study(tmp_path / "study.yaml")
    assert variants(loaded, strategy="cpu fp32") == [
        ("greedy", "bob"),
        ("greedy", "q"),
        ("warm", "bob"),
        ("warm", "q"),
    ]
