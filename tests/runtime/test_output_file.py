"""Files that take their place whole: also under two writers, and where there are no locks."""

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.runtime import output_file
from harness.runtime.output_file import hidden, replacing, written_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_place_only_when_it_is_on_the_disk(tmp_path, monkeypatch):
    out, events = tmp_path / "out", []
    real = os.fsync

    def fsync(number):
        events.append((os.fstat(number).st_size, out.exists()))
        real(number)

    monkeypatch.setattr(output_file.os, "fsync", fsync)
    with replacing(out, 4) as file:
        file.write(b"1234")
        assert not out.exists()
    assert events == [(4, False)]
    assert out.read_bytes() == b"1234"


def test_a_reader_of_the_old_file_keeps_it(tmp_path):
    out = tmp_path / "out"
    out.write_bytes(b"old")
    with out.open("rb") as reader:
        with replacing(out, 3) as file:
            file.write(b"new")
        assert reader.read() == b"old"
    assert out.read_bytes() == b"new"


def test_what_a_killed_process_left_is_removed_and_what_is_being_written_is_not(tmp_path):
    out = tmp_path / "model[1].pth"
    dead = tmp_path / f".{out.name}.99999.partial"
    alive = tmp_path / f".{out.name}.99998.partial"
    other = tmp_path / ".model1.pth.99999.partial"
    for path in (dead, alive, other):
        path.write_bytes(b"half")
    with alive.open("ab") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        with replacing(out, 4) as file:
            file.write(b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {out.name, alive.name, other.name}
    assert out.read_bytes() == b"whole"


def test_a_leftover_of_this_process_and_one_of_former_releases_go(tmp_path):
    for name in (f".out.{os.getpid()}.7.partial", ".out.99.partial"):
        (tmp_path / name).write_bytes(b"half")
    with written_whole(tmp_path / "out") as file:
        file.write(b"whole")
    assert names(tmp_path) == ["out"]


def test_a_name_may_be_as_long_as_a_file_system_takes(tmp_path):
    out = tmp_path / ("ü" * 127)
    hidden(out, ".99.0.partial").write_bytes(b"half")
    with written_whole(out) as file:
        file.write(b"whole")
    assert names(tmp_path) == [out.name]


def test_threads_write_the_same_file_at_once(tmp_path):
    contents = [bytes([n]) * 100_000 for n in range(8)]

    def write(data):
        with written_whole(tmp_path / "out") as file:
            file.write(data)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, contents * 5))
    assert (tmp_path / "out").read_bytes() in contents
    assert names(tmp_path) == ["out"]


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    out = tmp_path / "out"
    with written_whole(out) as slow:
        slow.write(b"the first")
        with written_whole(out) as file:
            file.write(b"the second")
        assert out.read_bytes() == b"the second"
    assert out.read_bytes() == b"the first"


def test_one_that_is_taken_for_a_leftover_before_it_is_locked_is_begun_again(tmp_path, monkeypatch):
    real, taken = fcntl.flock, []

    def flock(file, how):
        if not taken:
            taken.append(Path(file.name))
            Path(file.name).unlink()
        real(file, how)

    monkeypatch.setattr(output_file.fcntl, "flock", flock)
    with written_whole(tmp_path / "out") as file:
        file.write(b"whole")
    assert taken
    assert (tmp_path / "out").read_bytes() == b"whole"


def test_a_file_system_without_locks_is_written_too(tmp_path, monkeypatch):
    def flock(_file, _how):
        raise OSError(45, "Operation not supported")

    monkeypatch.setattr(output_file.fcntl, "flock", flock)
    (tmp_path / ".out.12.partial").touch()  # somebody may be writing it
    with replacing(tmp_path / "out", 5) as file:
        file.write(b"whole")
    assert names(tmp_path) == [".out.12.partial", "out"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_is_not_finished_leaves_what_was_there(error, tmp_path):
    out = tmp_path / "out"
    out.write_bytes(b"old")
    with suppress(KeyboardInterrupt, OSError), written_whole(out) as file:
        file.write(b"new")
        raise error
    assert names(tmp_path) == ["out"]
    assert out.read_bytes() == b"old"


def test_where_there_is_no_room_it_says_how_much_is_wanted(tmp_path):
    with (
        pytest.raises(
            HarnessError, match=r"out needs 1,152,921,504,606,846,976\.0 MiB, and its disk has "
        ),
        replacing(tmp_path / "folder" / "out", 2**80),
    ):
        raise AssertionError
    assert names(tmp_path / "folder") == []
