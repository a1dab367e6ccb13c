"""What a plan knows of a model that a script of the fake engine stands for."""

import json

import pytest

from harness.config.load import load_study
from harness.plan.look import look

STUDY = """\
name: scripted
models: {m: {weights: script.yaml}}
engines: [fake]
strategies: [cpu fp32]
workloads: {speed: {prompt_tokens: 4, generate_tokens: 2, passes: 1, trials: 1}}
"""


@pytest.fixture
def shape_of(tmp_path):
    """The model's shape as the plan knows it, with these words for a script."""

    def found(words):
        (tmp_path / "script.yaml").write_text(words, encoding="utf-8")
        (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
        return look(load_study(tmp_path / "study.yaml")).shapes.get("m")

    return found


def test_its_vocabulary_is_known(shape_of):
    assert shape_of(json.dumps({"vocab": 5, "model": {"likely": 4}})).n_vocab == 5
    assert shape_of("model: {likely: 4}").n_vocab == 768


@pytest.mark.parametrize(
    "words", ["vocab: 5", "", "5", "[model]", "model: [", "{model: {}, vocab: many}"]
)
def test_a_script_without_a_model_has_no_shape(words, shape_of):
    assert shape_of(words) is None


def test_nor_has_one_that_is_not_there(shape_of, tmp_path):
    shape_of("model: {likely: 4}")
    (tmp_path / "script.yaml").unlink()
    assert look(load_study(tmp_path / "study.yaml")).shapes == {}
