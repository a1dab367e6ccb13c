"""Studies that extend others."""

import pytest

from harness.config.load import load_study
from harness.errors import StudyError


@pytest.fixture
def base(write_study):
    """The good study, in a folder of its own."""
    (write_study().parent / "base").mkdir()
    path = write_study(name="base/base.yaml")
    (path.parent / "questions.txt").write_text("Who?\n", encoding="utf-8")
    return path


def test_mappings_merge_and_lists_replace(base, write_study):
    loaded = load_study(
        write_study(
            "extends: base/base.yaml\n"
            "name: child\n"
            "models:\n  tiny: {weights: other.pth}\n"
            "strategies: [cpu fp32, cpu bf16]\n"
            "workloads:\n  speed: {trials: 9}\n"
        )
    )

    study = loaded.study
    assert study.name == "child"
    assert study.strategies == ["cpu fp32", "cpu bf16"]
    assert list(study.models) == ["tiny", "made-up"]
    assert study.models["tiny"].prompt == "Q: {question}\nA:"
    assert study.workloads.speed is not None
    assert study.workloads.speed.trials == 9
    assert study.workloads.speed.prompt_lengths == (8, 16)


def test_a_path_is_relative_to_the_file_that_says_it(base, write_study, tmp_path):
    child = write_study("extends: base/base.yaml\nmodels:\n  tiny: {weights: mine.pth}\n")

    loaded = load_study(child)

    assert loaded.files["tiny"].weights == tmp_path / "mine.pth"
    assert loaded.files["tiny"].tokenizer == base.parent / "models/tokenizer.json"
    assert [question.text for question in loaded.questions] == ["Who?"]


def test_null_removes(base, write_study):
    child = write_study(
        "extends: base/base.yaml\n"
        "models: {made-up: null}\n"
        "workloads: {answers: null}\n"
        "exclude: null\nreference: null\n"
    )

    study = load_study(child).study

    assert list(study.models) == ["tiny"]
    assert study.workloads.names == ("speed",)
    assert study.exclude == []


def test_chain_and_builtin(write_study):
    write_study("extends: builtin:quickstart\nseed: 5\n", "one.yaml")
    child = write_study("extends: one.yaml\nthreads: 3\n")

    study = load_study(child).study

    assert (study.name, study.seed, study.threads) == ("quickstart", 5, 3)


def test_text_and_identity_are_those_of_the_whole(base, write_study, good_study):
    child = load_study(write_study("extends: base.yaml\n", "base/child.yaml"))
    whole = load_study(base)

    again = load_study(write_study(child.text, "base/again.yaml"))

    assert child.sha256 == whole.sha256 == again.sha256
    assert again.files == whole.files


def test_problems_point_into_the_file_that_has_them(base, write_study, good_study):
    base.write_text(good_study.replace("cpu fp32", "cpu fp31", 1), encoding="utf-8")
    child = write_study("extends: base/base.yaml\nthreads: 0\nmodels:\n  tiny: {wieghts: a.pth}\n")

    with pytest.raises(StudyError) as caught:
        load_study(child)

    places = [one.split(": ")[:2] for one in caught.value.problems]
    assert [f"{child}:2", "threads"] in places
    assert [f"{child}:4", "models.tiny.wieghts"] in places
    assert [f"{base}:10", "strategies[0]"] in places
    assert len(places) == 3


@pytest.mark.parametrize(
    "link, words",
    [
        ("study.yaml", ["in a circle", "study.yaml -> "]),
        ("loop.yaml", ["in a circle", "loop.yaml -> "]),
        ("bse.yaml", ["no such file"]),
        ("builtin:raven", ["no such study", "builtin:quickstart"]),
        ("[a.yaml, b.yaml]", ["a list is not allowed", "a path"]),
        ("", ["nothing is not allowed"]),
    ],
)
def test_bad_link_is_refused(link, words, write_study):
    write_study("extends: study.yaml\n", "loop.yaml")
    child = write_study(f"name: a\nextends: {link}\n")

    with pytest.raises(StudyError) as caught:
        load_study(child)

    (problem,) = caught.value.problems
    assert all(word in problem for word in ("extends", *words))


