"""Run folders: appended, synced, read again, and continued."""

import errno
import json
import os
import resource
import signal
import stat
from datetime import datetime, timezone
from pathlib import Path

import msgspec
import pytest

from harness.config.study import Model, Speed, Study, Workloads
from harness.errors import RecordsError
from harness.records import store as store_module
from harness.records import writing
from harness.records.record import CellRef, Key, Outcome, Record
from harness.records.runs import new_run_path, runs_of_study
from harness.records.store import RecordStore, create_run_folder, read_run
from harness.records.writing import write_json

STUDY = Study(
    name="stored",
    models={"m": Model(weights="random:169m")},
    strategies=["cpu fp32"],
    workloads=Workloads(speed=Speed()),
)
CELL = CellRef(
    id="m/torch/cpu fp32/1t/speed",
    model="m",
    engine="torch",
    strategy="cpu fp32",
    workload="speed",
    threads=1,
)


def record(trial=0, attempt=0, kind="ok"):
    return Record(
        key=Key(computation="c"),
        cell=CELL,
        trial=trial,
        attempt=attempt,
        outcome=Outcome(kind=kind),
        started_at="2026-01-01T00:00:00+00:00",
        decode_s=[[0.1, 0.2]],
    )


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "machine" / "run"
    create_run_folder(path, study_text="name: stored\n", study=STUDY, facts={"a": 1}, plan=[])
    return path


def append(folder, *records):
    store = RecordStore(folder)
    with store.appending():
        for one in records:
            store.append(one)
    return store


def test_a_run_comes_back_as_it_was_stored(folder):
    append(folder, record(), record(trial=1, kind="timeout"))
    run = read_run(folder)
    assert run.records == (record(), record(trial=1, kind="timeout"))
    assert run.study == STUDY
    assert run.facts == {"a": 1}
    assert run.notes == ()


def test_a_torn_last_line_is_dropped_with_a_note_and_the_run_goes_on(folder):
    append(folder, record())
    whole = (folder / "records.jsonl").read_bytes()
    for cut in range(1, len(whole)):
        (folder / "records.jsonl").write_bytes(whole + whole[:cut].rstrip(b"\n"))
        run = read_run(folder)
        assert run.records == (record(),)
        assert "cut off in writing" in run.notes[0]
    append(folder, record(trial=1))
    assert [r.trial for r in read_run(folder).records] == [0, 1]
    assert read_run(folder).notes == ()


def test_a_damaged_line_elsewhere_is_an_error(folder):
    (folder / "records.jsonl").write_bytes(b"{broken\n" + msgspec.json.encode(record()) + b"\n")
    with pytest.raises(RecordsError, match=r"records\.jsonl:1: not a record.* Without that line"):
        read_run(folder)


def test_a_newer_schema_is_refused(folder):
    line = {**msgspec.to_builtins(record()), "schema": 99}
    (folder / "records.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    with pytest.raises(RecordsError, match="schema 99 is newer"):
        read_run(folder)


def test_no_attempt_is_recorded_twice(folder):
    with pytest.raises(RecordsError, match="already recorded"):
        append(folder, record(), record())
    with pytest.raises(RecordsError, match="already recorded"):
        append(folder, record())


def test_one_process_at_a_time_appends(folder):
    append(folder, record())
    torn = b'{"schema": 1, "key"'
    with RecordStore(folder).appending(), pytest.raises(RecordsError, match="another process"):
        append(folder, record(trial=1))
    # Reading, as `report` does while a run goes on, leaves the line that is being written alone.
    with (folder / "records.jsonl").open("ab") as file:
        file.write(torn)
    assert len(RecordStore(folder).records) == 1
    assert (folder / "records.jsonl").read_bytes().endswith(torn)


def test_a_full_disk_is_said_in_words_and_keeps_what_is_there(folder, monkeypatch):
    append(folder, record())

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RecordsError, match="No space left on device"):
        append(folder, record(trial=1))
    monkeypatch.undo()
    assert read_run(folder).records[0] == record()


