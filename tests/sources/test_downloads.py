"""Files of servers that are no hub: broken off, changed, refused, moved."""

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest
from loopback_hub import Hub, sha256

from harness.errors import DownloadError, SourceError
from harness.sources import Locked, find, transfer
from harness.sources.exclusive import exclusively
from harness.sources.places import download_path
from harness.sources.pull import pull

CONTENT = bytes(range(256)) * 40_000  # 10 MB, so that it comes in several pieces
OTHER = CONTENT[::-1]
pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(transfer, "_pause", lambda _: None)


@pytest.fixture
def url(hub):
    hub.plain["/w 98%.pth"] = CONTENT
    return f"{hub.url}/w%2098%25.pth"


def files_below(folder):
    return sorted(path.name for path in Path(folder).rglob("*") if path.is_file())


def test_a_whole_file_lies_in_its_place(url, heard, home):
    pulled = pull(find(url), heard)
    assert pulled.path.read_bytes() == CONTENT
    assert pulled.path.name == "w 98%.pth"
    assert (pulled.sha256, pulled.size, pulled.fresh) == (sha256(CONTENT), len(CONTENT), True)
    assert pulled.locked == Locked(
        sha256=pulled.sha256, size=pulled.size, revision=f'"{pulled.sha256[:20]}"'
    )
    assert heard.begun[0] == ("Downloading", "w 98%.pth", None)
    assert heard.moves[-1] == (len(CONTENT), len(CONTENT))
    assert find(url).path == pulled.path
    assert files_below(home / "cache/downloads") == ["w 98%.pth"]


def test_a_name_as_long_as_a_file_system_takes(hub, heard):
    name = "ü" * 125 + ".pth"
    hub.plain[f"/{name}"] = CONTENT
    pulled = pull(find(f"{hub.url}/{'%C3%BC' * 125}.pth"), heard)
    assert pulled.path.name == name


def test_what_is_there_is_not_fetched_again(url, hub, heard):
    pull(find(url), heard)
    asked = len(hub.requests)
    again = pull(find(url), heard)
    assert (again.fresh, again.sha256) == (False, sha256(CONTENT))
    assert len(hub.requests) == asked


def test_a_download_that_breaks_off_goes_on(url, hub, heard):
    hub.breaks = [3_000_000, 4_000_000]
    assert pull(find(url), heard).path.read_bytes() == CONTENT
    ranges = [headers.get("Range") for _, _, headers in hub.requests]
    assert ranges == [None, "bytes=3000000-", "bytes=7000000-"]


@pytest.mark.parametrize("attribute", ["ranges", "etags"])
def test_a_server_that_cannot_go_on_begins_anew(attribute, url, hub, heard):
    setattr(hub, attribute, False)
    hub.breaks = [3_000_000]
    assert pull(find(url), heard).path.read_bytes() == CONTENT


def test_the_next_command_goes_on(url, hub, heard, home):
    hub.breaks = [1_000_000] + [0] * 9
    with pytest.raises(DownloadError, match=r"1000000 bytes are kept. Give the same command again"):
        pull(find(url), heard)
    assert find(url).path is None
    hub.breaks, hub.requests = [], []
    assert pull(find(url), heard).path.read_bytes() == CONTENT
    assert [headers.get("Range") for _, _, headers in hub.requests] == ["bytes=1000000-"]
    assert files_below(home / "cache/downloads") == ["w 98%.pth"]


def test_the_next_command_begins_anew_where_the_file_changed(url, hub, heard):
    hub.breaks = [1_000_000] + [0] * 9
    with pytest.raises(DownloadError):
        pull(find(url), heard)
    hub.breaks, hub.requests = [], []
    hub.plain["/w 98%.pth"] = OTHER
    assert pull(find(url), heard).path.read_bytes() == OTHER
    assert len(hub.requests) == 1  # the server was told what the rest must belong to


