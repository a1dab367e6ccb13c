"""What a good study becomes."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.config.load import load_study
from harness.config.questions import load_questions
from harness.errors import StudyError
from harness.quickstart import files


def test_paths_are_relative_to_the_study(write_study, tmp_path):
    loaded = load_study(write_study())

    assert loaded.files["tiny"].weights == tmp_path / "models/tiny.pth"
    assert loaded.files["tiny"].tokenizer == tmp_path / "models/tokenizer.json"
    assert loaded.files["made-up"].weights == "random:169m"
    assert [question.text for question in loaded.questions] == ["How are you?", "What is 2 + 2?"]


def test_parent_folders_are_followed_as_the_file_system_does(write_study, good_study, tmp_path):
    (tmp_path / "far/configs").mkdir(parents=True)
    path = write_study(good_study.replace("models/tiny.pth", "../tiny.pth"), "far/configs/a.yaml")
    (path.parent / "questions.txt").write_text("Why?\n", encoding="utf-8")
    (tmp_path / "link").symlink_to(path.parent)
    (tmp_path / "far/tiny.pth").touch()

    for folder in (path.parent, tmp_path / "link"):
        weights = load_study(folder / "a.yaml").files["tiny"].weights
        assert isinstance(weights, Path)
        assert weights.samefile(tmp_path / "far/tiny.pth")


def test_strategies_are_in_canonical_spelling_everywhere(write_study, good_study):
    text = good_study.replace("cuda fp16i8 *20 -> cpu fp32", "cuda fp16i8 *20->cpu fp32 ")
    text = text.replace("reference: cpu fp32", "reference: 'cuda fp16i8 *20->cpu fp32'")
    text = text.replace("{model: made-up, ", "{model: made-up, strategy: ' cpu fp32', ")
    text += "include: [{model: tiny, strategy: 'cpu fp16->cpu bf16', workload: speed}]\n"
    text = text.replace(
        "exclude:\n",
        "exclude:\n  - {model: made-up, strategy: cuda fp16i8 *20->cpu fp32, workload: answers}\n",
    )

    study = load_study(write_study(text)).study

    assert study.strategies[1] == "cuda fp16i8 *20 -> cpu fp32"
    assert study.reference == study.strategies[1]
    assert study.include[0].strategy == "cpu fp16 -> cpu bf16"
    assert [one.strategy for one in study.exclude] == [study.strategies[1], "cpu fp32"]


def test_reference_is_the_first_strategy_unless_said(write_study, good_study):
    text = good_study.replace("reference: cpu fp32\n", "")
    text = text.replace("  - cpu fp32\n", "  - cpu bf16\n", 1)

    assert load_study(write_study(text)).study.reference == "cpu bf16"


def test_builtin_stands_for_weights_tokenizer_and_questions(write_study, good_study):
    text = good_study.replace("models/tiny.pth", "builtin:quickstart")
    text = text.replace("    tokenizer: models/tokenizer.json\n", "")
    text = text.replace("questions.txt", "builtin:quickstart")

    loaded = load_study(write_study(text))

    assert loaded.files["tiny"].weights == files.WEIGHTS
    assert loaded.files["tiny"].tokenizer == files.TOKENIZER
    assert loaded.questions == load_questions(files.QUESTIONS)


def test_identity_is_what_is_asked_not_where_files_lie(write_study, good_study, tmp_path):
    one = load_study(write_study())
    (tmp_path / "moved.txt").write_bytes((tmp_path / "questions.txt").read_bytes())
    elsewhere = (
        "# The same, written otherwise.\n"
        + good_study.replace("models/", "../elsewhere/").replace("questions.txt", "moved.txt")
        + "description: another word about it\n"
    ).replace("threads: 2", "threads:   2  # cores")

    same = load_study(write_study(elsewhere, "other.yaml"))
    (tmp_path / "moved.txt").write_text("How are you?\n", encoding="utf-8")
    other_questions = load_study(tmp_path / "other.yaml")
    other_threads = load_study(write_study(good_study.replace("threads: 2", "threads: 3")))

    assert same.sha256 == one.sha256
    assert same.questions_sha256 == one.questions_sha256
    assert len({one.sha256, other_questions.sha256, other_threads.sha256}) == 3
    assert other_questions.questions_sha256 != one.questions_sha256


def test_more_of_the_same_is_the_same_study(write_study, good_study):
    one = load_study(write_study())
    more = load_study(write_study(good_study.replace("trials: 2", "trials: 7")))
    longer = load_study(write_study(good_study + "limits: {trial_s: 9}\n"))
    other = load_study(write_study(good_study.replace("trials: 2", "trials: 2\n    passes: 9")))

    assert more.study.workloads.speed.trials == 7
    assert more.sha256 == longer.sha256 == one.sha256 != other.sha256


def test_text_is_what_was_written(write_study, good_study):
    assert load_study(write_study()).text == good_study


def test_yaml_anchors_and_merge_keys_work(write_study, good_study):
    text = good_study.replace("  tiny:", "  tiny: &base")
    text = text.replace("  made-up:", "  second:\n    <<: *base\n    seed: 7\n  made-up:")

    study = load_study(write_study(text)).study

    assert study.models["second"].weights == study.models["tiny"].weights
    assert (study.models["tiny"].seed, study.models["second"].seed) == (0, 7)


# -- whatever is written, the answer is a study or a StudyError ---------------------------------

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)
) | st.sampled_from(["cpu fp32", "random:3b", "torch", "speed", "tiny", "builtin:quickstart"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=6) | st.sampled_from(["model", "weights", "speed", "questions"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def places(value, above=()):
    yield above
    if isinstance(value, list):
        value = dict(enumerate(value))
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield from places(inner, (*above, key))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_value_anywhere_gives_a_study_or_a_study_error(data, write_study, good_study):
    study = yaml.safe_load(good_study)
    place = data.draw(st.sampled_from([one for one in places(study) if one]))
    holder = study
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = data.draw(VALUES)
    path = write_study(yaml.safe_dump(study, allow_unicode=True))

    problems = None
    try:
        load_study(path)
    except StudyError as error:
        problems = error.problems

    assert problems is None or problems
    assert all(one.startswith(str(path.parent)) for one in problems or ())


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_any_bytes_are_refused_with_a_study_error(data, write_study):
    path = write_study(data)

    with pytest.raises(StudyError):
        load_study(path)


def test_study_can_be_written_as_json(write_study, good_study):
    # YAML 1.2 holds JSON: what other programs write is read as well.
    text = json.dumps(yaml.safe_load(good_study), indent=1)

    assert load_study(write_study(text)).sha256 == load_study(write_study(name="a.yaml")).sha256
