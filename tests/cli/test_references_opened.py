"""Where a run's references lie, and that nothing of them is held or left behind."""

import shutil
from pathlib import Path

import pytest

from harness.cli.referring import PASSING_FOLDER, opened_references
from tests.measure.test_references import Worker, model, some


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path


def scored(home, *, no_cache):
    worker = Worker()
    with opened_references(home / "results", no_cache=no_cache) as references:
        references._run = worker
        found = references.of(model(), some(0))
        path = Path(next(iter(found.places.values())).file)
        assert path.exists()
    assert len(worker.jobs) == 1
    assert found.reference.form == "full"
    return path


def test_they_are_kept_in_the_cache_and_travel_with_the_results(home):
    path = scored(home, no_cache=False)
    assert path.parent == home / "cache" / "references"
    assert path.exists()
    assert len(list((home / "results" / "references").iterdir())) == 1


@pytest.mark.parametrize(("budget", "no_cache"), [(None, True), ("0", True), ("0", False)])
def test_without_the_cache_they_are_computed_for_one_run(budget, no_cache, home, monkeypatch):
    """Beside its results: the folder for passing things may be memory."""
    if budget is not None:
        monkeypatch.setenv("HARNESS_CACHE_BUDGET", budget)
    path = scored(home, no_cache=no_cache)
    assert (home / "results") in path.parents
    assert not path.parent.exists()
    assert list(home.glob("cache/references/*.safetensors")) == []
    assert len(list((home / "results" / "references").iterdir())) == 1


def test_what_a_killed_run_left_beside_its_results_goes_with_the_next(home):
    left = home / "results" / "references" / PASSING_FOLDER
    left.mkdir(parents=True)
    for name in ("0-0.safetensors", ".1-1.safetensors.77.partial", ".1-1.safetensors.lock"):
        (left / name).write_bytes(b"left")
    with opened_references(home / "results", no_cache=False):
        assert not left.exists()
    assert not left.parent.exists()


def test_what_another_run_reads_stays(home):
    with opened_references(home / "results", no_cache=True) as references:
        references._run = Worker()
        found = references.of(model(), some(0))
        with opened_references(home / "results", no_cache=True):
            pass
        assert all(Path(one.file).exists() for one in found.places.values())


def test_a_disk_that_is_full_but_for_what_results_need_holds_a_twentieth(home, monkeypatch):
    left = 2**10
    full = shutil._ntuple_diskusage(2**40, 2**40 - left, left)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: full)
    with opened_references(home / "results", no_cache=True) as references:
        missing = references.of(model(), some(0)).missing
    assert "the folder beside the results may hold 51 B" in missing
