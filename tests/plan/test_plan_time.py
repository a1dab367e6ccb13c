"""What `plan` shows of a study's time, and where it looks for it."""

import json
import os
import re
import shlex

import numpy as np
import pytest

from harness.cli.foreseeing import Foreseen, known_here
from harness.cli.main import main
from harness.cli.plan_table import show_plan
from harness.cli.time_table import time_lines
from harness.config.load import load_study
from harness.machine.energy import Meter
from harness.machine.speed_probe import MachineSpeed
from harness.measure.conversion import Conversions
from harness.measure.conversion_cache import ConvertedCache
from harness.measure.energy import IDLE_S
from harness.measure.identity import identify_model
from harness.measure.job import PassageJob
from harness.measure.reference_cache import WantedRows
from harness.plan.cell import Cell
from harness.plan.duration import CellTime, CoolingDown, ReferenceSize, RunTime
from harness.plan.foresee_time import foresee_time
from harness.plan.left import Left
from harness.plan.look import look
from harness.plan.order import order
from harness.plan.plan import plan
from harness.quality.rows_file import RowsWriter
from harness.sources import file_sha256

SHORT = ("trials: 3}", "trials: 3, prompt_tokens: 4, generate_tokens: 2, passes: 1}")
QUALITY = "workload: answers}\n  - {model: made-up, workload: quality}"
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
def shown(study, tmp_path, capsys, monkeypatch):
    """What `plan` prints on one core: as text, or with `--json` what it says of the time."""
    monkeypatch.setattr("harness.machine.cores.usable_cores", lambda _machine: 1)

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
        "needs them: tiny for the gate: about 2.0 s, at most 8.00 KiB in the cache (32 rows × 64 ×"
        in flat
    )
    assert (
        "made-up for the gate: about 4.2 s, at most 6.14 MiB in the cache (32 rows × 50,277 × 4"
        in flat
    )
    assert [one["s"] for one in shown("--json")["references"]] == pytest.approx([2.0, 4.2], abs=0.1)


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
    known = known_here(planned, loaded, seen, tmp_path, cores=4, no_cache=True)
    found = foresee_time(planned, loaded, seen, known)
    names = [one.what for one in found.once]
    assert (names.count("converting weights"), names.count("references")) == (0, 2)
    assert not any(one.will_stay for one in found.references)
    assert not any(one.is_kept for one in found.once if one.what == "references")


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
    made = ReferenceSize(model="n", rows=2**18, n_vocab=8, is_kept=False, s=7201.0)
    *_, last = time_lines(time_of(cell_time(1.0), references=(kept,)))
    assert last == "Exact references that are in the cache: m (4.00 MiB at most)."
    *_, there, head, last = time_lines(time_of(cell_time(1.0), references=(kept, made)))
    assert there == "Exact references that are in the cache: m (4.00 MiB at most)."
    assert head.startswith("Exact references, computed layer by layer")
    assert last == "  n: about 2 h, at most 8.00 MiB in the cache (262,144 rows × 8 × 4 bytes)"