def test_a_file_that_changes_on_the_way_is_not_mixed(url, hub, heard, monkeypatch):
    hub.breaks = [1_000_000]
    monkeypatch.setattr(transfer, "_pause", lambda _: hub.plain.update({"/w 98%.pth": OTHER}))
    assert pull(find(url), heard).path.read_bytes() == OTHER


def test_an_interruption_keeps_what_came(url, heard, monkeypatch):
    def stop(done, _):
        if done > 2**21:
            raise KeyboardInterrupt

    monkeypatch.setattr(heard, "move", stop)
    with pytest.raises(KeyboardInterrupt):
        pull(find(url), heard)
    target = download_path(find(url).remote)
    (part,) = target.parent.glob(".*.part")
    kept = part.read_bytes()
    assert not target.exists()
    assert CONTENT.startswith(kept)
    assert len(kept) > 2**20


def test_two_pulls_of_one_file_wait_for_each_other(url, hub, heard, monkeypatch):
    found = find(url)
    target = download_path(found.remote)
    waiting, pulled = threading.Event(), []
    monkeypatch.setattr(heard, "begin", lambda what, *_: "Waiting" in what and waiting.set())
    other = threading.Thread(target=lambda: pulled.append(pull(found, heard)))
    with exclusively(target, lambda: None):
        other.start()
        assert waiting.wait(30)
        target.parent.mkdir(parents=True)
        target.write_bytes(CONTENT)
    other.join()
    assert pulled[0].fresh is False
    assert hub.requests == []


def test_a_file_that_somebody_put_there_meanwhile_is_not_replaced(url, heard, tmp_path):
    found = find("mine/w.pth", base=tmp_path, source=url, sha256=sha256(CONTENT))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/w.pth").write_bytes(b"mine")
    with pytest.raises(SourceError, match=r"w\.pth: has sha256"):
        pull(found, heard)
    assert (tmp_path / "mine/w.pth").read_bytes() == b"mine"


# -- hashes ------------------------------------------------------------------------------------


def test_a_wrong_hash_is_refused_and_nothing_is_left(url, heard, home):
    with pytest.raises(DownloadError, match=f"{sha256(CONTENT)}(.|\n)*{'0' * 64}") as caught:
        pull(find(url, sha256="0" * 64), heard)
    assert "nothing of what came was kept" in str(caught.value)
    assert files_below(home / "cache/downloads") == []


def test_a_later_change_is_refused_unless_it_is_wanted(url, hub, heard):
    first = pull(find(url), heard)
    lock = {find(url).remote.shown: first.locked}
    first.path.unlink()
    hub.plain["/w 98%.pth"] = OTHER
    with pytest.raises(DownloadError, match=r"lock says(.|\n)*pull STUDY --update"):
        pull(find(url, lock=lock), heard)
    assert find(url).path is None
    updated = pull(find(url, lock=lock), heard, update=True)
    assert updated.path.read_bytes() == OTHER
    assert updated.locked.sha256 == sha256(OTHER)


def test_another_size_than_the_locks_is_refused_at_once(url, hub, heard):
    lock = {find(url).remote.shown: Locked(sha256="0" * 64, size=28 * 2**30)}
    with pytest.raises(DownloadError, match=r"30064771072 were expected(.|\n)*--update"):
        pull(find(url, lock=lock), heard)
    assert heard.moves == []


def test_a_damaged_download_is_replaced(url, heard):
    first = pull(find(url), heard)
    first.path.write_bytes(CONTENT[:-1])
    lock = {find(url).remote.shown: first.locked}
    assert pull(find(url, lock=lock), heard).path.read_bytes() == CONTENT


def test_a_users_own_file_is_never_replaced(url, heard, tmp_path):
    (tmp_path / "w.pth").write_bytes(b"mine")
    found = find("w.pth", base=tmp_path, source=url, sha256=sha256(CONTENT))
    with pytest.raises(SourceError, match=r"w.pth: has sha256"):
        pull(found, heard)
    assert (tmp_path / "w.pth").read_bytes() == b"mine"


