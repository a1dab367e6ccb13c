"""The lock is written where that can be, and said where it cannot."""

import errno

import pytest

from harness.cli.pull import record_lock
from harness.config.load import load_study
from harness.sources import Locked, lock

FILES = {"hf://o/r/w.pth": Locked(sha256="a" * 64, size=1)}


@pytest.fixture
def loaded(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(
        "name: s\nmodels: {m: {weights: 'random:169m'}}\nstrategies: [cpu fp32]\n"
        "workloads: {speed: {}}\n"
    )
    return load_study(path)


def test_a_lock_is_written_and_said(loaded, capsys):
    record_lock(loaded, FILES)
    assert capsys.readouterr().err == f"Recorded in {lock.lock_path(loaded.path)}; {KEEP}\n"
    record_lock(loaded, FILES)
    assert capsys.readouterr().err == ""


KEEP = "keep it with the study."


def test_a_study_in_a_read_only_folder_is_no_error(loaded, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(lock, "written_whole", refuse)
    record_lock(loaded, FILES)
    note = capsys.readouterr().err
    assert note.startswith("Note: ")
    assert "Read-only file system" in note
    assert lock.read_lock(loaded.path) == {}
