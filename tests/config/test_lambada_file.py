"""The file of LAMBADA that a study names: its form, and what is said of another."""

import json

import pytest
import yaml

from harness.config.lambada_file import read_texts
from harness.config.load import load_study
from harness.errors import BadInput, StudyError
from harness.sources.lock import Locked, write_lock


def lines(*texts):
    return "".join(json.dumps({"text": text}) + "\n" for text in texts)


def test_texts_are_read_as_they_stand():
    content = lines("a b", "  c\nd  e", "f g ") + "\n" + json.dumps({"text": "ü ß", "more": 1})
    assert read_texts(content, "x.jsonl") == ["a b", "  c\nd  e", "f g", "ü ß"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "x.jsonl: the file has no line"),
        ("\n \n", "has no line"),
        (lines("a b") + "rubbish", "x.jsonl:2: not a line of LAMBADA"),
        ("[1]", "x.jsonl:1: not a line"),
        ("7", "x.jsonl:1: not a line"),
        ('{"words": "a b"}', "x.jsonl:1: not a line"),
        ('{"text": 7}', "x.jsonl:1: the text has no last word"),
        (lines("a b", "word"), "x.jsonl:2: the text has no last word"),
        (lines("word "), "no last word"),
        (lines(" word"), "no last word"),
        ("[" * 100_000, "x.jsonl:1: not a line"),
        (r'{"text": "a \ud800"}', "x.jsonl:1: the text has half of a surrogate pair"),
    ],
)
def test_another_file_is_refused_with_its_line(content, words):
    with pytest.raises(BadInput, match=words):
        read_texts(content, "x.jsonl")


@pytest.fixture
def load(tmp_path):
    """Load a study whose quality says this, beside a file of LAMBADA with that content."""

    def load(content=None, *, settings=(), to_pull=False, **quality):
        if content is not None:
            content = content.encode() if isinstance(content, str) else content
            (tmp_path / "words.jsonl").write_bytes(content)
        document = {
            "name": "words",
            "models": {"m": {"weights": "builtin:quickstart"}},
            "strategies": ["cpu fp32"],
            "workloads": {"quality": {"lambada": "words.jsonl", **quality}},
        }
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        return load_study(tmp_path / "study.yaml", settings, to_pull=to_pull)

    return load


def test_its_documents_are_counted_as_it_is_looked_into(load):
    assert load(lambada=None).lambada_documents is None
    assert load().lambada_documents == 0
    assert load(lines("a b", "c d", "e f"), lambada_documents=2).lambada_documents == 3
    assert load(to_pull=True).lambada_documents is None


def test_a_good_file_and_one_that_is_missing_are_no_problem(load):
    assert load().lambada.path is None
    assert load(lines("a b", "c d")).lambada.path is not None
    assert load(b"\xef\xbb\xbf" + lines("a b").replace("\n", "\r\n").encode()).lambada is not None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("rubbish", "words.jsonl:1: not a line of LAMBADA"),
        (lines("a b", "word"), "words.jsonl:2: the text has no last word"),
        ("", "words.jsonl: the file has no line"),
        (b'{"text": "caf\xe9 b"}', "words.jsonl:1: byte 0xe9 is not UTF-8"),
    ],
)
def test_another_file_is_refused_as_the_study_is_loaded(content, words, load):
    with pytest.raises(StudyError) as caught:
        load(content)
    [told] = caught.value.problems
    assert f"workloads.quality.lambada: {words}" in told
    assert load(content, to_pull=True).lambada.path is not None


def test_weights_by_mistake_are_not_read(load, tmp_path, monkeypatch):
    with (tmp_path / "w.pth").open("wb") as file:
        file.truncate(2**30)
    monkeypatch.setattr("harness.config.lambada_file.file_sha256", None)
    with pytest.raises(StudyError, match=r"w.pth has 1074 MB: it is no file of LAMBADA"):
        load(lambada="w.pth")


