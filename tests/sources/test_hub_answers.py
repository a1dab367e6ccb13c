"""What a hub says becomes names of files: it is only believed where it can be one."""

from types import SimpleNamespace

import pytest

from harness.errors import DownloadError
from harness.sources import HubFile, hub

FILE = HubFile(repo="o/r", file="w.pth")


@pytest.fixture
def answer(monkeypatch):
    def says(commit, etag):
        library = SimpleNamespace(
            get_hf_file_metadata=lambda url, token: SimpleNamespace(
                commit_hash=commit, etag=etag, size=1
            ),
            utils=SimpleNamespace(build_hf_headers=lambda token: {}),
        )
        monkeypatch.setattr(hub, "_library", lambda: library)

    return says


def test_a_sha256_is_known_from_its_length(answer):
    answer("c" * 40, "a" * 64)
    assert hub.ask_hub(FILE).sha256 == "a" * 64
    answer("c" * 40, "a" * 40)
    assert hub.ask_hub(FILE).sha256 is None


@pytest.mark.parametrize(
    ("commit", "etag"),
    [(None, "a" * 64), ("c" * 40, None), ("c" * 40, "../../x"), ("..", "a"), ("c", "a/b")],
)
def test_what_leads_elsewhere_is_no_answer_of_a_hub(commit, etag, answer):
    answer(commit, etag)
    with pytest.raises(DownloadError, match="not as a hub does"):
        hub.ask_hub(FILE)
