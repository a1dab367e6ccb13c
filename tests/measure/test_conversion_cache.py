"""The folder of converted weights: what leaves it, what stays, and who may write."""

import os
import shutil
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import BadInput
from harness.measure import file_lock
from harness.measure.cache_budget import SPARED_BYTES, usual_budget
from harness.measure.conversion_cache import ConvertedCache, Wanted
from harness.measure.file_cache import CacheUnusable
from harness.quickstart import files
from harness.runtime.convert import convert
from harness.runtime.stored import stored_plan

INT8 = stored_plan("cpu fp32i8", 4)
SHA256 = "ab" * 32
LONG_S = 60


def wanted(**changes):
    settings = {"source_sha256": SHA256, "plan": INT8, "tensor_bytes": 10, "converter": "1"}
    return Wanted(**{**settings, **changes})


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The shipped model, converted to int8."""
    out = tmp_path_factory.mktemp("converted") / "model.safetensors"
    convert(files.WEIGHTS, out, "cpu fp32i8", source_sha256=SHA256)
    return out


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "converted"
    path.mkdir()
    return path


def put(folder, name, nbytes, used):
    path = folder / name
    path.write_bytes(bytes(nbytes))
    os.utime(path, (used, used))
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


# -- budget ------------------------------------------------------------------------------------


@given(st.integers(0, 2**44), st.integers(0, 2**44))
def test_the_usual_budget_leaves_half_of_the_disk_and_10_gib(used, free):
    budget = usual_budget(used, free)
    left = used + free - budget
    assert left >= budget
    assert left >= SPARED_BYTES or budget == (used + free) // 20


@pytest.mark.parametrize(
    ("free", "budget"), [(0, 0), (8.0, 0.4), (10.5, 0.525), (11.0, 1.0), (20.0, 10.0), (50.0, 25.0)]
)
def test_on_a_disk_that_is_nearly_full_the_budget_is_a_twentieth(free, budget):
    """Small models and their references are kept on every disk."""
    assert usual_budget(0, int(free * 2**30)) == int(budget * 2**30)


def test_a_disk_that_is_nearly_full_is_named_where_something_does_not_fit(folder, monkeypatch):
    free = shutil.disk_usage(folder)._replace(free=8 * 2**30)
    monkeypatch.delenv("HARNESS_CACHE_BUDGET")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: free)
    cache = ConvertedCache(folder)
    cache.make_room(400 * 2**20)
    with pytest.raises(CacheUnusable) as refused:
        cache.make_room(2**30)
    assert str(refused.value) == (
        "converted weights need 1.00 GiB, and the cache may hold 410 MiB, since 8.00 GiB are free "
        "on its disk (HARNESS_CACHE_BUDGET allows more)"
    )


def test_the_usual_budget_does_not_shrink_as_the_cache_fills():
    assert usual_budget(0, 100 * 2**30) == usual_budget(40 * 2**30, 60 * 2**30) == 50 * 2**30


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("0", 0),
        ("50GiB", 50 * 2**30),
        ("1.5 MB", 1_500_000),
        (" 2 TiB ", 2 * 2**40),
        ("0GiB", 0),
        ("2000000", 2_000_000),
        ("5g", 5 * 2**30),
    ],
)
def test_a_budget_is_a_size(text, nbytes, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE_BUDGET", text)
    assert ConvertedCache().budget() == nbytes


@pytest.mark.parametrize("text", ["fifty", "5 GiBs", "-1GiB", "1e9", "GiB", "5ib"])
def test_a_budget_that_is_no_size_is_refused(text, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE_BUDGET", text)
    with pytest.raises(BadInput, match="HARNESS_CACHE_BUDGET is"):
        ConvertedCache()


@pytest.mark.parametrize(
    ("text", "meant"),
    [("5", "5GiB"), ("50 ", "50GiB"), ("1.5", "1.5GiB"), ("8192", "8192MiB")],
)
def test_a_budget_without_a_unit_is_refused(text, meant, monkeypatch):
    """As bytes it would empty the cache."""
    monkeypatch.setenv("HARNESS_CACHE_BUDGET", text)
    with pytest.raises(BadInput, match=f"'{text}', which has no unit. Do you mean {meant}"):
        ConvertedCache()


def test_the_budget_is_that_of_the_environment(monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE_BUDGET", "3KiB")
    assert ConvertedCache().budget() == 3072


# -- what leaves -------------------------------------------------------------------------------


def test_what_was_used_longest_ago_leaves_first_and_no_more_than_must(folder):
    for used, name in enumerate(("c", "a", "d", "b")):
        put(folder, f"{name}.safetensors", 100, 1000 + used)
    ConvertedCache(folder, budget=450).make_room(50)
    assert names(folder) == ["a.safetensors", "b.safetensors", "c.safetensors", "d.safetensors"]
    ConvertedCache(folder, budget=450).make_room(150)
    assert names(folder) == ["a.safetensors", "b.safetensors", "d.safetensors"]
    ConvertedCache(folder, budget=450).make_room(300)
    assert names(folder) == ["b.safetensors"]


def test_all_folders_of_the_cache_share_one_budget(tmp_path):
    converted, references = tmp_path / "converted", tmp_path / "references"
    for folder in (converted, references):
        folder.mkdir()
    put(converted, "old.safetensors", 100, 1000)
    put(references, "older.safetensors", 100, 900)
    put(references, "new.safetensors", 100, 2000)
    cache = ConvertedCache(converted, budget=350)
    cache.make_room(50)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 3
    cache.make_room(100)
    assert sorted(path.name for path in tmp_path.rglob("*.safetensors")) == [
        "new.safetensors",
        "old.safetensors",
    ]
    assert [entry.path.name for entry in cache.entries()] == ["old.safetensors"]


def test_a_file_in_use_stays_and_the_next_one_leaves(folder):
    put(folder, "old.safetensors", 100, 1000)
    put(folder, "new.safetensors", 100, 2000)
    with file_lock.open_shared(folder / "old.safetensors"):
        ConvertedCache(folder, budget=250).make_room(100)
    assert names(folder) == ["old.safetensors"]


def test_nothing_leaves_where_that_would_not_do(folder):
    put(folder, "used.safetensors", 100, 1000)
    put(folder, "idle.safetensors", 100, 2000)
    cache = ConvertedCache(folder, budget=250)
    with (
        file_lock.open_shared(folder / "used.safetensors"),
        pytest.raises(CacheUnusable, match="in use"),
    ):
        cache.make_room(200)
    with pytest.raises(CacheUnusable, match="the cache may hold"):
        cache.make_room(251)
    assert names(folder) == ["idle.safetensors", "used.safetensors"]


def test_a_full_disk_counts_also_where_the_budget_is_large(folder, monkeypatch):
    put(folder, "old.safetensors", 100, 1000)
    put(folder, "new.safetensors", 100, 2000)
    free = shutil.disk_usage(folder)._replace(free=50)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: free)
    cache = ConvertedCache(folder, budget=10**6)
    cache.make_room(120)
    assert names(folder) == ["new.safetensors"]
    with pytest.raises(CacheUnusable, match="disk"):
        cache.make_room(500)
    assert names(folder) == ["new.safetensors"]


def test_clearing_keeps_what_is_in_use(folder):
    put(folder, "used.safetensors", 100, 1000)
    put(folder, "idle.safetensors", 50, 2000)
    put(folder, ".half.safetensors.99.partial", 10, 2000)
    with file_lock.open_shared(folder / "used.safetensors"):
        cleared = ConvertedCache(folder, budget=0).clear()
    assert [entry.path.name for entry in cleared.removed] == ["idle.safetensors"]
    assert [entry.path.name for entry in cleared.kept] == ["used.safetensors"]
    assert [path.name for path in folder.iterdir()] == ["used.safetensors"]


def test_a_cache_that_is_not_there_is_empty(tmp_path):
    cache = ConvertedCache(tmp_path / "none" / "converted")
    assert cache.entries() == []
    assert cache.use(wanted()) is None
    assert cache.budget() >= 0
    assert cache.clear().removed == ()
    assert not (tmp_path / "none").exists()


# -- use ---------------------------------------------------------------------------------------


def test_a_file_in_use_is_the_most_recent_and_kept_until_the_end(folder, converted):
    path = folder / wanted().name
    shutil.copy(converted, path)
    os.utime(path, (1000, 1000))
    put(folder, "other.safetensors", 100, 2000)
    cache = ConvertedCache(folder)
    assert cache.use(wanted()) == path
    assert [entry.path.name for entry in cache.entries()] == ["other.safetensors", path.name]
    assert path in [entry.path for entry in ConvertedCache(folder).clear().kept]
    cache.close()
    assert path in [entry.path for entry in ConvertedCache(folder).clear().removed]


@pytest.mark.parametrize("damage", ["cut", "other plan", "other weights", "rubbish", "original"])
def test_a_file_that_is_not_what_its_name_says_is_removed(damage, folder, converted):
    asked = wanted()
    if damage == "other plan":
        asked = wanted(plan=stored_plan("cpu bf16i8", 4))
    elif damage == "other weights":
        asked = wanted(source_sha256="cd" * 32)
    path = folder / asked.name
    whole = files.WEIGHTS if damage == "original" else converted
    data = whole.read_bytes()
    path.write_bytes({"cut": data[:-1], "rubbish": b"rubbish"}.get(damage, data))
    assert ConvertedCache(folder).use(asked) is None
    assert not path.exists()


def test_a_file_that_was_removed_by_hand_is_missed(folder, converted):
    path = folder / wanted().name
    cache = ConvertedCache(folder)
    shutil.copy(converted, path)
    assert cache.use(wanted()) == path
    path.unlink()
    assert cache.use(wanted()) is None
    shutil.copy(converted, path)
    assert cache.use(wanted()) == path
    cache.close()


def test_names_tell_apart_all_that_changes_a_number():
    others = [
        wanted(),
        wanted(source_sha256="cd" * 32),
        wanted(plan=stored_plan("cpu bf16i8", 4)),
        wanted(plan=stored_plan("cpu fp32i8", 4, "file")),
        wanted(converter="2"),
    ]
    assert len({one.name for one in others}) == len(others)
    assert wanted(plan=stored_plan("cuda fp32i8 *2 -> cpu fp32i8", 4)).name == wanted().name


# -- making ------------------------------------------------------------------------------------


def half(folder, name, pid=4242):
    path = folder / f".{name}.{pid}.partial"
    path.write_bytes(b"half")
    return path


def test_what_a_killed_process_left_is_gone_at_the_next_use(folder):
    names = [wanted().name, "other.safetensors"]
    left = [half(folder, name, pid) for name in names for pid in ("4242", "4242.7")]
    cache = ConvertedCache(folder)
    with cache.making(wanted(), lambda: None, LONG_S):
        assert [path for path in left if path.exists()] == []


def test_what_another_process_is_making_is_left_alone(folder):
    other = wanted(converter="2")
    with ConvertedCache(folder).making(other, lambda: None, LONG_S):
        path = half(folder, other.name)
        with ConvertedCache(folder).making(wanted(), lambda: None, LONG_S):
            assert path.exists()
        ConvertedCache(folder).clear()
        assert path.exists()
    assert not path.exists()


def test_half_a_file_is_gone_whatever_stopped_the_making(folder):
    def stopped():
        with ConvertedCache(folder).making(wanted(), lambda: None, LONG_S):
            half(folder, wanted().name)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert names(folder) == []


def test_one_makes_and_the_other_waits(folder, monkeypatch):
    monkeypatch.setattr(file_lock, "_POLL_S", 0.001)
    waits, told, order = threading.Event(), threading.Event(), []

    def second():
        with ConvertedCache(folder).making(wanted(), waits.set, LONG_S):
            order.append("second")
        told.set()

    with ConvertedCache(folder).making(wanted(), lambda: None, LONG_S):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(LONG_S)
        ConvertedCache(folder).clear()  # leaves the lock that is held
        order.append("first")
    thread.join(LONG_S)
    assert told.is_set()
    assert order == ["first", "second"]


def test_waiting_has_an_end(folder, monkeypatch):
    monkeypatch.setattr(file_lock, "_POLL_S", 0.001)
    with (
        ConvertedCache(folder).making(wanted(), lambda: None, LONG_S),
        pytest.raises(CacheUnusable, match="has been making the same converted weights"),
        ConvertedCache(folder).making(wanted(), lambda: None, 0),
    ):
        pass


def test_a_folder_that_cannot_be_made_is_said_without_its_path(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    cache = ConvertedCache(tmp_path / "file" / "converted", budget=10**9)
    assert cache.use(wanted()) is None
    with (
        pytest.raises(CacheUnusable, match="cannot be written") as refused,
        cache.making(wanted(), lambda: None, LONG_S),
    ):
        pass
    assert str(tmp_path) not in str(refused.value)
