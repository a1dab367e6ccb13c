"""A store for trials that are only thought of."""

import json

import pytest
from msgspec import structs

from harness.records.imagined import ImaginedStore
from harness.records.record import CellRef, Key, Outcome, Record
from harness.records.store import RecordStore


def record(model="a", trial=0, kind="ok", **more):
    cell = CellRef(
        id=f"{model}/speed", model=model, engine="e", strategy="s", workload="speed", threads=1
    )
    outcome = Outcome(kind=kind)
    return Record(
        **{"key": Key(computation=""), "cell": cell, "trial": trial, "attempt": 0, **more},
        outcome=outcome,
        started_at="",
    )


@pytest.fixture
def folder(tmp_path):
    """A run with a trial of each of two cells, one of which was skipped."""
    kept = [record("a", took_s=3.0), record("b", kind="skipped")]
    lines = [json.dumps(structs.asdict(one), default=structs.asdict) + "\n" for one in kept]
    (tmp_path / "records.jsonl").write_text("".join(lines), "utf-8")
    return tmp_path


def test_it_begins_with_what_the_run_has_and_writes_nothing(folder):
    before = (folder / "records.jsonl").read_bytes()
    store = ImaginedStore(folder)
    assert store.records == RecordStore(folder).records != []
    assert store.tried == {"a/speed"}
    store.append(record("b", 0, attempt=1))
    assert store.tried == {"a/speed", "b/speed"}
    assert store.latest_outcome("b/speed", 0) == "ok"
    assert (folder / "records.jsonl").read_bytes() == before


def test_of_many_imagined_trials_of_a_cell_the_last_one_is_kept_beside_the_real_ones(folder):
    store = ImaginedStore(folder)
    for trial in range(1, 50):
        store.append(record("a", trial))
        store.append(record("b", trial))
    assert [(one.cell.model, one.trial) for one in store.records] == [
        ("a", 0),
        ("b", 0),
        ("a", 49),
        ("b", 49),
    ]
    assert all(store.is_finished("a/speed", trial) for trial in range(50))


def test_a_run_that_did_not_begin_has_nothing(tmp_path):
    store = ImaginedStore(tmp_path / "none")
    assert store.records == []
    assert store.tried == frozenset()
