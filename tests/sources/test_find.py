"""From what people write to a file."""

import os
from pathlib import Path

import pytest

from harness.errors import SourceError
from harness.quickstart import files
from harness.runtime.shape import RANDOM_SHAPES
from harness.sources import HubFile, Locked, find
from harness.sources.places import download_path
from harness.sources.reference import parse_remote

RAVEN = "RWKV-4-Raven-3B-v12-Eng98%-Other2%-20230520-ctx4096"
pytestmark = pytest.mark.usefixtures("home")


def touch(path):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def in_hub_cache(home, name, repo="owner/repo", commit="a" * 40, branch="main", content=b"x"):
    """Lay a file into the hub's cache as its library does."""
    folder = home / "hub-home/hub" / f"models--{repo.replace('/', '--')}"
    blob = folder / "blobs" / f"{len(content):064x}"
    for parent in (blob.parent, folder / "refs", (folder / "snapshots" / commit / name).parent):
        parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    if branch:
        (folder / "refs" / branch).write_text(commit)
    path = folder / "snapshots" / commit / name
    path.symlink_to(os.path.relpath(blob, path.parent))
    return path


# -- paths -------------------------------------------------------------------------------------


def test_a_path_is_seen_from_its_base(tmp_path):
    path = touch(tmp_path / "far/it's 98%.pth")
    (tmp_path / "study").mkdir()
    for text in ("../far/it's 98%.pth", "../far/it's 98%", str(path)):
        found = find(text, base=tmp_path / "study")
        assert (found.path, found.place) == (path, "path")


def test_a_suffix_is_only_left_out_where_that_is_clear(tmp_path):
    touch(tmp_path / "a.pth")
    touch(tmp_path / "a.safetensors")
    with pytest.raises(SourceError, match=r"more than one file(.|\n)*a\.pth\n.*a\.safetensors"):
        find("a", base=tmp_path)
    assert find("a.pth", base=tmp_path).path == tmp_path / "a.pth"


def test_a_link_and_its_target_are_one_file(tmp_path):
    touch(tmp_path / "a.pth")
    (tmp_path / "a.safetensors").symlink_to("a.pth")
    assert find("a", base=tmp_path).path.samefile(tmp_path / "a.pth")


def test_a_folder_of_that_name_is_no_model(tmp_path):
    (tmp_path / "raven").mkdir()
    named = touch("models/raven.pth")
    assert find("raven", base=tmp_path).path == named
    assert find("raven/", base=tmp_path).path is None


def test_a_path_wins_over_a_name(tmp_path):
    touch("models/tiny.pth")
    own = touch(tmp_path / "study/tiny.pth")
    assert find("tiny", base=own.parent).path == own


def test_a_path_that_leads_nowhere_is_where_it_will_lie(tmp_path):
    found = find("../models/a.pth", base=tmp_path / "study", source="hf://o/r/a.pth")
    assert (found.path, found.where) == (None, tmp_path / "models/a.pth")
    assert found.remote == HubFile(repo="o/r", file="a.pth")
    with pytest.raises(SourceError, match="there is no file"):
        found.need()


@pytest.mark.parametrize("text", ["", "a\0b", "builtin:other", "random:170m", "s3://a/b.pth"])
def test_what_cannot_be_understood_is_refused(text):
    with pytest.raises(SourceError):
        find(text)


def test_shipped_and_random():
    assert find("builtin:quickstart").path == files.WEIGHTS
    assert find("builtin:quickstart", kind="tokenizer").path == files.TOKENIZER
    found = find("random:3b")
    assert (found.random, found.path) == ("random:3b", None)
    with pytest.raises(SourceError, match="random:3b has no file"):
        found.need()


# -- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [RAVEN, RAVEN.lower(), "raven-3b", "Raven-3B-v12", f"{RAVEN}.pth"])
def test_a_name_is_looked_up(name):
    path = touch(f"models/{RAVEN}.pth")
    touch("models/RWKV-4-Raven-14B-v12.pth")
    found = find(name)
    assert (found.path, found.place) == (path, "./models")


@pytest.mark.parametrize("name", ["aven-3b", "3b-raven", "raven", "raven-3b.pth", "v1"])
def test_a_part_must_be_whole_words_of_one_name(name):
    touch("models/RWKV-4-Raven-3B-v12.pth")
    touch("models/RWKV-4-Raven-14B-v12.pth")
    if name == "raven":
        with pytest.raises(SourceError, match=r"more than one file(.|\n)*14B(.|\n)*3B"):
            find(name)
    else:
        assert find(name).path is None


