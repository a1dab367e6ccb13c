"""Converted weights on the command line: `run` and `ask` read them, `cache` shows them."""

import json
import os
import shutil

import numpy as np
import pytest
import yaml

from harness.cli.main import main
from harness.measure.conversion_cache import ConvertedCache
from harness.measure.reference_cache import ReferenceCache, rows_in
from harness.quality.rows_file import RowsWriter
from harness.quickstart import files
from harness.records.store import read_run
from harness.runtime.convert import convert

STUDY = {
    "name": "converting",
    "models": {"shipped": {"weights": "builtin:quickstart"}},
    "strategies": ["cpu fp32i8"],
    "workloads": {"answers": {"questions": "questions.yaml", "max_tokens": 12, "trials": 1}},
}
QUESTIONS = {"questions": [{"id": "sum", "text": "What is 47 + 38?"}]}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache's folder, of its own and with room."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HARNESS_CACHE_BUDGET", "1GiB")
    return tmp_path / "cache" / "converted"


def call(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def whole(folder):
    return [path for path in folder.glob("*") if path.suffix != ".lock"]


def test_a_run_converts_once_and_gives_the_same_answers_without(
    tmp_path, cache, without_report, capfd
):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY), encoding="utf-8")
    (tmp_path / "questions.yaml").write_text(yaml.safe_dump(QUESTIONS), encoding="utf-8")

    def run(*options):
        results = tmp_path / "results"
        shutil.rmtree(results, ignore_errors=True)
        base = ("run", tmp_path / "study.yaml", "--results", results, "--machine", "here")
        assert call(*base, *options) == 0
        (folder,) = (results / "here").glob("*")
        (record,) = read_run(folder).records
        return record, (folder / "records.jsonl").read_text(encoding="utf-8")

    converted, text = run()
    (path,) = whole(cache)
    assert converted.converted.file == path.name
    assert converted.converted.made_now
    assert converted.converted.source_sha256 == converted.facts["weights_sha256"]
    assert converted.converted_missing is None
    assert str(tmp_path) not in text
    original, _ = run("--no-cache")
    assert original.converted is None
    assert "--no-cache" in original.converted_missing
    assert original.key == converted.key
    foreseen = [record.memory.forecast.load_rss_bytes for record in (original, converted)]
    assert foreseen[0] > foreseen[1] > 0  # each of the file that was read
    assert [slot.weight_dtype for slot in converted.plan] == ["uint8"] * 5
    assert [slot.weight_dtype for slot in original.plan] == ["uint8"] * 5
    assert [a.token_ids for a in original.answers] == [a.token_ids for a in converted.answers]
    assert len(converted.answers[0].token_ids) == 12
    assert converted.warnings == original.warnings == []
    said = capfd.readouterr().err
    assert said.count("converting weights, once") == 1
    assert "Traceback" not in said


@pytest.mark.parametrize("kind", ["wrong_answers", "not_a_number"])
def test_a_damaged_converted_file_is_named_as_a_cause_and_how_to_be_rid_of_it(
    kind, tmp_path, cache, without_report, capfd
):
    workloads = {"quality": {"max_tokens": 8, "answers": False}}
    study = {**STUDY, "workloads": workloads, "gate": kind == "wrong_answers"}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")

    def run(*options):
        results = tmp_path / "results"
        code = call("run", tmp_path / "study.yaml", "--results", results, "--fresh", *options)
        (newest,) = sorted((results).glob("*/converting-*"))[-1:]
        (record,) = read_run(newest).records
        return code, record

    assert run()[1].outcome.kind == "ok"
    (path,) = whole(cache)
    content = bytearray(path.read_bytes())
    length = int.from_bytes(content[:8], "little")
    tensors = json.loads(content[8 : 8 + length])
    begin, end = (8 + length + at for at in tensors["ln_out.weight"]["data_offsets"])
    scale = np.frombuffer(content[begin:end], dtype="<f4")
    damaged = -scale if kind == "wrong_answers" else scale * np.float32("nan")
    content[begin:end] = damaged.astype("<f4").tobytes()
    path.write_bytes(content)

    code, record = run()
    assert code == 4
    assert record.outcome.kind == kind
    assert "'cache --clear' removes them, and a run with --fresh" in record.outcome.reason
    if kind == "wrong_answers":
        assert record.gate.why == record.outcome.reason
    assert "'cache --clear'" in " ".join(capfd.readouterr().err.split())
    assert run("--no-cache")[1].outcome.kind == "ok"
    assert call("cache", "--clear") == 0
    assert run()[1].outcome.kind == "ok"


