"""What watching the machine costs: the sampler by itself, and trials with it on against off.

`test_sampling` times what the harness does beside a worker: beginning to watch, one sample (once a
second), and the end, and `test_drawing` one drawing of the live line. `test_on_against_off` runs
trials in turn, with `noise: on`, with `noise: off`, and with `noise: on` while the live line of
`run` is drawn on a terminal: the ratio of their decode speeds says whether the sampler is felt, and
the parent's CPU time what each takes. Nothing is asserted about time.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from statistics import median

import pytest
import yaml
from rich.console import Console

from harness.cli.display import RunDisplay
from harness.config.load import load_study
from harness.machine import probe_machine
from harness.machine.quiet import Probes, Sampler
from harness.measure.bench import identify_models, prepare_bench
from harness.measure.trial import Trial, measure
from harness.plan.plan import plan
from harness.stats import ratio

PAIRS = int(os.environ.get("PAIRS", "8"))
# Some seconds of decoding: small weights, so that what is felt is not lost in a busy memory.
SIDES = {"on": "sampler on", "off": "sampler off", "drawn": "sampler on, live line drawn"}
SPEED = {"prompt_tokens": 64, "generate_tokens": 3000, "passes": 1, "trials": 1}


class Often(Sampler):
    """Samples whenever it is asked to, not once a second."""

    def sample(self):
        self._read(sampled_only=True)


@pytest.mark.parametrize("what", ["begin", "sample", "end"])
def test_sampling(race, what):
    sampler = Often(Probes().sources(gpus=None))
    sampler.begin(os.getpid())
    calls = {
        "begin": lambda: sampler.begin(os.getpid()),
        "sample": sampler.sample,
        "end": sampler.end,
    }
    race(f"sampler, {what}", "ours", ours=calls[what], loops=10)


@pytest.fixture
def bench_of(tmp_path):
    """A bench for one cell, the shipped model's, under one setting of `noise`."""

    def make(*, noise):
        folder = tmp_path / f"noise-{noise}"
        folder.mkdir()
        path = folder / "study.yaml"
        study = {
            "name": "sampler",
            "models": {"shipped": {"weights": "builtin:quickstart"}},
            "strategies": ["cpu fp32"],
            "workloads": {"speed": SPEED},
            "noise": noise,
        }
        path.write_text(yaml.safe_dump(study), encoding="utf-8")
        loaded, machine = load_study(path), probe_machine()
        planned = plan(loaded, machine)
        models = identify_models(loaded, lambda _: None)
        return planned.cells[0].cell, prepare_bench(loaded, planned, machine, models, folder)

    return make


@contextmanager
def terminal():
    """A console whose terminal is a program that reads and throws away, as fast as it can."""
    import pty
    import threading

    reads, writes = pty.openpty()

    def drain():
        try:
            while os.read(reads, 65536):
                pass
        except OSError:  # the other end was closed
            os.close(reads)

    reader = threading.Thread(target=drain)
    reader.start()
    try:
        with os.fdopen(writes, "w", encoding="utf-8") as file:
            yield Console(file=file, width=80, force_terminal=True)
    finally:
        reader.join()


def test_drawing(race, bench_of):
    with terminal() as out:
        cell, _ = bench_of(noise=True)
        display = RunDisplay(out, 12, clock=iter(range(10**9)).__next__)  # each is due
        with display.shown():
            display.begin(Trial(cell=cell, trial=0, attempt=0))
            race("display, one drawing", "ours", ours=display.tick, loops=10)


def test_on_against_off(bench_of, benchmark, capsys):
    benches = {"on": bench_of(noise=True), "off": bench_of(noise=False)}
    benches["drawn"] = benches["on"]
    records = {side: [] for side in benches}

    def in_turn():
        for number in range(1 if benchmark.disabled else PAIRS):
            for side in sorted(benches, reverse=bool(number % 2)):
                cell, bench = benches[side]
                trial = Trial(cell=cell, trial=number, attempt=0)
                records[side].append(
                    drawn(trial, bench) if side == "drawn" else measure(trial, bench)
                )

    benchmark.pedantic(in_turn, rounds=1)
    speeds = {side: [r.decode_tok_per_s for r in found] for side, found in records.items()}
    assert all(all(values) for values in speeds.values())
    with capsys.disabled():
        sys.stdout.writelines(f"\n{line}" for line in _report(speeds, records))


def drawn(trial, bench):
    """As `run` does it on a terminal."""
    with terminal() as out:
        display = RunDisplay(out, 12)
        with display.shown():
            display.begin(trial)
            return measure(
                trial,
                bench,
                on_message=display.message,
                on_wait=display.tick,
                on_note=display.note,
                on_cooling=display.cool,
            )


def _report(speeds, records):
    for side, values in speeds.items():
        shown = ", ".join(f"{value:.1f}" for value in values)
        shares = [r.validity.parent_cpu_s / r.validity.wall_s for r in records[side]]
        yield (
            f"{SIDES[side]}: decode {median(values):.1f} tok/s ({shown}); parent CPU "
            f"{median(shares):.3%} of the trial's time, at most {max(shares):.3%}"
        )
    if len(speeds["on"]) > 1:
        for one, other in (("on", "off"), ("drawn", "on")):
            found = ratio(speeds[one], speeds[other])
            interval = (
                "" if found.low is None else f", 95 % interval {found.low:.3f} to {found.high:.3f}"
            )
            yield f"{one} / {other}: {found.value:.3f}{interval}"