BASE_MORE = """\
include:
  - {model: made-up, strategy: cpu fp32i8, workload: speed}
  - {model: tiny, strategy: cpu bf16, workload: speed}
  - {model: tiny, strategy: cpu fp32i8, workload: speed}
"""


@pytest.mark.parametrize(
    "own, excluded, included",
    [
        ("seed: 3\n", 1, ["made-up cpu fp32i8", "tiny cpu bf16", "tiny cpu fp32i8"]),
        ("models: {made-up: null}\n", 0, ["tiny cpu bf16", "tiny cpu fp32i8"]),
        (
            "workloads: {answers: null}\n",
            0,
            ["made-up cpu fp32i8", "tiny cpu bf16", "tiny cpu fp32i8"],
        ),
        ("strategies: [cpu fp32, cpu bf16]\n", 1, ["made-up cpu fp32i8", "tiny cpu fp32i8"]),
    ],
)
def test_what_is_said_of_cells_that_a_study_took_away_goes_with_them(
    own, excluded, included, write_study, good_study
):
    write_study(good_study + BASE_MORE, "base.yaml")
    loaded = load_study(write_study(f"extends: base.yaml\n{own}", "child.yaml"))
    assert len(loaded.study.exclude) == excluded
    assert [f"{one.model} {one.strategy}" for one in loaded.study.include] == included
    # What is kept beside the records is a study by itself.
    assert load_study(write_study(loaded.text, "whole.yaml")).study == loaded.study


@pytest.mark.parametrize("name", ["include", "exclude"])
@pytest.mark.usefixtures("base")
def test_what_a_study_says_itself_is_held_to_its_axes(name, write_study):
    own = f"{name}: [{{model: gone, strategy: cpu fp32, workload: speed}}]\n"
    with pytest.raises(StudyError, match="'gone' is not among the models"):
        load_study(write_study(f"extends: base/base.yaml\n{own}"))


RANGES = """\
name: ranges
models: {made-up: {weights: 'random:169m'}}
strategies: ['cuda fp16i8 *{0..8..4} -> cuda fp16', '@plain']
sets: {plain: [cpu fp32, cpu bf16], other: [cpu fp32i8]}
reference: cpu fp32
workloads: {speed: {}}
exclude:
  - {strategy: 'cuda fp16i8 *4 -> cuda fp16'}
  - {strategy: 'cuda fp16i8 *{7..8} -> cuda fp16'}
  - {strategy: cpu bf16}
include:
  - {model: made-up, strategy: '@other', workload: speed}
"""


def test_a_range_or_set_of_the_other_is_no_reason_to_drop_what_it_says(write_study):
    whole = load_study(write_study(RANGES, "ranges.yaml")).study
    child = load_study(write_study("extends: ranges.yaml\nseed: 3\n"))
    assert (child.study.exclude, child.study.include) == (whole.exclude, whole.include)
    assert len(whole.exclude) == 3
    fewer = load_study(
        write_study("extends: ranges.yaml\nstrategies: ['@plain', '@other']\n")
    ).study
    assert [one.strategy for one in fewer.exclude] == ["cpu bf16"]
    assert fewer.include == []


def test_what_an_inherited_entry_was_of_can_be_taken_away_later(write_study, good_study):
    more = "  - {model: tiny, workload: speed, strategy: cpu fp32}\n"
    write_study(good_study.replace("reference:", f"{more}reference:"), "base.yaml")
    child = write_study("extends: base.yaml\nworkloads: {answers: null}\n")
    assert [one.model for one in load_study(child).study.exclude] == ["tiny"]
    assert load_study(child, ["models.tiny=null"]).study.exclude == []


def test_an_entry_keeps_its_place_where_one_before_it_goes(write_study, good_study):
    more = "  - {model: tiny, workload: speed, threads: 9}\n  - {strategy: cpu bf16}\n"
    path = write_study(good_study.replace("exclude:\n", f"exclude:\n{more}"))
    with pytest.raises(StudyError) as caught:
        load_study(path, ["threads=9", "strategies=[cpu bf16]", "reference=null", "models=null"])
    assert all("exclude" not in one for one in caught.value.problems)
    with pytest.raises(StudyError) as caught:
        load_study(path, ["workloads.answers=null"])
    assert [one.split(": ")[1] for one in caught.value.problems] == [
        "exclude[0].threads",
        "exclude[1].strategy",
    ]
