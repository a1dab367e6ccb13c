"""The workload `quality`, the gate and the trials of answers in a study."""

import json

import pytest

from harness.config.load import load_study
from harness.config.quality_settings import QualityText
from harness.errors import StudyError
from harness.texts import BUILTIN_TEXTS


@pytest.fixture
def load(write_study):
    def load(*settings):
        return load_study(write_study(), settings)

    return load


def test_defaults(load):
    loaded = load("workloads.quality={}")

    assert loaded.study.workloads.quality == QualityText(
        text="builtin:prose", max_tokens=1024, answers=True, lambada=None
    )
    assert loaded.quality_text == BUILTIN_TEXTS["builtin:prose"].read_text("utf-8")
    assert loaded.study.workloads.names == ("speed", "answers", "quality")
    assert loaded.study.workloads.answers.trials == 2
    assert loaded.study.gate is True
    assert load().quality_text is None


def test_a_text_of_ones_own_is_beside_the_study(write_study, good_study, tmp_path):
    (tmp_path / "mine.txt").write_text("Grüße.", encoding="utf-8")
    more = "workloads:\n  quality: {text: mine.txt}\n"

    loaded = load_study(write_study(good_study.replace("workloads:\n", more)))

    assert loaded.quality_text == "Grüße."


@pytest.mark.parametrize(
    "value, words",
    [
        ("builtin:pros", ["'builtin:pros' does not exist. Did you mean 'builtin:prose'?"]),
        ("nowhere.txt", ["nowhere.txt: no such file"]),
        ("latin.txt", ["is not UTF-8"]),
        ("empty.txt", ["'empty.txt' holds no words"]),
        ("3", ["3 is not allowed; allowed: text"]),
    ],
)
def test_a_text_that_cannot_be_read(value, words, load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "empty.txt").write_text(" \n", encoding="utf-8")

    with pytest.raises(StudyError) as caught:
        load(f"workloads.quality.text={value}")

    [told] = caught.value.problems
    assert "workloads.quality.text: " in told
    assert all(word in told for word in words)


def test_the_same_text_elsewhere_is_the_same_study(load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in {"a": "One.", "b": "One.", "c": "Two."}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        line = json.dumps({"text": f"The word is {text}"})
        (tmp_path / f"{name}.jsonl").write_text(line, encoding="utf-8")

    def of(*settings):
        return load(*settings).sha256

    assert of("workloads.quality.text=a") == of("workloads.quality.text=b")
    assert of("workloads.quality.text=a") != of("workloads.quality.text=c")
    lambada = "workloads.quality.lambada"
    assert of(f"{lambada}=a.jsonl") == of(f"{lambada}=b.jsonl") != of(f"{lambada}=c.jsonl")
    assert of(f"{lambada}=hf://a/b/c") != of(f"{lambada}=hf://a/b/d")


def test_what_a_run_goes_on_with(load):
    assert load("workloads.answers.trials=5", "gate=true").sha256 == load().sha256
    assert load("gate=false").sha256 != load().sha256
    assert load("workloads.quality={}").sha256 != load().sha256


def test_studies_of_earlier_releases_keep_their_identity(load):
    """Runs that were recorded before these keys were there are gone on with."""
    assert load().sha256 == "19ed6acb7ba4c377dfc33db4d408d0f1ec42677557ea1f0ebeaeeff7791ce801"
