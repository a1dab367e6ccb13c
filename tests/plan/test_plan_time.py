"""What `plan` shows of a study's time, and where it looks for it."""

import json
import os
import re

import numpy as np
import pytest

from harness.cli.foreseeing import foreseen_time
from harness.cli.main import main
from harness.cli.time_table import time_lines
from harness.config.load import load_study
from harness.machine.speed_probe import MachineSpeed
from harness.measure.conversion import Conversions
from harness.measure.conversion_cache import ConvertedCache
from harness.measure.identity import identify_model
from harness.measure.job import PassageJob
from harness.measure.reference_cache import WantedRows
from harness.plan.cell import Cell
from harness.plan.duration import CellTime, Once, ReferenceSize, RunTime
from harness.plan.look import look
from harness.plan.plan import plan
from harness.quality.rows_file import RowsWriter
from harness.sources import file_sha256

SHORT = ("trials: 3}", "trials: 3, prompt_tokens: 4, generate_tokens: 2, passes: 1}")
CPU = ("  - cuda fp16\n  - cuda:1 fp16 *2 -> cpu fp32\n  - cuda fp16i8 *2+\n", "")


@pytest.fixture(autouse=True)
def probed(monkeypatch, tmp_path):
    speed = MachineSpeed(python_s=1.41e-3, copy_bytes_per_s=34e9)
    monkeypatch.setattr("harness.machine.speed_probe.probe_speed", lambda: speed)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def study(load):
    return load(SHORT, CPU).path


@pytest.fixture
def shown(study, tmp_path, capsys):
    """What `plan` prints: as text, or with `--json` what it says of the time."""

    def run(*options):
        results = ["--results", str(tmp_path / "results"), "--machine", "here"]
        with pytest.raises(SystemExit) as stop:
            main(["plan", str(study), *results, *options])
        assert stop.value.code == 0
        text = capsys.readouterr().out
        return json.loads(text)["time"] if "--json" in options else text

    return run


