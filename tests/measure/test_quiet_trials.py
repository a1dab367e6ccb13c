"""Trials on a machine that is not quiet: marked, noisy, or fine. Its sources are made up."""

import time
from dataclasses import replace

import msgspec
import pytest
import yaml

from harness.config.load import load_study
from harness.config.noise_settings import Noise, noise_of, retries_of
from harness.machine import probe_machine
from harness.machine.facts import NotKnown
from harness.machine.quiet import Sampler
from harness.machine.quiet.probes import ALL_FIGURES
from harness.measure.bench import prepare_bench
from harness.measure.identity import ModelIdentity
from harness.measure.job import Finished, Imported, Opened, Passed
from harness.measure.trial import Trial, measure
from harness.measure.watching import (
    MachineWatcher,
    cuda_devices_of,
    disturbances,
    judged_quiet,
)
from harness.plan.plan import plan
from harness.records.record import Outcome, Record
from harness.records.validity import Disturbance, Validity
from harness.runtime.strategy import resolve

READING = {"bytes": 1, "missing": None}


class Telling:
    """A source that has its answers from the start."""

    def __init__(self, **figures):
        self.figures = tuple(figures)
        self.sampled = True
        self._figures = figures
        self.reads = 0

    def read(self, worker):
        del worker
        self.reads += 1
        return self.reads

    def tell(self, readings, seconds):
        del readings, seconds
        return self._figures


class TellingProbes:
    """Stands for `Probes`."""

    def __init__(self, **figures):
        self._figures = figures
        self.asked = []

    def sources(self, *, gpus):
        self.asked.append(gpus)
        return [Telling(**self._figures)]


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def opened():
    return Opened(load_s=1, peak_rss=READING, n_vocab=5, plan=[], warnings=[])


def finished():
    return Finished(peak_rss=READING, device_peak_bytes={})


@pytest.fixture
def run_trial(tmp_path):
    """Run one trial of the fake engine under made-up figures; `study` changes the study."""

    def run(figures, script=None, workload="speed", **study):
        (tmp_path / "script.yaml").write_text(yaml.safe_dump(script or {}), encoding="utf-8")
        path = tmp_path / "study.yaml"
        speed = {"prompt_tokens": 2, "generate_tokens": 2, "passes": 1}
        path.write_text(
            yaml.safe_dump(
                {
                    "name": "noise",
                    "models": {"scripted": {"weights": "script.yaml"}},
                    "engines": ["fake"],
                    "strategies": ["cpu fp32"],
                    "workloads": {workload: speed},
                    **study,
                }
            ),
            encoding="utf-8",
        )
        loaded = load_study(path)
        machine = probe_machine()
        planned = plan(loaded, machine)
        models = {"scripted": ModelIdentity(weights_sha256="w", tokenizer_sha256=None)}
        bench = prepare_bench(loaded, planned, machine, models, tmp_path)
        bench = replace(bench, probes=TellingProbes(**figures))
        (one,) = planned.cells
        return measure(Trial(cell=one.cell, trial=0, attempt=0), bench)

    return run


def judged(figures, noise=None):
    """The outcome of a good speed trial with these figures, and what was beyond its limits."""
    found = disturbances(Validity(**figures), noise or Noise())
    validity = Validity(**figures, disturbances=found)
    return judged_quiet(Outcome(kind="ok"), validity, "speed"), found


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({"throttle_events": 3}, "throttled 3 (limit 0)"),
        ({"swap_in_bytes": 2**22}, "swap in 4.0 MiB (limit 1.0 MiB)"),
        ({"foreign_gpu_processes": 1}, "others on GPU 1 (limit 0)"),
        ({"gpu_throttle_share": 0.5}, "GPU slowed 50 % (limit 0 %)"),
        ({"cpu_wait_share": 0.2}, "waited for CPU 20 % (limit 5.0 %)"),
        ({"steal_share": 0.3}, "stolen 30 % (limit 5.0 %)"),
        ({"cpu_quota_share": 0.3}, "CPU limit 30 % (limit 1.0 %)"),
        ({"memory_stall_share": 0.3}, "memory stall 30 % (limit 5.0 %)"),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else "",
)
def test_what_spoils_a_trial(figures, reason):
    outcome, found = judged(figures)
    assert (outcome.kind, outcome.reason) == ("noisy", reason)
    assert [one.cause for one in found] == list(figures)


