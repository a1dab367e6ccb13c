"""What a text says of where a file comes from."""

import pytest

from harness.errors import SourceError
from harness.sources import HubFile, UrlFile, parse_remote
from harness.sources.reference import without_secrets

RAVEN = HubFile(repo="BlinkDL/rwkv-4-raven", file="R-Eng98%-Other2%.pth")
SAME_FILE = [
    "hf://BlinkDL/rwkv-4-raven/R-Eng98%-Other2%.pth",
    "hf://BlinkDL/rwkv-4-raven/R-Eng98%-Other2%.pth@main",
    "hf://BlinkDL/rwkv-4-raven/R-Eng98%25-Other2%25.pth",
    "https://huggingface.co/BlinkDL/rwkv-4-raven/resolve/main/R-Eng98%25-Other2%25.pth",
    "https://huggingface.co/BlinkDL/rwkv-4-raven/blob/main/R-Eng98%25-Other2%25.pth",
    "https://huggingface.co/BlinkDL/rwkv-4-raven/blob/main/R-Eng98%25-Other2%25.pth?download=true",
    "https://HuggingFace.co/BlinkDL/rwkv-4-raven/raw/main/R-Eng98%25-Other2%25.pth#top",
    "https://hf.co/BlinkDL/rwkv-4-raven/resolve/main/R-Eng98%25-Other2%25.pth",
]


@pytest.mark.parametrize("text", SAME_FILE)
def test_all_spellings_of_a_hubs_file_are_one(text):
    assert parse_remote(text) == RAVEN
    assert parse_remote(RAVEN.shown) == RAVEN
    assert parse_remote(RAVEN.url) == RAVEN


@pytest.mark.parametrize(
    ("text", "file", "revision"),
    [
        ("hf://o/r/a/b c.pth@v1.0", "a/b c.pth", "v1.0"),
        ("hf://o/r/ü.pth@refs/pr/1", "ü.pth", "refs/pr/1"),
        ("https://hf.co/o/r/blob/refs%2Fpr%2F1/%C3%BC.pth", "ü.pth", "refs/pr/1"),
        ("hf://o/r/it's 100%.pth", "it's 100%.pth", "main"),
    ],
)
def test_files_and_revisions_of_a_hub(text, file, revision):
    found = parse_remote(text)
    assert found == HubFile(repo="o/r", file=file, revision=revision)
    assert parse_remote(found.shown) == found
    assert parse_remote(found.url) == found


def test_a_mirror_is_a_hub(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example:8080/")
    found = parse_remote("https://mirror.example:8080/o/r/blob/main/a.pth")
    assert found == HubFile(repo="o/r", file="a.pth")
    assert found.url == "https://mirror.example:8080/o/r/resolve/main/a.pth"


@pytest.mark.parametrize(
    ("text", "name", "shown"),
    [
        ("https://e.org/a/98%25.pth", "98%.pth", "https://e.org/a/98%25.pth"),
        ("HTTP://e.org/x.pth#part", "x.pth", "http://e.org/x.pth"),
        ("https://me:pw@e.org/x.pth", "x.pth", "https://e.org/x.pth"),
        (
            "https://e.org/x.pth?v=2&X-Amz-Signature=abc",
            "x.pth",
            "https://e.org/x.pth?v=2&X-Amz-Signature=***",
        ),
        (
            "https://github.com/o/r/blob/main/20B_tokenizer.json",
            "20B_tokenizer.json",
            "https://github.com/o/r/raw/main/20B_tokenizer.json",
        ),
        (
            "https://huggingface.co/datasets/o/r/blob/main/x.pth",
            "x.pth",
            "https://huggingface.co/datasets/o/r/resolve/main/x.pth",
        ),
    ],
)
def test_files_of_other_servers(text, name, shown):
    found = parse_remote(text)
    assert isinstance(found, UrlFile)
    assert (found.name, found.shown) == (name, shown)
    assert without_secrets(text) == shown


@pytest.mark.parametrize("text", ["a.pth", "../a.pth", "raven-3b", "C:/a.pth", "~/x", "a://"])
def test_paths_and_names_are_no_remote(text):
    if "://" in text:
        with pytest.raises(SourceError, match="hf://, https://"):
            parse_remote(text)
    else:
        assert parse_remote(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "hf://o/r",
        "hf://o/r/",
        "hf://o/r/a.pth@",
        "hf://o/../a.pth",
        "hf://o/r/../../a.pth",
        "hf://o/r/a//b.pth",
        "hf://o/r/a.pth@../x",
        "hf://o/r/a\\..\\b.pth",
        "hf://../r/a.pth",
        "hf://o--x/r/a.pth",
        "https://huggingface.co/o/r",
        "https://huggingface.co/o/r/tree/main",
        "https://huggingface.co/o/r/resolve/main/..%2F..%2Fetc",
        "https://e.org/",
        "https://e.org/a%2Fb",
        "https://e.org/..%2f",
        "https:///x.pth",
        "https://e.org:port/x.pth",
        "https://e.org/98%-x.pth",
    ],
)
def test_what_names_no_file_is_refused(text):
    with pytest.raises(SourceError) as caught:
        parse_remote(text)
    assert len(str(caught.value)) > len(text) > 0


def test_no_message_shows_a_password():
    for text in ("https://me:pw@e.org/98%-x.pth", "https://me:pw@huggingface.co/o/r"):
        with pytest.raises(SourceError) as caught:
            parse_remote(text)
        assert "pw" not in str(caught.value)
        assert "pw" not in without_secrets(text)