def test_a_folder_is_no_file(load):
    with pytest.raises(StudyError, match=r"lambada: '\.' is a folder. Name a file in it"):
        load(lambada=".")
    assert load(lambada="n" * 300).lambada.path is None  # what that is, the plan says


def test_what_cannot_be_read_says_why(load, tmp_path, monkeypatch):
    def refusing(path, on_bytes=None):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("harness.config.lambada_file.file_sha256", refusing)
    with pytest.raises(StudyError) as caught:
        load(lines("a b"))
    [told] = caught.value.problems
    assert told.endswith("lambada: words.jsonl cannot be read (Permission denied)")


def test_what_the_lock_says_is_held_before_anything_is_measured(load, tmp_path, monkeypatch):
    hub = "hf://owner/words/test.jsonl"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    path = tmp_path / "hub/hub/models--owner--words/snapshots/main/test.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(lines("a b"), encoding="utf-8")
    assert load(lambada=hub).lambada.path == path
    write_lock(tmp_path / "study.yaml", {hub: Locked(sha256="0" * 64, size=1)})
    with pytest.raises(StudyError, match="the study's lock says 0000"):
        load(lambada=hub)
    assert load(lambada=hub, to_pull=True).lambada.path == path


def test_a_damaged_file_of_the_hubs_cache_is_noticed_before_anything_is_measured(
    load, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    folder = tmp_path / "hub/hub/models--owner--words"
    for name in ("blobs", "snapshots/main"):
        (folder / name).mkdir(parents=True)
    (folder / "blobs" / ("0" * 64)).write_text(lines("a b"), encoding="utf-8")
    (folder / "snapshots/main/test.jsonl").symlink_to(folder / "blobs" / ("0" * 64))
    words = r"test\.jsonl has sha256 .* it is damaged\. Get it again: python -m harness pull STUDY"
    with pytest.raises(StudyError, match=words):
        load(lambada="hf://owner/words/test.jsonl")


@pytest.mark.parametrize(
    ("quality", "words"),
    [
        ({"lambada": "random:169m"}, "quality.lambada: 'random:169m' is weights, and LAMBADA is"),
        ({"lambada": "Random:1b5"}, "'Random:1b5' is weights"),
        (
            {"lambada": None, "lambada_documents": 500},
            "quality.lambada_documents: 500 says nothing without a file: name it as 'lambada:'",
        ),
    ],
)
def test_what_is_no_file_is_refused(quality, words, load):
    with pytest.raises(StudyError) as caught:
        load(**quality)
    [told] = caught.value.problems
    assert words in told


def test_a_number_without_a_file_stays_a_slip_whatever_is_set(load):
    with pytest.raises(StudyError, match="lambada_documents: 500 says nothing"):
        load(lambada=None, lambada_documents=500, settings=["seed=3"])


def test_a_number_of_documents_goes_with_the_file(load, tmp_path):
    path = load(lines("a b"), lambada_documents=5).path
    assert (
        load_study(path, ["workloads.quality.lambada=null"]).study.workloads.quality.lambada is None
    )
    child = tmp_path / "child.yaml"
    child.write_text("extends: study.yaml\nworkloads: {quality: {lambada: null}}\n", "utf-8")
    loaded = load_study(child)
    assert loaded.study.workloads.quality.lambada_documents is None
    assert load_study(child, ["workloads.quality.lambada=words.jsonl"]).lambada is not None
    with pytest.raises(StudyError, match="lambada_documents: 7 says nothing without a file"):
        load_study(
            path, ["workloads.quality.lambada=null", "workloads.quality.lambada_documents=7"]
        )
    own = "extends: study.yaml\nworkloads: {quality: {lambada: null, lambada_documents: 5}}\n"
    child.write_text(own, "utf-8")
    with pytest.raises(StudyError, match="lambada_documents: 5 says nothing"):
        load_study(child)


def test_a_tokenizer_is_no_random_weights_either(load):
    with pytest.raises(StudyError, match="tokenizer: 'random:169m' is weights, and no tokenizer"):
        load(lines("a b"), settings=["models.m.tokenizer=random:169m"])
