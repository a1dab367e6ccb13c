"""Where a reference comes from: the cache, a process that computes it, the folder of results."""

import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.config.limit_settings import Limits
from harness.engines.base import ModelSource
from harness.errors import RecordsError, ReferenceUnusable
from harness.machine.memory import MemoryReading
from harness.measure import file_lock, small_forms
from harness.measure.conversion import Watch, Weights
from harness.measure.conversion_cache import ConvertedCache
from harness.measure.job import Failed, Finished, Imported, Job, Referred
from harness.measure.memory_limit import memory_room
from harness.measure.passages import passage
from harness.measure.process import Ended
from harness.measure.reference_cache import ReferenceCache
from harness.measure.references import Model, References
from harness.measure.referring import compute_reference
from harness.quality.rows_file import RowsFile, StoredRows
from harness.quality.small_form_file import read_small_forms
from harness.quickstart import files
from harness.runtime import convert_model
from tests.measure.test_scoring import V, rows_of

SHA256 = "ab" * 32
LONG_S = 60
NONE = MemoryReading(missing="none")
LIMITS = Limits(trial_s=LONG_S, memory="3GiB")


def ended(*messages, returncode=0, **more):
    return Ended(
        messages=(Imported(versions={}, peak_rss=NONE), *messages),
        returncode=returncode,
        timed_out_s=None,
        oom_kills=0,
        log_tail="",
        **more,
    )


DONE = Finished(peak_rss=NONE, device_peak_bytes={})


class Engine:
    """Its reference hangs on all tokens so far."""

    name = "stub"

    def reference(self, model, passages, *, threads, on_progress):
        del model, threads
        on_progress(1, 1)
        for index, one in enumerate(passages):
            rows = rows_of(one.ids)[one.first :]
            for start in range(0, len(rows), 3):
                yield index, rows[start : start + 3]


class Worker:
    """Computes here what a process would, and keeps what it was told."""

    def __init__(self):
        self.jobs, self.settings = [], []

    def __call__(self, job, **settings):
        self.jobs.append(job)
        self.settings.append(settings)
        source = ModelSource(weights=Path(job.weights), seed=0)
        compute_reference(Engine(), source, job.reference, job.threads, settings["on_message"])
        return ended(DONE)


@pytest.fixture
def worker():
    return Worker()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HARNESS_CACHE_BUDGET", "1GiB")
    return tmp_path


@pytest.fixture
def references(home):
    """Those of a new run; closed at the end."""
    opened = []

    def new(run, small=home / "results" / "references"):
        opened.append(References([ReferenceCache()], small, run=run))
        return opened[-1]

    yield new
    for one in opened:
        one.close()


def model(weights=Path("m.pth"), sha256=SHA256, watch=None, **changes):
    settings = {"engine": "torch", "strategy": "cpu fp32", "weights": str(weights), "threads": 2}
    return Model(
        weights=Weights(path=weights, seed=0, sha256=lambda: sha256),
        n_vocab=V,
        job=Job(**{**settings, "weights_seed": 0, **changes}),
        limits=LIMITS,
        log=Path(os.devnull),
        watch=watch or Watch(),
    )


def some(*starts, sha256=SHA256, n=7, first=2):
    return [
        passage(sha256, range(start, start + n), first, range(start + first + 1, start + n + 1))
        for start in starts
    ]


def rows(place):
    return RowsFile(Path(place.file)).rows(place.passage.key)[:]


def whole(folder):
    return sorted(path.name for path in folder.glob("*") if path.suffix != ".lock")


def refuse(*_args, **_settings):
    raise AssertionError("nothing is to be computed here")


# -- computed once, and kept -------------------------------------------------------------------


def test_all_passages_are_computed_in_one_sweep_and_kept_for_all_runs(worker, references, home):
    wanted = some(0, 20, 40)
    found = references(worker).of(model(), wanted)
    assert len(worker.jobs) == 1
    assert found.missing is None
    assert (found.reference.form, found.reference.weights_sha256) == ("full", SHA256)
    assert found.reference.s > 0
    for one in wanted:
        place = found.places[one.key]
        assert (place.passage, place.small) == (one, False)
        np.testing.assert_array_equal(rows(place), rows_of(one.ids)[2:])
    again = references(refuse).of(model(weights=Path("elsewhere/other.pth")), wanted[::-1])
    assert again.places == found.places
    assert again.reference.s is None
    assert len(whole(home / "cache" / "references")) == 1