def test_a_file_that_a_browser_saved_under_its_url_name_is_found():
    path = touch(f"models/{RAVEN.replace('%', '%25')}.pth")
    assert find(RAVEN).path == path


def test_places_are_searched_in_order(tmp_path, home, monkeypatch, settings):
    cached = in_hub_cache(home, "m.pth")
    assert find("m").path == cached
    own = touch("models/m.pth")
    assert find("m").path == own
    written = touch(tmp_path / "elsewhere.pth")
    settings("m: ../../elsewhere.pth\n")
    assert find("m").path == written
    first, second = touch(tmp_path / "one/m.pth"), touch(tmp_path / "two/m.pth")
    monkeypatch.setenv("HARNESS_MODELS", f"{tmp_path / 'one'}{os.pathsep}{tmp_path / 'two'}")
    with pytest.raises(SourceError, match="more than one file"):
        find("m")
    second.unlink()
    assert find("m").path == first


def test_the_exact_name_wins_over_a_part_of_an_earlier_one(home, monkeypatch, tmp_path):
    touch(tmp_path / "mine/big-m-v2.pth")
    monkeypatch.setenv("HARNESS_MODELS", str(tmp_path / "mine"))
    exact = touch("models/m.pth")
    assert find("m").path == exact


def test_a_file_of_the_hubs_cache_knows_where_it_is_from(home):
    path = in_hub_cache(home, "sub/w 98%.pth", branch=None)
    found = find("w 98%")
    assert (found.path, found.place) == (path, "hub cache")
    assert found.remote == HubFile(repo="owner/repo", file="sub/w 98%.pth", revision="a" * 40)


def test_two_revisions_of_the_cache_are_two_files(home):
    in_hub_cache(home, "w.pth", commit="a" * 40, content=b"one", branch=None)
    in_hub_cache(home, "w.pth", commit="b" * 40, content=b"other", branch=None)
    with pytest.raises(SourceError, match="more than one file"):
        find("w")
    assert find(f"hf://owner/repo/w.pth@{'b' * 40}").path.read_bytes() == b"other"


def test_a_broken_link_of_the_cache_is_no_file(home):
    path = in_hub_cache(home, "w.pth")
    path.resolve().unlink()
    assert find("hf://owner/repo/w.pth").path is None
    assert find("w").path is None


def test_nothing_found_says_where_and_what_is_near():
    touch("models/RWKV-4-Raven-3B-v12.pth")
    found = find("rwkv-4-raven-3b-v11")
    assert "$HARNESS_MODELS (not set)" in found.missing
    assert "Nearest: RWKV-4-Raven-3B-v12." in found.missing


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *((size, size) for size in RANDOM_SHAPES),
        ("7B", "7b"),
        ("1.5b", "1b5"),
        ("13b", "14b"),
        ("160M", "169m"),
        ("random-7b", "7b"),
        ("randon:7b", "7b"),
    ],
)
def test_a_name_that_is_nearly_a_size_leads_to_random_weights(name, size):
    missing = find(name).missing
    assert f" Do you mean random:{size} (random weights, for speed and memory)? See" in missing
    assert missing.endswith("See what is there: python -m harness models")


@pytest.mark.parametrize("name", ["5b", "0b", "70b", "1b", "90m"])
def test_a_name_that_is_another_size_is_told_the_sizes(name):
    said = " Random weights: random:SIZE, of 169m, 430m, 1b5, 3b, 7b or 14b. See what is there"
    assert said in find(name).missing


@pytest.mark.parametrize("size", ["1.5b3", "1.b", "b", "", "7b7b"])
def test_what_is_no_size_is_refused_as_one(size):
    with pytest.raises(SourceError, match=f"'{size}' is not a size of random weights"):
        find(f"random:{size}")


def test_only_names_that_are_sizes_are_told_of_random_weights():
    touch("models/RWKV-4-Pile-7B.pth")
    for name in ("raven-7b", "7", "7bb", "b", "v7b", "1.5b3", "1.5.1b", "9" * 9 + "b", "\u0667b"):
        assert "random" not in find(name).missing, name
    assert find("7b").path is not None
    assert "random" not in find("7b", kind="tokenizer").missing


def test_a_tokenizer_is_not_taken_from_any_model_of_the_hub(home):
    in_hub_cache(home, "tokenizer.json")
    assert find("tokenizer.json", kind="tokenizer").path is None