def test_a_path_with_a_source_is_where_the_file_goes(url, heard, tmp_path):
    found = find("models/w.pth", base=tmp_path, source=url)
    assert pull(found, heard).path == tmp_path / "models/w.pth"
    assert files_below(tmp_path / "models") == ["w.pth"]
    assert find("models/w", base=tmp_path, source=url).path.read_bytes() == CONTENT


def test_a_folder_may_be_named(url, heard, tmp_path):
    folder = tmp_path / "new folder"
    assert pull(find(url), heard, folder=folder).path == folder / "w 98%.pth"
    assert pull(find(url), heard, folder=folder).fresh is False
    other = pull(find(str(folder / "w 98%")), heard, folder=tmp_path / "second")
    assert other.path.read_bytes() == CONTENT


# -- what can go wrong -------------------------------------------------------------------------


def test_what_has_no_source_says_so(heard):
    with pytest.raises(SourceError, match="no file of that name"):
        pull(find("no-such"), heard)
    with pytest.raises(SourceError, match="nothing to pull"):
        pull(find("random:169m"), heard)


def test_a_web_page_is_no_file(url, hub, heard, home):
    hub.html = True
    with pytest.raises(DownloadError, match="a web page, not a file"):
        pull(find(url), heard)
    assert files_below(home / "cache/downloads") == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"  <!DOCTYPE html><p>Log in", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
    ],
)
def test_what_a_server_sends_instead_of_saying_no(content, words, hub, heard):
    hub.plain["/w.pth"] = content
    with pytest.raises(DownloadError, match=words):
        pull(find(f"{hub.url}/w.pth"), heard)
    assert find(f"{hub.url}/w.pth").path is None


def test_a_file_that_comes_compressed_is_not_taken_for_the_file(url, hub, heard):
    hub.more_headers = {"Content-Encoding": "gzip"}
    with pytest.raises(DownloadError, match="sends the file as gzip"):
        pull(find(url), heard)


def test_a_file_that_is_not_there(hub, heard):
    with pytest.raises(DownloadError, match=r"no such file \(HTTP 404\)"):
        pull(find(f"{hub.url}/none.pth"), heard)


def test_no_network(heard):
    hub = Hub()
    hub.close()
    with pytest.raises(DownloadError, match=r"127.0.0.1 cannot be reached"):
        pull(find(f"{hub.url}/w.pth"), heard)


def test_a_full_disk(url, heard, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DownloadError, match=r"the disk is full(.|\n)*--to"):
        pull(find(url), heard)
    assert heard.moves == []


def test_a_disk_that_fills_up_keeps_what_came(url, heard, monkeypatch):
    def full(done, _):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(heard, "move", full)
    with pytest.raises(DownloadError, match="What came is kept; make room"):
        pull(find(url), heard)
    assert find(url).path is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(url, heard, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(DownloadError, match="cannot be written"):
        pull(find(url), heard, folder=tmp_path / "locked")


def test_a_folder_that_is_a_file(url, heard, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="--to"):
        pull(find(url), heard, folder=tmp_path / "file")


# -- secrets -----------------------------------------------------------------------------------


def test_a_password_goes_to_its_server_and_nowhere_else(hub, heard, monkeypatch):
    hub.put("w.pth", CONTENT)
    login = hub.url.replace("//", "//me:p%40ss@")
    found = find(f"{login}/owner/repo/resolve/main/w.pth")
    pulled = pull(found, heard)
    assert pulled.path.read_bytes() == CONTENT
    (_, first, asked), (_, second, sent_on) = hub.requests
    assert "/resolve/" in first
    assert asked["Authorization"] == "Basic bWU6cEBzcw=="
    assert "/cdn/" in second
    assert "Authorization" not in sent_on
    for shown in (repr(found), repr(pulled), found.remote.shown, str(pulled.path)):
        assert "p%40ss" not in shown
        assert "me:" not in shown


def test_a_password_is_in_no_message(hub, heard):
    login = hub.url.replace("//", "//me:secret@")
    with pytest.raises(DownloadError) as caught:
        pull(find(f"{login}/none.pth"), heard)
    assert "secret" not in str(caught.value)