def test_what_is_there_is_not_computed_again(worker, references):
    run = references(worker)
    run.of(model(), some(0, 20))
    found = run.of(model(), some(0, 20, 40))
    assert [len(job.reference.passages) for job in worker.jobs] == [2, 1]
    assert len(found.places) == 3
    assert {one.small for one in found.places.values()} == {False}


def test_the_process_is_told_what_a_trial_of_the_study_is(worker, references):
    asked = model(address_space_bytes=2**40, seed=5)
    references(worker).of(asked, some(0))
    (job,), (settings,) = worker.jobs, worker.settings
    assert (job.threads, job.address_space_bytes, job.engine) == (2, 2**40, "torch")
    assert job.phases == ()
    assert (settings["deadline_s"], settings["renewed_by"]) == (LONG_S, Referred)
    assert settings["room"] == memory_room(LIMITS)
    assert settings["log"] == asked.log


def test_progress_is_told(worker, references):
    heard = []
    references(worker).of(model(watch=Watch(message=heard.append)), some(0))
    assert [(one.done, one.total) for one in heard] == [(0, 0), (1, 1)]
    assert {type(one) for one in heard} == {Referred}


@pytest.mark.parametrize("change", ["weights", "ids", "first", "target"])
def test_whatever_changes_is_another_reference(change, worker, references):
    run = references(worker)
    before = run.of(model(), some(0))
    sha256 = "cd" * 32 if change == "weights" else SHA256
    ids = [5, 1, 2, 3, 4, 5, 6] if change == "ids" else list(range(7))
    first = 3 if change == "first" else 2
    targets = [*range(first + 1, 7), 8 if change == "target" else 7]
    after = run.of(model(sha256=sha256), [passage(sha256, ids, first, targets)])
    assert len(worker.jobs) == 2
    assert not set(before.places) & set(after.places)
    assert after.reference.weights_sha256 == sha256


def test_other_weights_whose_hash_begins_alike_have_their_own_file(worker, references):
    other = SHA256[:32] + "0" * 32
    run = references(worker)
    files_of = [
        run.of(model(sha256=one), some(0, sha256=one)).reference.weights_sha256
        for one in (SHA256, other)
    ]
    assert files_of == [SHA256, other]
    assert len(worker.jobs) == 2


def test_two_runs_at_once_make_it_once(worker, references, monkeypatch):
    monkeypatch.setattr(file_lock, "_POLL_S", 0.001)
    waits, notes, found = threading.Event(), [], []
    second = references(refuse)

    def note(text):
        notes.append(text)
        waits.set()

    def computes(job, **settings):
        thread.start()
        assert waits.wait(LONG_S)
        return worker(job, **settings)

    thread = threading.Thread(
        target=lambda: found.append(second.of(model(watch=Watch(note=note)), some(0)))
    )
    first = references(computes).of(model(), some(0))
    thread.join(LONG_S)
    assert found[0].places == first.places
    assert len(worker.jobs) == 1
    assert notes == ["Another process computes the same reference; waiting for it"]


def test_converted_weights_leave_for_a_reference_and_it_for_them(worker, references, home, capsys):
    """One budget for both folders: what was used longest ago goes, wherever it lies."""
    old = home / "cache" / "converted" / "old.safetensors"
    old.parent.mkdir(parents=True)
    old.write_bytes(bytes(2**30))
    found = references(worker).of(model(), some(0))
    assert found.reference.form == "full"
    assert not old.exists()
    assert ConvertedCache().budget() == ReferenceCache().budget() == 2**30


# -- that it cannot be had ---------------------------------------------------------------------


def killed(job, **_settings):
    out = Path(job.reference.out)
    out.with_name(f".{out.name}.1.partial").write_bytes(b"half")
    return ended(Referred(done=1, total=5), returncode=-9)


def too_slow(_job, **_settings):
    return ended(returncode=-9)


def stuck(_job, **_settings):
    return replace(ended(returncode=-9), timed_out_s=1800.0)


def no_process(_job, **_settings):
    raise BlockingIOError(11, "Resource temporarily unavailable")