def test_a_noisy_trial_keeps_its_figures(run_trial):
    record = run_trial({"throttle_events": 3, "other_cpu_cores": 1.0})
    assert (record.outcome.kind, record.outcome.reason) == ("noisy", "throttled 3 (limit 0)")
    assert record.decode_s
    assert record.decode_tok_per_s is not None
    assert (record.validity.throttle_events, record.validity.other_cpu_cores) == (3, 1.0)
    causes = [(one.cause, one.spoils) for one in record.validity.disturbances]
    assert causes == [("other_cpu_cores", False), ("throttle_events", True)]


@pytest.mark.parametrize(
    "figures",
    [
        {"other_cpu_cores": 1.5},
        {"cpu_stall_share": 0.9},
        {"io_stall_share": 0.9},
        {"battery_share": 1.0},
    ],
    ids=lambda figures: next(iter(figures)),
)
def test_what_may_not_matter_is_marked_and_counts(figures):
    outcome, found = judged(figures)
    assert outcome.kind == "ok"
    assert [one.cause for one in found] == list(figures)


def test_the_study_says_what_is_too_much(run_trial):
    noise = {"other_cpu_cores": 2.0, "swap_in_bytes": None, "noisy": ["other_cpu_cores"]}
    outcome, found = judged({"other_cpu_cores": 1.5, "swap_in_bytes": 2**40}, Noise(**noise))
    assert (outcome.kind, found) == ("ok", [])
    record = run_trial({"other_cpu_cores": 2.5, "throttle_events": 9}, noise=noise)
    assert record.outcome.reason == "other CPU 2.50 CPUs (limit 2.00 CPUs)"


def test_a_quiet_trial_is_ok_and_says_what_was_seen(run_trial):
    before = time.process_time()
    record = run_trial({"other_cpu_cores": 0.1, "cpu_min_mhz": 3000.0})
    assert record.outcome.kind == "ok"
    validity = record.validity
    assert (validity.during, validity.other_cpu_cores, validity.cpu_min_mhz) == (
        "measuring",
        0.1,
        3000.0,
    )
    assert validity.samples >= 2
    assert 0 < validity.parent_cpu_s < time.process_time() - before
    assert validity.seen_s <= validity.wall_s
    assert validity.steal_share is None


def test_a_trial_that_failed_is_not_noisy(run_trial):
    record = run_trial({"throttle_events": 3}, {"fail": {"at": "open", "how": "error"}})
    assert record.outcome.kind == "crashed"
    assert record.validity.during == "trial"
    assert [one.cause for one in record.validity.disturbances] == ["throttle_events"]


def test_noise_off_neither_looks_nor_judges(run_trial):
    record = run_trial({"throttle_events": 3}, noise=False)
    assert record.outcome.kind == "ok"
    assert record.validity.throttle_events is None
    assert record.validity.missing == dict.fromkeys(ALL_FIGURES, "the study says `noise: off`")
    assert record.validity.parent_cpu_s > 0


def test_off_is_what_yaml_makes_of_it(tmp_path):
    (tmp_path / "w.yaml").write_text("{}", encoding="utf-8")
    path = tmp_path / "study.yaml"
    path.write_text(
        "name: n\nmodels: {m: {weights: w.yaml}}\nengines: [fake]\nstrategies: [cpu fp32]\n"
        "workloads: {speed: {}}\nnoise: off\n",
        encoding="utf-8",
    )
    noise = load_study(path).study.noise
    assert noise is False
    assert (noise_of(noise), retries_of(noise)) == (None, 0)
    assert (noise_of(True), retries_of(True)) == (Noise(), 2)


