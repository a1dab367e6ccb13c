"""What killed processes left half written goes, and what others write meanwhile stays."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from harness.errors import RecordsError
from harness.records import writing
from harness.records.writing import put_whole, write_whole

WRITER = """
import os, sys, pathlib
from harness.records import writing
path = pathlib.Path(sys.argv[1])
sync = os.fsync
def wait(number):
    print(f".{path.name}.{os.getpid()}.0", flush=True)
    sys.stdin.read()
    sync(number)
os.fsync = wait
writing.put_whole(path, b"theirs")
"""


@pytest.fixture
def writer(tmp_path):
    """A process that has written all of a draft, and waits; and the name of the draft."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "a.bin")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        yield process, tmp_path / process.stdout.readline().strip()
        process.kill()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_draft_of_a_process_that_lives_stays(writer, tmp_path):
    process, draft = writer
    put_whole(tmp_path / "a.bin", b"ours")
    assert names(tmp_path) == sorted([draft.name, "a.bin"])
    process.communicate("", timeout=60)
    assert process.returncode == 0
    assert (tmp_path / "a.bin").read_bytes() == b"theirs"
    assert names(tmp_path) == ["a.bin"]


def test_the_draft_of_a_process_that_was_killed_goes(writer, tmp_path):
    process, draft = writer
    process.kill()
    process.wait()
    assert draft.exists()
    put_whole(tmp_path / "a.bin", b"ours")
    assert names(tmp_path) == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"ours"


def test_only_drafts_of_the_same_file_go(tmp_path):
    others = [".a.bin.tmp", ".a.bin.12.partial", ".b.bin.12", "a.bin.12", ".[a].12"]
    for name in [*others, ".a.bin.12", ".a.bin.12.3"]:
        (tmp_path / name).touch()
    put_whole(tmp_path / "a.bin", b"")
    assert names(tmp_path) == sorted(["a.bin", *others])
    put_whole(tmp_path / "[a]", b"")
    assert ".[a].12" not in names(tmp_path)


def test_a_draft_that_was_taken_for_left_is_begun_again(tmp_path, monkeypatch):
    real, taken = writing.fcntl.flock, []

    def flock(file, how):
        if not taken:
            taken.append(Path(file.name))
            Path(file.name).unlink()
        real(file, how)

    monkeypatch.setattr(writing.fcntl, "flock", flock)
    put_whole(tmp_path / "a.bin", b"ours")
    assert taken
    assert (tmp_path / "a.bin").read_bytes() == b"ours"


def test_a_file_system_without_locks_is_written_and_nothing_removed(tmp_path, monkeypatch):
    def flock(_file, _how):
        raise OSError(45, "Operation not supported")

    monkeypatch.setattr(writing.fcntl, "flock", flock)
    monkeypatch.setattr(writing, "_NUMBERS", count())
    (tmp_path / ".a.bin.12").touch()
    ours = f".a.bin.{os.getpid()}.0"  # of another machine, where a process has the same number
    (tmp_path / ours).touch()
    put_whole(tmp_path / "a.bin", b"ours")
    assert names(tmp_path) == sorted([".a.bin.12", "a.bin", ours])


def test_a_draft_of_that_name_that_another_machine_begins_meanwhile_stays(tmp_path, monkeypatch):
    real, begun = Path.replace, []

    def replace(draft, target):
        real(draft, target)
        draft.touch()
        begun.append(draft.name)

    monkeypatch.setattr(Path, "replace", replace)
    put_whole(tmp_path / "a.bin", b"ours")
    assert names(tmp_path) == sorted([*begun, "a.bin"])
    assert len(begun) == 1


def test_threads_write_the_same_file_at_once(tmp_path):
    contents = [bytes([n]) * 100_000 for n in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda data: put_whole(tmp_path / "a.bin", data), contents * 5))
    assert (tmp_path / "a.bin").read_bytes() in contents
    assert names(tmp_path) == ["a.bin"]


def test_a_file_that_is_in_the_way_is_an_error_and_leaves_no_draft(tmp_path):
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(RecordsError, match=r"a\.bin: cannot be written"):
        write_whole(tmp_path / "a.bin", b"ours")
    with pytest.raises(RecordsError, match=r"a\.bin: cannot be written"):
        write_whole(tmp_path / "nowhere" / "a.bin", b"ours")
    assert names(tmp_path) == ["a.bin"]