def no_room(job, **_settings):
    reason = f"{job.reference.out} needs 9 GiB, and its disk has 1 GiB free."
    return ended(Failed(kind="unsupported", reason=reason, detail="", peak_rss=NONE), returncode=1)


@pytest.mark.parametrize(
    ("fails", "words"),
    [
        (killed, "killed by SIGKILL"),
        (no_process, "temporarily unavailable"),
        (stuck, "no layer was done within 1800 s (limits.trial_s)"),
        (no_room, "safetensors needs 9 GiB"),
        (lambda _job, **_settings: ended(DONE), "cannot be read back"),
    ],
)
def test_one_that_cannot_be_computed_is_missing_with_the_reason_and_tried_once(
    fails, words, references, home
):
    calls, notes = [], []

    def run(job, **settings):
        calls.append(job)
        return fails(job, **settings)

    run_of_two = references(run)
    asked = model(watch=Watch(note=notes.append))
    for _ in range(2):
        found = run_of_two.of(asked, some(0))
        assert found.places == {}
        assert found.reference is None
        assert words in found.missing
        assert str(home) not in found.missing
    assert len(notes) == 1
    assert words in notes[0]
    assert whole(home / "cache" / "references") == []
    assert not (home / "results").exists()
    assert len(calls) == (2 if "read back" in words else 1)


def test_what_is_too_much_at_once_is_computed_for_what_is_needed_alone(worker, references):
    """The answers of all strategies may be too many rows where those of one are not."""
    asked = []

    def few(job, **settings):
        asked.append(len(job.reference.passages))
        return worker(job, **settings) if asked[-1] <= 2 else ended(returncode=-9)

    run = references(few)
    first = run.of(model(), some(0), beside=some(0, 20, 40))
    assert (first.missing, first.reference.form) == (None, "full")
    second = run.of(model(), some(20), beside=some(0, 20, 40, 60))
    assert second.missing is None
    assert asked == [3, 1, 1]  # that all at once are too many is known by then


@pytest.mark.parametrize(
    "spoilt, asked, is_missing",
    [
        ((0, 20, 40), [[0, 20, 40]], True),
        ((0,), [[0, 20, 40]], True),
        ((20,), [[0, 20, 40], [0]], False),
    ],
)
def test_weights_without_numbers_are_tried_again_only_where_that_can_help(
    spoilt, asked, is_missing, references
):
    """Weights may give none for one token alone, which not every passage has."""
    seen, said = [], []

    class Spoilt(Engine):
        def reference(self, model, passages, *, threads, on_progress):
            for index, rows in super().reference(
                model, passages, threads=threads, on_progress=on_progress
            ):
                yield index, rows * (np.nan if passages[index].ids[0] in spoilt else 1)

    def work(job, **settings):
        seen.append([one.ids[0] for one in job.reference.passages])
        told = []
        try:
            compute_reference(
                Spoilt(), ModelSource(weights="w", seed=0), job.reference, 1, told.append
            )
        except ReferenceUnusable as error:
            return ended(
                *told, Failed(kind="unsupported", reason=str(error), detail="", peak_rss=NONE)
            )
        return ended(*told, DONE)

    run = references(work)
    watch = Watch(message=said.append)
    for _ in range(2):
        found = run.of(model(watch=watch), some(0), beside=some(20, 40))
    assert seen == asked
    assert sum(not one.total for one in said) == len(asked)  # what is said at the beginning of one
    assert (found.missing is not None) == is_missing
    if is_missing:
        assert "The reference itself gave" in found.missing
        assert "The weights are damaged" in found.missing


def test_what_is_beside_is_computed_only_with_what_is_needed(worker, references):
    run = references(worker)
    run.of(model(), some(0), beside=some(20))
    found = run.of(model(), some(0), beside=some(20, 40))
    assert [len(job.reference.passages) for job in worker.jobs] == [2]
    assert found.places.keys() >= {some(0)[0].key}


def test_once_the_least_could_not_be_computed_nothing_more_is_tried(references):
    calls = []

    def fails(job, **settings):
        calls.append(job.reference.weights_sha256)
        return killed(job, **settings)

    run = references(fails)
    for start in (0, 20, 40):
        assert "SIGKILL" in run.of(model(), some(start), beside=some(60)).missing
    assert calls == [SHA256] * 2
    other = "cd" * 32
    run.of(model(sha256=other), some(0, sha256=other))
    assert calls[2:] == [other]


