"""Where the files of a study's models lie: names, tokenizers by vocabulary, the lock."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from harness.config.load import load_study
from harness.config.model_files import tokenizer_of
from harness.errors import StudyError
from harness.language.discover import PILE_VOCAB
from harness.runtime.shape import ModelShape, original_tensors
from harness.sources import Locked, find
from harness.sources.lock import lock_path, write_lock
from harness.sources.places import download_path

TOKENIZER = "    tokenizer: models/tokenizer.json\n"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub-home"))
    monkeypatch.delenv("HARNESS_MODELS", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def weights(tmp_path):
    """Write weights with a vocabulary of a size."""

    def write(n_vocab, name="models/tiny.pth"):
        path = (tmp_path / name).with_suffix(".safetensors")
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = ModelShape(n_layer=1, n_embd=2, n_vocab=n_vocab, dim_ffn=8)
        tensors = {
            name: np.zeros(size, np.float16) for name, size in original_tensors(shape).items()
        }
        save_file(tensors, str(path))
        return path

    return write


@pytest.fixture
def load(write_study, good_study):
    def load(*changes):
        text = good_study.replace("tiny.pth", "tiny.safetensors")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        return load_study(write_study(text))

    return load


def test_the_tokenizer_beside_the_weights_is_found_by_the_vocabularys_size(load, weights):
    path = weights(PILE_VOCAB)
    wanted = load((TOKENIZER, "")).files["tiny"]
    assert wanted.found_tokenizer.path is None
    assert wanted.found_tokenizer.remote.name == "20B_tokenizer.json"
    assert wanted.tokenizer.name == "20B_tokenizer.json"
    beside = path.with_name("20B_tokenizer.json")
    beside.touch()
    assert load((TOKENIZER, "")).files["tiny"].tokenizer == beside


def test_a_tokenizer_where_models_are_is_found_too(load, weights, tmp_path, monkeypatch):
    weights(PILE_VOCAB)
    mine = tmp_path / "mine/20B_tokenizer.json"
    mine.parent.mkdir()
    mine.touch()
    monkeypatch.setenv("HARNESS_MODELS", str(mine.parent))
    assert load((TOKENIZER, "")).files["tiny"].tokenizer == mine


def test_a_tokenizer_that_was_pulled_is_held_to_the_lock(load, weights, tmp_path):
    weights(PILE_VOCAB)
    remote = load((TOKENIZER, "")).files["tiny"].found_tokenizer.remote
    locked = Locked(sha256="1" * 64, size=7)
    write_lock(tmp_path / "study.yaml", {remote.shown: locked})
    download_path(remote).parent.mkdir(parents=True)
    download_path(remote).touch()
    found = load((TOKENIZER, "")).files["tiny"].found_tokenizer
    assert (found.path, found.locked) == (download_path(remote), locked)


def test_what_cannot_be_known_yet_is_no_error(load, weights):
    assert "once the weights are here" in load((TOKENIZER, "")).files["tiny"].no_tokenizer
    weights(64)
    assert "vocabulary of 64" in load((TOKENIZER, "")).files["tiny"].no_tokenizer


def test_a_hash_of_the_tokenizer_counts_for_one_that_nobody_named(load, weights):
    weights(PILE_VOCAB)
    hashed = ("    weights: models", f"    tokenizer_sha256: {'a' * 64}\n    weights: models")
    assert load((TOKENIZER, ""), hashed).files["tiny"].found_tokenizer.sha256 == "a" * 64


def test_models_that_do_not_answer_want_none(load, weights):
    weights(PILE_VOCAB)
    loaded = load(
        (TOKENIZER, ""),
        ("exclude:\n", "exclude:\n  - {model: tiny, workload: answers}\n"),
    )
    assert loaded.files["tiny"].found_tokenizer is None
    assert loaded.files["tiny"].no_tokenizer is None


def test_a_name_of_the_user_brings_tokenizer_and_prompt(load, weights, tmp_path):
    path = weights(64, "elsewhere/w.pth")
    folder = tmp_path / "config/rwkv-harness"
    folder.mkdir(parents=True)
    (folder / "models.yaml").write_text(
        f"mine:\n  weights: {path}\n  tokenizer: t.json\n  prompt: 'User: {{question}}'\n"
        "big: random:14b\n"
    )
    named = ("models/tiny.safetensors", "mine")
    plain = ('    prompt: "Q: {question}\\nA:"\n', "")
    loaded = load(named, (TOKENIZER, ""), plain, ("random:169m", "big"))
    assert loaded.files["tiny"].weights == path
    assert loaded.files["tiny"].tokenizer == folder / "t.json"
    assert loaded.files["tiny"].prompt == "User: {question}"
    assert loaded.study.models["tiny"].prompt == "User: {question}"
    assert loaded.files["made-up"].weights == loaded.study.models["made-up"].weights == "random:14b"
    # What the study says itself counts.
    loaded = load(named)
    assert loaded.files["tiny"].tokenizer == tmp_path / "models/tokenizer.json"
    assert loaded.files["tiny"].prompt == "Q: {question}\nA:"


def test_the_identity_of_a_study_is_not_where_its_weights_come_from(load, weights):
    weights(64)
    same = load().sha256
    pinned = f"    weights: hf://o/r/w.pth\n    sha256: {'a' * 64}\n    source: https://e.org/x.pth"
    assert load(("    weights: models/tiny.safetensors", pinned)).sha256 == same


def test_a_name_that_means_two_files_is_a_problem_of_its_line(load, weights):
    weights(64)
    weights(64, "models/tiny.other.pth").rename("../models/tiny.pth")
    with pytest.raises(
        StudyError, match=r"study.yaml:4: models.tiny.weights: .*more than one file"
    ):
        load(("tiny.safetensors", "tiny"))


def test_a_lock_that_is_none_is_a_problem(load, tmp_path):
    lock_path(tmp_path / "study.yaml").write_text("{")
    with pytest.raises(StudyError, match=r"study\.lock\.json: is no lock"):
        load()


def test_the_lock_says_what_the_content_must_be(load, tmp_path):
    locked = Locked(sha256="1" * 64, size=7, revision="c")
    write_lock(tmp_path / "study.yaml", {"hf://o/r/w.pth": locked})
    page = "https://huggingface.co/o/r/blob/main/w.pth"
    found = load(("models/tiny.safetensors", page)).files["tiny"].found
    assert found.locked == locked


def test_the_tokenizer_of_a_model_outside_of_studies(weights):
    path = weights(PILE_VOCAB)
    path.with_name("20B_tokenizer.json").touch()
    found, why = tokenizer_of(find(str(path)))
    assert (found.path, why) == (path.with_name("20B_tokenizer.json"), None)
    assert tokenizer_of(find("random:169m"))[0] is None
    assert tokenizer_of(find("builtin:quickstart"))[0].path.name == "tokenizer.json"