def test_a_reference_without_room_is_said_to_go(shown, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE_BUDGET", "1MiB")
    flat = " ".join(shown().split())
    assert "tiny for the gate: about 2.0 s, at most 8.00 KiB in the cache" in flat
    assert (
        "made-up for the gate: about 4.2 s, at most 6.14 MiB beside the results, for one command"
        in flat
    )
    assert [one["stays"] for one in shown("--json")["references"]] == [True, False]


def test_what_cannot_be_computed_is_not_said_to_be():
    of_converted = ReferenceSize(model="m", rows=9, n_vocab=4, is_kept=False, is_made=False)
    assert len(list(time_lines(time_of(cell_time(1.0), references=(of_converted,))))) == 2


def test_cells_without_time_are_counted():
    found = RunTime(cells=(cell_time(10.0),), n_idle=8)
    _, idle, *_ = time_lines(found)
    assert idle == "Not run, or measured under another name, and without time: 8 cells."


def test_trials_that_pass_their_deadline_are_named():
    late = CellTime(
        cell=cell_time(1.0).cell, trials=2, trials_at_least=2, trial_s=21600.0, is_late=True
    )
    *_, warning = time_lines(time_of(cell_time(1.0), late))
    assert warning == (
        "warning: trials of 1 cell will probably not end within the deadline (limits.trial_s, "
        "6 h): m/torch/cpu fp32/1t/speed"
    )
    *_, warning = time_lines(time_of(*[late] * 5))
    assert "5 cells will" in warning
    assert warning.endswith("/speed and 2 more")


def test_cooling_down_is_a_part_or_not_known():
    known = RunTime(cells=(cell_time(10.0),), cooling=CoolingDown(most_s=120.0, each_s=4.0))
    total, *rest = time_lines(known)
    assert total == "about 42 s: 3 trials 30 s, cooling down 12 s."
    assert len(rest) == 1
    unknown = RunTime(cells=(cell_time(10.0),), cooling=CoolingDown(most_s=120.0, each_s=None))
    total, _, waits = time_lines(unknown)
    assert total == "about 30 s: 3 trials 30 s."
    assert waits.startswith("Each trial may wait 2 min to cool down; ")


def test_the_next_command_goes_to_the_results_that_were_looked_at(shown, study, tmp_path):
    words = shlex.split(shown().splitlines()[-1])
    there = ["--results", str(tmp_path / "results"), "--machine", "here"]
    assert words[-6:] == ["run", str(study), *there]


def test_a_budget_for_the_watch_of_the_idle_machine(shown, monkeypatch):
    def watched():
        return [one["s"] for one in shown("--json")["once"] if one["what"] == "idle machine"]

    monkeypatch.setattr("harness.machine.energy.open_meter", lambda: Meter(missing={}))
    assert watched() == []
    counted = Meter(counters=[object()], missing={})
    monkeypatch.setattr("harness.machine.energy.open_meter", lambda: counted)
    assert watched() == [IDLE_S]


def test_weights_that_were_never_hashed_are_read_first(shown, study):
    def hashing():
        return [one["s"] for one in shown("--json")["once"] if one["what"] == "hashing weights"]

    weights = load_study(study).files["tiny"].weights
    [seconds] = hashing()
    assert seconds == pytest.approx(weights.stat().st_size / 0.8e9)
    os.utime(weights, (1e9, 1e9))
    file_sha256(weights)
    assert hashing() == []


def test_probes_that_are_off_tell_no_limits(shown, monkeypatch):
    def n_limits():
        names = [one["what"] for one in shown("--json")["once"]]
        return names.count("limits of the machine")

    assert n_limits() == 2
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    assert n_limits() == 0


@pytest.mark.parametrize(
    ("content", "documents"), [(None, 0), (b'{"text": "the last word"}\n' * 3, 3)]
)
def test_of_lambada_only_what_is_here_takes_time(content, documents, load, machine_with):
    loaded = load(("questions.txt}", "questions.txt}\n  quality: {lambada: words.jsonl}"), CPU)
    if content is not None:
        loaded.path.with_name("words.jsonl").write_bytes(content)
        loaded = load_study(loaded.path)
    assert loaded.lambada_documents == documents
    assert load().lambada_documents is None


def test_two_strategies_that_read_one_file_convert_it_once(load, tmp_path, machine_with):
    loaded = load(
        ("cpu fp32i8 *2 -> cpu fp32", "cpu fp32i8"),
        ("cuda fp16i8 *2+", "cpu fp32i8 *3 -> cpu fp32i8"),
        ("  - cuda fp16\n  - cuda:1 fp16 *2 -> cpu fp32\n", ""),
    )
    seen = look(loaded)
    planned = plan(loaded, machine_with(), seen)
    known = known_here(planned, loaded, seen, tmp_path, cores=4, no_cache=False)
    found = foresee_time(planned, loaded, seen, known)
    converting = [one for one in found.once if one.what == "converting weights"]
    assert len(converting) == 2  # of each model


def test_weights_of_what_a_run_has_done_are_not_said_to_be_converted(load, machine_with, capsys):
    planned = plan(load(CPU), machine_with())

    def shown(turns):
        foreseen = Foreseen(left=Left(turns=turns), time=RunTime(cells=()), turns=turns)
        show_plan(planned, foreseen, ["study.yaml"])
        return capsys.readouterr().out.partition("Weights are converted once")[2]

    turns = order(planned.cells, planned.seed)
    assert "  made-up: cpu fp32i8 *2 -> cpu fp32 (" in shown(turns)
    assert "made-up: " not in shown([turn for turn in turns if turn[0].model == "tiny"])
    assert not shown([turn for turn in turns if turn[0].strategy == "cpu fp32"])


def test_what_the_run_cannot_exceed_comes_behind_what_is_foreseen(shown):
    """The worst that may be is hours where the run takes seconds."""
    flat = " ".join(shown().split())
    foreseen = re.search(r"about \d+ s: 16 trials", flat)
    assert foreseen is not None
    assert foreseen.start() < flat.index("With its deadline a trial takes 30 min at worst")
    assert "cool-down" not in flat


def test_cooling_down_is_said_where_it_is_asked_for(shown, study):
    text = study.read_text(encoding="utf-8")
    study.write_text(f"{text}cooldown: {{below_c: 60, max_wait_s: 120}}\n", encoding="utf-8")
    assert "With deadline and cool-down a trial takes 32 min at worst" in " ".join(shown().split())


@pytest.mark.parametrize(("is_for_gate", "named"), [(True, "m for the gate"), (False, "m")])
def test_a_reference_for_the_gate_alone_is_said_to_be(is_for_gate, named):
    def lines(**more):
        one = ReferenceSize(model="m", rows=1, n_vocab=4, s=3.0, is_for_gate=is_for_gate, **more)
        return list(time_lines(time_of(cell_time(1.0), references=(one,))))

    [*_, kept] = lines(is_kept=True)
    assert kept == f"Exact references that are in the cache: {named} (16 B at most)."
    [*_, made] = lines(is_kept=False)
    assert made.startswith(f"  {named}: about 3.0 s, ")


def test_a_model_of_which_quality_is_asked_has_no_reference_for_the_gate_alone(load, shown):
    load(SHORT, CPU, ("  answers:", "  quality: {}\n  answers:"), ("workload: answers}", QUALITY))
    flat = " ".join(shown().split())
    assert "needs them: tiny: about" in flat
    assert "made-up for the gate: about" in flat