def test_what_needs_less_than_half_is_tried_where_more_could_not_be_computed(worker, references):
    asked = []

    def few(job, **settings):
        asked.append(len(job.reference.passages))
        return worker(job, **settings) if asked[-1] <= 1 else ended(returncode=-9)

    run = references(few)
    assert "SIGKILL" in run.of(model(), some(0, 20, 40)).missing
    assert "SIGKILL" in run.of(model(), some(60, 80)).missing
    assert run.of(model(), some(100)).missing is None
    assert asked == [3, 1]


def test_ctrl_c_leaves_nothing_half_made(references, home):
    def stopped(job, **settings):
        killed(job, **settings)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        references(stopped).of(model(), some(0))
    assert whole(home / "cache" / "references") == []


def test_what_a_killed_parent_left_goes_with_the_next(worker, references, home):
    folder = home / "cache" / "references"
    folder.mkdir(parents=True)
    (folder / f".{SHA256[:16]}-0.safetensors.77.partial").write_bytes(b"half")
    references(worker).of(model(), some(0))
    assert [name for name in whole(folder) if name.startswith(".")] == []


@pytest.mark.parametrize("unusable", ["too small", "not a folder"])
def test_what_one_cache_cannot_hold_is_kept_in_the_next(unusable, worker, home, monkeypatch):
    if unusable == "too small":
        monkeypatch.setenv("HARNESS_CACHE_BUDGET", "0")
    else:
        (home / "cache").write_text("in the way", encoding="utf-8")
    notes = []
    asked = model(watch=Watch(note=notes.append))
    passing = ReferenceCache(home / "passing", budget=2**20)
    both = References([ReferenceCache(), passing], run=worker)
    for _ in range(2):
        found = both.of(asked, some(0))
        assert (found.missing, found.reference.form) == (None, "full")
        assert Path(found.places[some(0)[0].key].file).parent == home / "passing"
    both.close()
    assert len(worker.jobs) == len(notes) == 1
    assert notes[0].startswith("The exact reference is computed for this run alone: ")


def test_where_none_can_hold_them_all_say_why_and_nothing_is_said_to_be_computed(home, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE_BUDGET", "0")
    notes = []
    passing = ReferenceCache(home / "passing", 1, "the folder beside the results")
    both = References([ReferenceCache(), passing], run=refuse)
    found = both.of(model(watch=Watch(note=notes.append)), some(0))
    first, second = found.missing.split("; ")
    assert first.endswith("the cache may hold 0 B (HARNESS_CACHE_BUDGET sets that)")
    assert second.endswith("the folder beside the results may hold 1 B")
    assert notes == [f"there is not all of the exact reference: {found.missing}"]


def test_passages_that_are_one_are_computed_once(worker, references):
    found = references(worker).of(model(), some(0, 0), beside=some(20, 20, 0))
    assert (found.missing, found.reference.form) == (None, "full")
    assert [len(job.reference.passages) for job in worker.jobs] == [2]


def test_what_could_not_be_computed_for_one_cache_is_not_tried_for_the_next(home):
    calls = []

    def fails(job, **settings):
        calls.append(job)
        return killed(job, **settings)

    both = References([ReferenceCache(), ReferenceCache(home / "passing", budget=2**20)], run=fails)
    assert "SIGKILL" in both.of(model(), some(0)).missing
    assert len(calls) == 1


@pytest.mark.parametrize("budget", ["0", "1KiB"])
def test_a_budget_that_is_too_small_is_the_reason(budget, references, home, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE_BUDGET", budget)
    found = references(refuse).of(model(), some(0))
    assert "the cache may hold" in found.missing
    assert found.places == {}
    assert whole(home / "cache" / "references") == []


def test_a_folder_that_cannot_be_written_is_the_reason(references, home):
    (home / "cache").mkdir()
    (home / "cache" / "references").write_text("in the way", encoding="utf-8")
    found = references(refuse).of(model(), some(0))
    assert "cannot be written" in found.missing


def test_a_folder_that_cannot_be_listed_is_the_reason(references, monkeypatch):
    def closed(_self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ReferenceCache, "entries", closed)
    monkeypatch.setattr(ReferenceCache, "_files", closed)
    found = references(refuse).of(model(), some(0))
    assert "Permission denied" in found.missing


@pytest.mark.parametrize("damage", ["cut", "longer", "rubbish", "shape", "empty"])
def test_a_damaged_file_is_computed_again(damage, worker, references, home):
    first = references(worker)
    place = next(iter(first.of(model(), some(0)).places.values()))
    first.close()
    path = Path(place.file)
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[:-1],
            "longer": content + b"\0",
            "rubbish": b"rubbish",
            "shape": content.replace(b'"shape":[5,', b'"shape":[4,'),
            "empty": b"",
        }[damage]
    )
    again = references(worker).of(model(), some(0))
    assert len(worker.jobs) == 2
    np.testing.assert_array_equal(
        rows(again.places[place.passage.key]), rows_of(place.passage.ids)[2:]
    )


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("damage", ["zeros", "swapped"])
def test_damaged_rows_in_a_whole_file_are_computed_again(damage, times, worker, references, home):
    """As a disk may give them back; they are read through once in a run."""
    first = references(worker)
    place = next(iter(first.of(model(), some(0)).places.values()))
    first.close()
    content = bytearray(Path(place.file).read_bytes())
    if damage == "zeros":
        content[-20:] = bytes(20)
    else:  # two numbers of a row, which adds up to 1 as before
        content[-8:] = content[-4:] + content[-8:-4]
    Path(place.file).write_bytes(content)
    notes = []
    again = references(worker)
    for _ in range(times):
        found = again.of(model(watch=Watch(note=notes.append)), some(0))
    assert (found.missing, found.reference.form, notes) == (None, "full", [])
    assert len(worker.jobs) == 2
    np.testing.assert_array_equal(rows(found.places[place.passage.key]), rows_of(range(7))[2:])