@pytest.fixture
def small_disk():
    """Let no file of this process grow beyond a number of bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing fails, then, with EFBIG

    def hold(n_bytes):
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))

    yield hold
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


def test_a_disk_that_takes_a_part_of_a_record_keeps_all_of_those_before(folder, small_disk):
    append(folder, record())
    one = (folder / "records.jsonl").read_bytes()
    store = RecordStore(folder)
    with store.appending():
        small_disk(len(one) * 2 - 5)
        with pytest.raises(RecordsError, match=r"cannot be written .* is kept\. Make room"):
            store.append(record(trial=1))
        assert (folder / "records.jsonl").read_bytes() == one  # no torn line, no hole
        small_disk(len(one) * 3)
        store.append(record(trial=1))  # there is room again
    assert [r.trial for r in read_run(folder).records] == [0, 1]
    assert read_run(folder).notes == ()


def test_a_folder_that_may_not_be_written_is_said_in_words(folder, monkeypatch):
    append(folder, record())

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    store = RecordStore(folder)
    monkeypatch.setattr(Path, "open", refuse)  # root may write what it likes
    with pytest.raises(RecordsError, match="Read-only file system"), store.appending():
        pass
    monkeypatch.undo()
    assert read_run(folder).records == (record(),)


def test_each_record_is_on_the_disk_before_the_next_trial(folder, monkeypatch):
    synced = []

    def fsync(descriptor):
        path = folder / "records.jsonl"
        assert os.fstat(descriptor).st_ino == path.stat().st_ino
        synced.append([r.trial for r in read_run(folder).records])

    monkeypatch.setattr("os.fsync", fsync)
    store = RecordStore(folder)
    with store.appending():
        for trial in range(3):
            store.append(record(trial=trial))
            assert len(synced) == trial + 1
    # Each time the whole line was handed over before it was synced.
    assert synced == [[0], [0, 1], [0, 1, 2]]


def test_appending_is_for_those_who_hold_the_file(folder):
    store = RecordStore(folder)
    with pytest.raises(RecordsError, match="inside appending"):
        store.append(record())
    with store.appending():
        store.append(record())
    with pytest.raises(RecordsError, match="inside appending"):
        store.append(record(trial=1))


@pytest.mark.parametrize("kind", ["skipped", "interrupted", "noisy"])
def test_what_was_cut_short_is_tried_again(folder, kind):
    store = append(folder, record(kind=kind))
    assert not store.is_finished(CELL.id, 0)
    assert store.next_attempt(CELL.id, 0) == 1
    store = append(folder, record(attempt=1))
    assert store.is_finished(CELL.id, 0)


@pytest.mark.parametrize(
    "kind",
    [
        *("ok", "timeout", "crashed", "unsupported", "out_of_memory_host", "out_of_memory_device"),
        *("not_a_number", "wrong_strategy", "wrong_answers"),
    ],
)
def test_other_outcomes_are_final(folder, kind):
    store = append(folder, record(kind=kind))
    assert store.is_finished(CELL.id, 0)
    assert not store.is_finished(CELL.id, 1)


def test_where_there_are_no_locks_a_run_is_written_and_that_is_known(folder, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    store = RecordStore(folder)
    with store.appending():
        assert store.is_locked
    monkeypatch.setattr("fcntl.flock", no_locks)
    with store.appending():
        assert not store.is_locked
        store.append(record())
    assert read_run(folder).records == (record(),)


def test_a_file_is_on_the_disk_before_it_takes_the_place_of_another(tmp_path, monkeypatch):
    path, done = tmp_path / "kept.json", []
    fsync, replace = os.fsync, Path.replace

    def note_sync(descriptor):
        of = os.fstat(descriptor)
        done.append("folder" if stat.S_ISDIR(of.st_mode) else of.st_size)
        return fsync(descriptor)

    def note_replace(draft, target):
        done.append(draft.read_bytes())
        return replace(draft, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    write_json(path, {"a": "é"})
    whole = path.read_bytes()
    assert done == [len(whole), whole, "folder"]
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "é"}


def test_a_disk_that_takes_a_part_of_a_file_leaves_the_one_before(tmp_path, small_disk):
    path = tmp_path / "kept.json"
    write_json(path, ["before"])
    small_disk(20)
    with pytest.raises(RecordsError, match=r"kept\.json: cannot be written .* Make room"):
        write_json(path, ["after"] * 9)
    assert json.loads(path.read_text(encoding="utf-8")) == ["before"]
    assert [one.name for one in tmp_path.iterdir()] == ["kept.json"]


def test_a_folder_that_another_process_has_just_made_is_not_written_into(folder):
    with pytest.raises(RecordsError, match="another process is measuring into this run"):
        create_run_folder(folder, study_text="x", study=STUDY, facts={}, plan=[])
    assert read_run(folder).facts == {"a": 1}


def test_the_records_file_makes_a_folder_a_run_and_comes_last(tmp_path, monkeypatch):
    written = []
    real = store_module.write_whole

    def write(path, data):
        written.append(path.name)
        real(path, data)

    for module in (store_module, writing):
        monkeypatch.setattr(module, "write_whole", write)
    create_run_folder(tmp_path / "run", study_text="", study=STUDY, facts={}, plan=[])
    assert sorted(written[:-1]) == ["facts.json", "plan.json", "study.json", "study.yaml"]
    assert written[-1] == "records.jsonl"


def test_what_is_not_a_run_is_said_to_be_none(tmp_path):
    with pytest.raises(RecordsError, match="not a run folder"):
        read_run(tmp_path)


def test_runs_are_found_by_content_newest_first(tmp_path):
    def run(name, weights):
        create_run_folder(
            tmp_path / name,
            study_text="",
            study=STUDY,
            facts={"identity": {"study": "s", "models": {"m": weights}}},
            plan=[],
        )

    run("stored-20260101T000000Z", "aaa")
    run("stored-20260103T000000Z", "bbb")
    run("stored-20260102T000000Z", None)
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "facts.json").write_text("[]", encoding="utf-8")
    found = runs_of_study(tmp_path, {"study": "s", "models": {"m": "aaa"}})
    assert [path.name for path in found] == ["stored-20260102T000000Z", "stored-20260101T000000Z"]
    assert list(runs_of_study(tmp_path, {"study": "t", "models": {"m": "aaa"}})) == []


def test_two_runs_of_one_second_get_two_folders(tmp_path):
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    first = new_run_path(tmp_path, "stored", now)
    first.mkdir()
    assert first.name == "stored-20260102T030405Z"
    assert new_run_path(tmp_path, "stored", now).name == "stored-20260102T030405Z-2"