def test_answers_are_never_noisy():
    spoilt = Validity(
        disturbances=[Disturbance(cause="steal_share", figure=1, limit=0, spoils=True)]
    )
    ok = Outcome(kind="ok")
    assert judged_quiet(ok, spoilt, "answers") == ok
    assert judged_quiet(ok, spoilt, "speed").kind == "noisy"
    assert judged_quiet(ok, None, "speed") == ok


def test_a_figure_at_its_limit_is_not_beyond_it_and_none_is_beyond_nothing():
    noise = Noise(throttle_events=2.0)
    assert disturbances(Validity(throttle_events=2), noise) == []
    assert disturbances(Validity(), noise) == []
    (found,) = disturbances(Validity(throttle_events=3), noise)
    assert (found.figure, found.limit, found.spoils) == (3, 2.0, True)


def test_the_window_is_from_the_loaded_model_to_the_last_word():
    source, clock = Telling(throttle_events=0), Clock()
    watcher = MachineWatcher(Sampler([source], clock), clock)
    watcher.start(50)
    clock.now = 7.0
    watcher.hear(Imported(versions={}, peak_rss=READING))
    watcher.hear(opened())
    clock.now = 9.0
    watcher.hear(Passed(prefill=[], decode_s=[]))
    clock.now = 10.0
    watcher.hear(finished())
    clock.now = 15.0  # the worker takes its time to leave
    watcher.tick()
    watcher.stop()
    validity = watcher.validity(Noise())
    assert (validity.during, validity.seen_s, validity.wall_s) == ("measuring", 3.0, 15.0)
    assert validity.samples == 3


def test_a_worker_that_says_nothing_is_watched_from_its_start():
    clock = Clock()
    watcher = MachineWatcher(Sampler([Telling(throttle_events=0)], clock), clock)
    watcher.start(50)
    clock.now = 4.0
    watcher.waking(None)()
    clock.now = 5.0
    watcher.stop()
    validity = watcher.validity(Noise())
    assert (validity.during, validity.seen_s, validity.samples) == ("trial", 5.0, 3)


def test_what_is_heard_and_waited_for_is_passed_on():
    clock, passed = Clock(), []
    watcher = MachineWatcher(Sampler([Telling()], clock), clock)
    watcher.start(50)
    watcher.hearing(passed.append)(opened())
    watcher.waking(lambda: passed.append("woke"))()
    assert passed == [opened(), "woke"]


def test_a_worker_that_was_never_started_was_not_watched():
    assert MachineWatcher(Sampler([])).validity(Noise()) is None


def test_gpus_are_watched_only_where_they_are_used():
    assert cuda_devices_of(resolve("cpu fp32i8 *3 -> cpu fp32", 4)) == frozenset()
    assert cuda_devices_of(resolve("cuda fp16 *3 -> cpu fp32", 4)) == {"cuda:0"}
    assert cuda_devices_of(resolve("cuda:1 fp16 *2 -> cuda fp16", 4)) == {"cuda:0", "cuda:1"}
    assert cuda_devices_of(resolve("mps fp16", 4)) == frozenset()
    assert cuda_devices_of(None) is None


def test_a_record_keeps_its_validity(run_trial):
    record = run_trial({"gpus": [{"index": 0, "name": "H100", "slowed_by": ["power limit"]}]})
    again = msgspec.json.decode(msgspec.json.encode(record), type=Record)
    assert again.validity == record.validity
    assert again.validity.gpus[0].slowed_by == ["power limit"]


def test_a_source_that_fails_leaves_its_reason(run_trial, monkeypatch):
    def fails(_source, _worker):
        raise NotKnown("it is gone")

    monkeypatch.setattr(Telling, "read", fails)
    record = run_trial({"throttle_events": 3})
    assert record.outcome.kind == "ok"
    assert record.validity.missing == {"throttle_events": "it is gone"}
