"""What watching the machine costs: the sampler by itself, and trials with it on against off.

`test_sampling` times what the harness does beside a worker: beginning to watch, one sample (once a
second), and the end. `test_on_against_off` runs trials in pairs, one with `noise: on` and one with
`noise: off`, in turn first: the ratio of their decode speeds says whether the sampler is felt, and
the parent's CPU time what it takes. Nothing is asserted about time.
"""

from __future__ import annotations

import os
import sys
from statistics import median

import pytest
import yaml

from harness.config.load import load_study
from harness.machine import probe_machine
from harness.machine.quiet import Probes, Sampler
from harness.measure.bench import identify_models, prepare_bench
from harness.measure.trial import Trial, measure
from harness.plan.plan import plan
from harness.stats import ratio

PAIRS = int(os.environ.get("PAIRS", "8"))
# Some seconds of decoding: small weights, so that what is felt is not lost in a busy memory.
SPEED = {"prompt_tokens": 64, "generate_tokens": 3000, "passes": 1, "trials": 1}


class Often(Sampler):
    """Samples whenever it is asked to, not once a second."""

    def sample(self):
        self._read(sampled_only=True)


@pytest.mark.parametrize("what", ["begin", "sample", "end"])
def test_sampling(race, what):
    sampler = Often(Probes().sources(gpus=True))
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


def test_on_against_off(bench_of, benchmark, capsys):
    sides = {"on": bench_of(noise=True), "off": bench_of(noise=False)}
    records = {side: [] for side in sides}

    def pairs():
        for pair in range(1 if benchmark.disabled else PAIRS):
            for side in sorted(sides, reverse=bool(pair % 2)):
                cell, bench = sides[side]
                records[side].append(measure(Trial(cell=cell, trial=pair, attempt=0), bench))

    benchmark.pedantic(pairs, rounds=1)
    speeds = {side: [r.decode_tok_per_s for r in found] for side, found in records.items()}
    assert all(all(values) for values in speeds.values())
    with capsys.disabled():
        sys.stdout.writelines(f"\n{line}" for line in _report(speeds, records))


def _report(speeds, records):
    for side, values in speeds.items():
        shown = ", ".join(f"{value:.1f}" for value in values)
        shares = [r.validity.parent_cpu_s / r.validity.wall_s for r in records[side]]
        yield (
            f"sampler {side}: decode {median(values):.1f} tok/s ({shown}); parent CPU "
            f"{median(shares):.3%} of the trial's time, at most {max(shares):.3%}"
        )
    if len(speeds["on"]) > 1:
        found = ratio(speeds["on"], speeds["off"])
        interval = (
            "" if found.low is None else f", 95 % interval {found.low:.3f} to {found.high:.3f}"
        )
        yield (f"on / off: {found.value:.3f}{interval}")