def test_a_name_with_a_source_lies_where_the_source_is_kept(home):
    source = "https://huggingface.co/owner/repo/blob/main/w.pth"
    assert find("raven-3b", source=source).path is None
    path = in_hub_cache(home, "w.pth")
    assert find("raven-3b", source=source).path == path


def test_a_file_of_that_name_from_elsewhere_is_not_what_the_source_had(home):
    source = "hf://owner/repo/w.pth"
    touch("models/mine.pth")
    by_hand = find("mine", source=source)
    assert (by_hand.remote.shown, by_hand.is_remotes) == (source, False)
    in_hub_cache(home, "w.pth")
    assert find("w", source=source).is_remotes
    assert not find("w", source="hf://another/repo/w.pth").is_remotes


# -- hubs and servers --------------------------------------------------------------------------


def test_a_hubs_file_is_found_in_its_cache(home):
    assert find("hf://owner/repo/w.pth").path is None
    path = in_hub_cache(home, "w.pth")
    for text in ("hf://owner/repo/w.pth", "https://hf.co/owner/repo/blob/main/w.pth"):
        assert find(text).path == path
    assert find("hf://owner/repo/w.pth@other").path is None


def test_the_lock_chooses_the_revision(home):
    old = in_hub_cache(home, "w.pth", commit="a" * 40, content=b"old", branch=None)
    in_hub_cache(home, "w.pth", commit="b" * 40, content=b"newer")
    lock = {"hf://owner/repo/w.pth": Locked(sha256=f"{3:064x}", size=3, revision="a" * 40)}
    found = find("hf://owner/repo/w.pth", lock=lock)
    assert (found.path, found.expected_sha256) == (old, f"{3:064x}")


def test_another_content_of_the_cache_is_not_the_one_that_is_locked(home):
    in_hub_cache(home, "w.pth", content=b"newer")
    lock = {"hf://owner/repo/w.pth": Locked(sha256=f"{3:064x}", size=3, revision="c" * 40)}
    assert find("hf://owner/repo/w.pth", lock=lock).path is None


def test_a_download_is_found_again():
    text = "https://example.org/a/w.pth?token=secret"
    assert find(text).path is None
    path = touch(download_path(parse_remote(text)))
    assert find(text).path == path
    assert find("w").path == path
    assert "secret" not in str(find(text))
    assert find("https://example.org/b/w.pth").path is None


# -- models.yaml -------------------------------------------------------------------------------


def test_the_users_names(settings, home, tmp_path):
    path = touch(home / "config/rwkv-harness/own.pth")
    settings(
        "\ufeffshort: own.pth\r\n"
        "long:\r\n"
        "  weights: own.pth\r\n"
        '  prompt: "Q: {question}"\r\n'
        "  tokenizer: t.json\r\n"
        f"  sha256: {'0' * 64}\r\n"
        "twice: long\r\n"
        "own: own\r\n"
        "made: random:3b\r\n"
        "far: hf://o/r/w.pth@v1\r\n"
    )
    assert find("short").path == path
    assert find("SHORT").path == path
    for name in ("long", "twice"):
        found = find(name)
        assert (found.path, found.sha256, found.place) == (path, "0" * 64, "models.yaml")
        assert found.entry.prompt == "Q: {question}"
    assert find("own").path == path
    assert find("made").random == "random:3b"
    assert find("far").remote.revision == "v1"


def test_names_that_go_in_a_circle_end(settings):
    settings("one: two\ntwo: one\n")
    assert find("one").path is None


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a:\r\n  weights: x.pth\r\n  wieghts: y\r\n", 3, "'wieghts' is no key; allowed: weights"),
        ("a:\n  tokenizer: x\n", 2, "'weights' is missing"),
        ("a: [x]\n", 1, "is no mapping"),
        ("- a\n", 1, "is no mapping"),
        ("a: x\na: y\n", 2, "given twice"),
        ("a: {weights: [x]}\n", 1, "a.weights: must be a text"),
        ("a:\n", 1, "must be a text"),
        ("a: {weights: x, sha256: abc}\n", 1, "'abc' is no sha256"),
        ("a: {b\n", 2, "not valid YAML"),
        ("a: *b\n", 1, "not valid YAML"),
    ],
)
def test_what_models_yaml_may_not_say(text, line, words, settings):
    path = settings(text)
    with pytest.raises(SourceError) as caught:
        find("anything")
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert words in str(caught.value)


def test_a_models_yaml_that_is_no_text(settings):
    path = settings(b"\xff\xfe")
    with pytest.raises(SourceError, match=f"{path}: cannot be read"):
        find("anything")