def write_records(folder, study, took_s, **cell):
    folder.mkdir(parents=True)
    cell = {
        "model": "tiny",
        "engine": "torch",
        "strategy": "cpu fp32",
        "workload": "speed",
        "threads": 1,
        **cell,
    }
    record = {"cell": cell, "outcome": {"kind": "ok"}, "took_s": took_s}
    (folder / "records.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    loaded = load_study(study)
    import msgspec

    (folder / "study.json").write_bytes(msgspec.json.encode(loaded.study))


def test_each_cell_and_the_whole_run_are_shown(shown):
    text = shown()
    lines = text.splitlines()
    assert max(map(len, lines[:-1])) <= 80  # the last one is a command, in one piece
    found = shown("--json")
    [head] = [line for line in lines if line.startswith("time of")]
    assert head.split() == ["time", "of", "strategy", "speed", "answers", "together"]
    speed, answers = (
        next(one["total_s"] for one in found["cells"] if one["cell"].endswith(f"fp32/1t/{name}"))
        for name in ("speed", "answers")
    )
    [row] = [line for line in lines[lines.index(head) :] if line.startswith("tiny")]
    numbers = [float(n) for n in re.findall(r"([0-9.]+) s", row)]
    assert numbers == pytest.approx([speed, answers, speed + answers], rel=0.05)
    flat = " ".join(text.split())
    assert re.search(r"about \d+ s: 16 trials \d+ s, starting 1.0 s, limits of the machine", flat)
    assert "This rests on a probe of this machine and a model (6 cells)." in flat
    assert "trials that noise makes it measure again, are not foreseen." in flat


def test_records_are_looked_for_where_run_keeps_them(shown, study, tmp_path):
    assert shown("--json")["rests_on"] == {"records": 0, "model": 6, "unknown": 0}
    write_records(tmp_path / "results" / "here" / "earlier", study, 77.0)
    write_records(tmp_path / "results" / "elsewhere" / "earlier", study, 99.0)
    found = shown("--json")
    assert found["rests_on"] == {"records": 1, "model": 5, "unknown": 0}
    [one] = [one for one in found["cells"] if one["rests_on"] == "records"]
    assert (one["trial_s"], one["total_s"]) == (77.0, 231.0)
    flat = " ".join(shown().split())
    assert "earlier records of this machine (1 cell) and a probe of this machine" in flat
    [one] = [
        one for one in shown("--json", "--machine", "elsewhere")["cells"] if one["trial_s"] == 99.0
    ]


def test_references_are_sized(shown):
    flat = " ".join(shown().split())
    assert (
        "Of the exact references at most 6.15 MiB will be cached (tiny 32 rows × 64 × 4 bytes, "
        "made-up 32 rows × 50,277 × 4 bytes), made in about" in flat
    )


def test_what_lies_in_the_caches_is_not_made_again(shown, study):
    def made():
        found = shown("--json")
        names = [one["what"] for one in found["once"]]
        kept = [one["kept"] for one in found["references"]]
        return names.count("converting weights"), names.count("references"), kept

    assert made() == (2, 2, [False, False])
    loaded = load_study(study)
    weights = loaded.files["tiny"].weights
    os.utime(weights, (1e9, 1e9))
    file_sha256(weights)  # what lies there of other weights is not taken for its own
    keep_reference(loaded)
    keep_converted(loaded)
    assert made() == (1, 1, [False, True])


def keep_reference(loaded):
    """Of the random weights, as a run would leave it behind."""
    from harness.measure.reference_cache import ReferenceCache

    sha256 = identify_model(loaded, "made-up").weights_sha256
    passage = PassageJob(key="k", ids=[1] * 32, first=0, targets=[1] * 32)
    wanted = WantedRows(weights_sha256=sha256, passages=(passage,), n_vocab=50277)
    with ReferenceCache().making(wanted, lambda: None, 9) as out, out.open("wb") as file:
        writer = RowsWriter(file, {"k": 32}, 50277, {"weights_sha256": sha256})
        writer.write(np.zeros((32, 50277), dtype=np.float32))
        writer.finish()


def keep_converted(loaded):
    """An empty file of the name that is looked for."""
    from harness.cli.foreseeing import _weights
    from harness.measure.job import Job

    cache = ConvertedCache()
    weights = _weights(loaded, "made-up")
    job = Job(
        engine="torch",
        strategy="cpu fp32i8 *2 -> cpu fp32",
        weights=str(weights.path),
        weights_seed=0,
        threads=1,
    )
    cache.folder.mkdir(parents=True)
    (cache.folder / Conversions(cache).wanted(weights, job).name).touch()


def test_without_caches_nothing_is_converted_and_all_references_are_made(
    study, machine_with, tmp_path
):
    loaded = load_study(study)
    keep_reference(loaded)
    seen = look(loaded)
    planned = plan(loaded, machine_with(), seen)
    found = foreseen_time(planned, loaded, seen, tmp_path, no_cache=True)
    names = [one.what for one in found.once]
    assert (names.count("converting weights"), names.count("references")) == (0, 2)


def test_weights_that_were_never_read_are_not_read_now(study, monkeypatch, shown):
    monkeypatch.setattr("harness.sources.hashes.file_sha256", None)
    monkeypatch.setattr("harness.measure.identity.file_sha256", None)
    assert shown("--json")["total_s"] > 0


def time_of(*cells, once=(), references=()):
    return RunTime(cells=cells, once=once, references=references)


def cell_time(trial_s, *, source="model", trials=3, least=3, workload="speed"):
    cell = Cell(model="m", engine="torch", strategy="cpu fp32", workload=workload, threads=1)
    return CellTime(cell=cell, trials=trials, trials_at_least=least, trial_s=trial_s, source=source)


def test_what_is_not_known_is_said():
    total, rests, *_ = time_lines(time_of(cell_time(10.0), cell_time(None, workload="depth")))
    assert total == "about 30 s and more: 6 trials 30 s."
    assert "a model (1 cell); – is not known (1 cell). " in rests
    _, rests = time_lines(time_of(cell_time(None)))
    assert rests.startswith("No cell's time is known. ")


def test_with_until_it_is_a_span():
    total, *_ = time_lines(time_of(cell_time(10.0, trials=30, least=2)))
    assert total.startswith("about 20 s to 5 min: 30 trials 5 min")


def test_references_that_are_there_are_said_to_be():
    kept = ReferenceSize(model="m", rows=2**18, n_vocab=4, is_kept=True)
    made = ReferenceSize(model="n", rows=2**18, n_vocab=8, is_kept=False)
    once = (
        Once(what="references", s=4.0),
        Once(what="references", s=3.0),
        Once(what="report", s=1),
    )
    *_, last = time_lines(time_of(cell_time(1.0), references=(kept,)))
    assert last == "The exact references (4.00 MiB at most) are in the cache."
    *_, last = time_lines(time_of(cell_time(1.0), references=(kept, made), once=once))
    assert last == (
        "Of the exact references at most 8.00 MiB will be cached (n 262,144 rows × 8 × 4 bytes), "
        "made in about 7.0 s."
    )