def test_rows_are_read_through_once_in_a_run(worker, references, monkeypatch):
    looked = []
    monkeypatch.setattr(StoredRows, "check", lambda _self, _wait: looked.append(1))
    run = references(worker)
    for _ in range(3):
        run.of(model(), some(0, 20))
    assert len(looked) == 2


def test_what_was_computed_is_held_before_another_run_can_remove_it(references, home):
    """Which removes all that nobody holds, as one that begins beside it does."""
    worker = Worker()

    class Cache(ReferenceCache):
        def entries(self):
            ReferenceCache(home / "passing").clear()
            return super().entries()

    run = References([Cache(home / "passing", budget=2**20)], run=worker)
    found = run.of(model(), some(0))
    assert (found.missing, len(worker.jobs)) == (None, 1)
    assert Path(found.places[some(0)[0].key].file).exists()
    run.close()


def test_a_damaged_file_that_cannot_be_removed_hides_no_other(worker, references, monkeypatch):
    """As in a cache that is another user's, and damaged."""
    run = references(worker)
    good = run.of(model(), some(0))
    bad = next(iter(run.of(model(), some(20)).places.values()))
    run.close()
    Path(bad.file).write_bytes(b"rubbish")
    os.utime(bad.file, (1000, 1000))  # read before the other
    monkeypatch.setattr("harness.measure.file_cache._remove", lambda _path: False)
    assert references(refuse).of(model(), some(0)).places == good.places


def test_rows_of_another_vocabulary_are_not_taken(worker, references):
    references(worker).of(model(), some(0))
    wider = Model(**{**vars_of(model()), "n_vocab": V + 1})
    found = references(lambda _job, **_settings: ended(returncode=-9)).of(wider, some(0))
    assert found.places.keys() <= {one.key for one in some(0)}
    assert all(one.small for one in found.places.values())


def vars_of(one):
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def test_weights_whose_content_is_not_known_have_none(references):
    found = references(refuse).of(model(sha256=None), some(0))
    assert found.missing == "the content of the weights is not known"


def test_references_that_are_off_say_so():
    found = References().of(model(), some(0))
    assert (found.missing, found.places) == ("references are off", {})


# -- the small form that travels ---------------------------------------------------------------