def test_a_cache_that_cannot_be_written_stops_no_question(cache, capfd):
    cache.parent.write_text("in the way", encoding="utf-8")
    asked = ("ask", "What is 47 + 38?", "--strategy", "cpu fp32i8", "--max-tokens", 2, "--json")
    assert call(*asked) == 0
    said = capfd.readouterr()
    assert "the original weights are read instead" in said.err
    document = json.loads(said.out)
    assert document["converted"] is None
    assert "cannot be written" in document["converted_missing"]


def test_asking_reads_what_is_there(cache, capfd, converted):
    cache.mkdir(parents=True)
    shutil.copy(converted, cache / converted.name)
    asked = ("ask", "What is 47 + 38?", "--strategy", "cpu fp32i8", "--max-tokens", 2, "--json")
    assert call(*asked) == 0
    said = capfd.readouterr()
    assert json.loads(said.out)["converted"] == converted.name
    assert "Converting" not in said.err
    assert call(*asked, "--no-cache") == 0
    assert json.loads(capfd.readouterr().out)["converted"] is None


def test_devices_that_are_not_here_are_said_before_anything_is_converted(cache, capfd):
    assert call("ask", "Hm?", "--strategy", "cuda:77 fp16i8") != 0
    assert "cuda:77" in capfd.readouterr().err
    assert not cache.exists()


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The shipped model in int8, under the name that the cache gives it."""
    from harness.measure.conversion import Conversions, Weights
    from harness.measure.job import Job
    from harness.sources import file_sha256

    sha256 = file_sha256(files.WEIGHTS)
    job = Job(engine="torch", strategy="cpu fp32i8", weights="", weights_seed=0, threads=1)
    weights = Weights(path=files.WEIGHTS, seed=0, sha256=lambda: sha256)
    folder = tmp_path_factory.mktemp("converted")
    name = Conversions(ConvertedCache(folder)).wanted(weights, job).name
    convert(files.WEIGHTS, folder / name, "cpu fp32i8", source_sha256=sha256)
    return folder / name


def test_the_cache_is_shown_and_cleared(cache, converted, capsys):
    cache.mkdir(parents=True)
    shutil.copy(converted, cache / converted.name)
    (cache / "rubbish.safetensors").write_bytes(b"rubbish")
    os.utime(cache / "rubbish.safetensors", (1000, 1000))
    assert call("cache") == 0
    said = capsys.readouterr().out
    assert "cpu fp32i8" in said
    assert "damaged" in said
    assert "of at most 1.00 GiB" in said
    lines = said.splitlines()
    assert lines[1] == f"Folder: {cache.parent}"
    assert max(len(line) for line in lines if line != lines[1]) <= 80
    assert call("cache", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["budget_bytes"] == 2**30
    assert document["used_bytes"] == sum(one["bytes"] for one in document["files"])
    newest, oldest = document["files"]
    assert (newest["file"], newest["strategy"]) == (converted.name, "cpu fp32i8")
    assert (oldest["source_sha256"], oldest["strategy"]) == (None, None)
    assert oldest["last_used"] == "1970-01-01T00:16:40+00:00"
    assert call("cache", "--clear") == 0
    assert "Removed 2 files" in capsys.readouterr().out
    assert whole(cache) == []
    assert call("cache") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("Next: ")


def test_files_that_only_another_version_reads_are_told_apart(cache, converted, capsys):
    cache.mkdir(parents=True)
    weights, _, _ = converted.name.partition("-")
    older = f"{weights}-0123456789abcdef.safetensors"
    for name in (converted.name, older):
        shutil.copy(converted, cache / name)
    assert call("cache") == 0
    lines = capsys.readouterr().out.splitlines()
    marks = {line.split()[-1] for line in lines if "cpu fp32i8" in line}
    assert marks == {converted.name.partition("-")[2][:8], "01234567*"}
    assert [line for line in lines if line.startswith("* for another PyTorch")]
    assert call("cache", "--json") == 0
    files_ = json.loads(capsys.readouterr().out)["files"]
    assert {one["file"]: one["is_read_here"] for one in files_} == {
        converted.name: True,
        older: False,
    }


def test_what_a_run_uses_is_kept(cache, converted, capsys):
    from harness.measure.file_lock import open_shared

    cache.mkdir(parents=True)
    path = cache / converted.name
    shutil.copy(converted, path)
    with open_shared(path):
        assert call("cache", "--clear", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["kept"] == [converted.name]
    assert document["removed"] == []
    assert path.exists()


def test_a_budget_that_is_no_size_is_bad_input(cache, monkeypatch, capsys):
    monkeypatch.setenv("HARNESS_CACHE_BUDGET", "plenty")
    assert call("cache") == 2
    assert "HARNESS_CACHE_BUDGET is 'plenty'" in capsys.readouterr().err
    assert not cache.exists()


# -- references --------------------------------------------------------------------------------


@pytest.fixture
def reference(cache):
    """A reference of 5 tokens in the cache."""
    folder = cache.parent / "references"
    folder.mkdir(parents=True)
    path = folder / "abab-1.safetensors"
    with path.open("wb") as file:
        writer = RowsWriter(file, {"a": 2, "b": 3}, 7, {"weights_sha256": "ab" * 32})
        writer.write(np.zeros((5, 7), dtype=np.float32))
        writer.finish()
    return path


def test_references_are_shown_and_cleared_beside_converted_weights(
    cache, reference, converted, capsys
):
    cache.mkdir(parents=True)
    shutil.copy(converted, cache / converted.name)
    (reference.parent / "rubbish.safetensors").write_bytes(b"rubbish")
    (reference.parent / ".rubbish.safetensors.lock").touch()
    assert call("cache") == 0
    said = capsys.readouterr().out
    row = next(line for line in said.splitlines() if "reference, 5 tokens" in line)
    assert row.startswith("abababababab ")
    assert sum("damaged" in line for line in said.splitlines()) == 1
    assert max(map(len, said.splitlines()[2:])) <= 80  # but for the folder, to be copied
    assert call("cache", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    by_kind = {one["kind"]: one for one in document["files"] if one["source_sha256"]}
    assert by_kind["reference"] | {"last_used": None} == {
        "file": reference.name,
        "kind": "reference",
        "source_sha256": "ab" * 32,
        "strategy": None,
        "tokens": 5,
        "bytes": reference.stat().st_size,
        "last_used": None,
        "is_read_here": True,
    }
    assert by_kind["converted"]["tokens"] is None
    assert document["used_bytes"] == sum(one["bytes"] for one in document["files"])
    assert call("cache", "--clear", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert sorted(document["removed"]) == sorted(
        [converted.name, reference.name, "rubbish.safetensors"]
    )
    assert document["removed_bytes"] > 0
    assert whole(cache) == list(reference.parent.iterdir()) == []


def test_a_reference_that_a_run_uses_is_kept(cache, reference, capsys):
    used = ReferenceCache()
    keys = rows_in(reference).keys
    assert [one.path for one in used.of("ab" * 32, keys)] == []  # its name begins otherwise
    path = reference.rename(reference.with_name(f"{'ab' * 8}-1.safetensors"))
    assert [one.path for one in used.of("ab" * 32, {"another"})] == []
    assert [one.path for one in used.of("ab" * 32, keys)] == [path]
    assert call("cache", "--clear") == 0
    assert "Kept, being in use or not ours to remove: 1." in capsys.readouterr().out
    used.close()
    assert call("cache", "--clear") == 0
    assert not path.exists()


def test_as_many_files_are_removed_as_were_listed(cache, reference, converted, capsys):
    """Locks and what is half made are no files of the list."""
    cache.mkdir(parents=True)
    shutil.copy(converted, cache / converted.name)
    for file in (cache / converted.name, reference):
        (file.parent / f".{file.name}.lock").touch()
        (file.parent / f".{file.name}.123.partial").write_bytes(b"half")
    assert call("cache", "--json") == 0
    listed = json.loads(capsys.readouterr().out)["files"]
    assert len(listed) == 2
    assert call("cache", "--clear") == 0
    assert "Removed 2 files, " in capsys.readouterr().out
    assert list(cache.iterdir()) == list(reference.parent.iterdir()) == []
