"""Hashes that are computed once, and the lock beside a study."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.errors import SourceError
from harness.folders import cache_folder
from harness.sources import Locked, file_sha256
from harness.sources.hashes import known_sha256
from harness.sources.lock import lock_path, read_lock, write_lock

A, B = "a" * 64, "b" * 64
pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def settled(tmp_path):
    """A file that nobody has written to for a while."""

    def write(content, name="w.pth", age_s=60):
        path = tmp_path / name
        path.write_bytes(content)
        then = path.stat().st_mtime - age_s
        os.utime(path, (then, then))
        return path

    return write


def read_bytes(path):
    """How many bytes had to be read for the hash of a file."""
    seen = []
    digest = file_sha256(path, lambda done, _: seen.append(done))
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    return seen[-1] if seen else 0


def test_a_hash_is_computed_once_wherever_the_file_is_moved(settled, tmp_path):
    path = settled(b"content")
    assert read_bytes(path) == 7
    assert read_bytes(path) == 0
    (tmp_path / "link").symlink_to(path)
    assert read_bytes(tmp_path / "link") == 0
    moved = path.rename(tmp_path / "moved.pth")
    assert read_bytes(moved) == 0


def test_a_hash_that_is_known_is_told_without_reading(settled, tmp_path):
    path = settled(b"content")
    assert known_sha256(path) is None
    assert known_sha256(path) is None  # asking did not read it either
    assert known_sha256(tmp_path / "nowhere") is None
    digest = file_sha256(path)
    assert known_sha256(path) == digest
    assert known_sha256(settled(b"CONTENT", age_s=50)) is None


def test_another_content_is_read_again(settled):
    assert read_bytes(settled(b"content")) == 7
    assert read_bytes(settled(b"CONTENT", age_s=50)) == 7
    assert read_bytes(settled(b"longer content", age_s=50)) == 14


def test_a_file_that_changes_while_it_is_read_is_not_remembered(settled):
    path = settled(b"content")

    def change(_done, _total):
        settled(b"CONTENT", age_s=50)

    file_sha256(path, change)
    assert read_bytes(path) == 7


def test_a_file_that_was_just_written_is_not_remembered(settled):
    """Within a tick of the file system's clock, two contents have one time of change."""
    path = settled(b"content", age_s=0)
    tick = path.stat().st_mtime_ns
    assert read_bytes(path) == 7
    path.write_bytes(b"CONTENT")
    os.utime(path, ns=(tick, tick))
    assert read_bytes(path) == 7


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff", b'{"size":7,"mtime_ns":1,"sha256":"x"}'])
def test_a_damaged_memory_costs_time_only(damage, settled):
    path = settled(b"content")
    read_bytes(path)
    (memory,) = (cache_folder() / "hashes").iterdir()
    memory.write_bytes(damage)
    assert read_bytes(path) == 7
    assert read_bytes(path) == 0


def test_a_wrong_hash_of_the_right_file_is_not_believed_if_it_is_none(settled):
    path = settled(b"content")
    read_bytes(path)
    (memory,) = (cache_folder() / "hashes").iterdir()
    memory.write_bytes(memory.read_bytes().replace(b'"sha256":"', b'"sha256":"Z'))
    assert read_bytes(path) == 7


def test_a_memory_that_cannot_be_written_costs_time_only(settled, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file"))
    path = settled(b"content")
    assert read_bytes(path) == 7
    assert read_bytes(path) == 7


def test_many_at_once(settled):
    paths = [settled(bytes([n]) * 99, name=f"{n}.pth") for n in range(8)] * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(file_sha256, paths))
    assert found == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


# -- locks -------------------------------------------------------------------------------------


def test_a_lock_is_the_same_text_for_the_same_content(tmp_path):
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    x, y = Locked(sha256=A, size=28 * 2**30, revision="c1"), Locked(sha256=B, size=0)
    assert read_lock(one) == {}
    assert write_lock(one, {"hf://o/r/ü 98%.pth": x, "https://e.org/y": y})
    assert write_lock(other, {"https://e.org/y": y})
    assert write_lock(other, {"hf://o/r/ü 98%.pth": x})
    assert lock_path(one).read_bytes() == lock_path(other).read_bytes()
    assert read_lock(one) == {"hf://o/r/ü 98%.pth": x, "https://e.org/y": y}
    assert lock_path(one).name == "one.lock.json"
    assert str(tmp_path) not in lock_path(one).read_text("utf-8")


def test_nothing_new_is_not_written(tmp_path):
    study = tmp_path / "s.yaml"
    write_lock(study, {"https://e.org/y": Locked(sha256=A, size=1)})
    before = lock_path(study).stat().st_ino
    assert not write_lock(study, {"https://e.org/y": Locked(sha256=A, size=1)})
    assert lock_path(study).stat().st_ino == before
    assert write_lock(study, {"https://e.org/y": Locked(sha256=B, size=1)})
    assert [path.name for path in tmp_path.glob("*lock*")] == ["s.lock.json"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no lock"),
        ("{}", "is no lock"),
        ('{"schema": 1, "files": {"x": {"sha256": "abc", "size": 1}}}', "of x is no sha256"),
        ('{"schema": 1, "files": {"x": {"size": 1}}}', "is no lock"),
        ('{"schema": 2, "files": {}}', "schema 2"),
        ("\udcff", "is no lock"),
    ],
)
def test_a_lock_that_is_none_is_refused(text, words, tmp_path):
    study = tmp_path / "s.yaml"
    lock_path(study).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SourceError) as caught:
        read_lock(study)
    assert str(caught.value).startswith(str(lock_path(study)))
    assert words in str(caught.value)