def test_it_travels_with_the_results_wherever_the_full_one_came_from(worker, references, home):
    references(worker).of(model(), some(0))
    other = home / "others" / "references"
    references(refuse, other).of(model(), some(0))
    (mine,), (theirs,) = (
        list(folder.iterdir()) for folder in (home / "results" / "references", other)
    )
    assert mine.name == theirs.name
    assert mine.read_bytes() == theirs.read_bytes()
    assert set(read_small_forms(mine)) == {some(0)[0].key}


def test_it_is_written_once(worker, references, home):
    run = references(worker)
    run.of(model(), some(0))
    run.of(model(), some(0, 20))
    (folder,) = (home / "results").iterdir()
    assert sorted(len(read_small_forms(path)) for path in folder.iterdir()) == [1, 1]


def test_it_serves_on_a_machine_without_cache(worker, references, home):
    references(worker).of(model(), some(0))
    shutil.rmtree(home / "cache")
    notes = []
    found = references(killed).of(model(watch=Watch(note=notes.append)), some(0))
    assert found.missing is None
    assert found.reference.form == "small"
    assert "64 likeliest" in found.reference.method
    assert {one.small for one in found.places.values()} == {True}
    assert len(notes) == 1
    assert "SIGKILL" in notes[0]


def test_what_is_in_neither_form_is_missing_alone(worker, references, home):
    references(worker).of(model(), some(0))
    shutil.rmtree(home / "cache")
    found = references(killed).of(model(), some(0, 20))
    assert list(found.places) == [some(0)[0].key]
    assert "SIGKILL" in found.missing
    assert found.reference.form == "small"


def test_a_damaged_one_is_as_good_as_none_and_is_mended(worker, references, home):
    references(worker).of(model(), some(0))
    (path,) = (home / "results" / "references").iterdir()
    good = path.read_bytes()
    path.write_bytes(good[:-100])
    moved = (home / "cache").rename(home / "away")
    assert references(killed).of(model(), some(0)).places == {}
    shutil.rmtree(home / "cache")
    moved.rename(home / "cache")
    references(refuse).of(model(), some(0))
    assert path.read_bytes() == good


def test_one_that_cannot_be_written_costs_a_note(worker, references, home, monkeypatch):
    calls, notes = [], []

    def full(path, _forms):
        calls.append(path)
        raise RecordsError(f"{path.name}: cannot be written (No space left on device).")

    monkeypatch.setattr(small_forms, "write_small_forms", full)
    run = references(worker)
    asked = model(watch=Watch(note=notes.append))
    for _ in range(2):
        assert run.of(asked, some(0)).reference.form == "full"
    assert len(calls) == len(notes) == 1
    assert "No space left" in notes[0]


def test_a_killed_writer_leaves_nothing_for_long(worker, references, home):
    run = references(worker)
    run.of(model(), some(0))
    folder = home / "results" / "references"
    (path,) = folder.iterdir()
    path.unlink()
    (folder / f".{path.name}.77").write_bytes(b"half")
    references(refuse).of(model(), some(0))
    assert list(folder.iterdir()) == [path]


# -- weights that were converted ---------------------------------------------------------------


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    path = tmp_path_factory.mktemp("converted") / "int8.safetensors"
    convert_model(files.WEIGHTS, path, "cpu fp32i8", source_sha256=SHA256)
    return path


def test_converted_weights_alone_have_the_reference_of_their_source(worker, references, converted):
    references(worker).of(model(), some(0))
    found = references(refuse).of(model(weights=converted, sha256="cd" * 32), some(0))
    assert found.reference.form == "full"
    assert found.reference.weights_sha256 == SHA256


def test_converted_weights_alone_take_the_small_form(worker, references, converted, home):
    references(worker).of(model(), some(0))
    shutil.rmtree(home / "cache")
    run = references(refuse)
    asked = model(weights=converted, sha256="cd" * 32)
    assert run.of(asked, some(0)).reference.form == "small"
    assert "these are converted ones" in run.of(asked, some(20)).missing


def test_weights_that_do_not_say_what_they_were_made_from_have_none(references, tmp_path):
    convert_model(files.WEIGHTS, tmp_path / "own.pth", "cpu fp32", form="pth")
    found = references(refuse).of(model(weights=tmp_path / "own.pth"), some(0))
    assert found.places == {}
    assert "official converted format does not say which weights" in found.missing
