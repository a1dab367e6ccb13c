"""Stand-ins for workers: small programs that say what they like and end as they like.

A stand-in is told the same two descriptors as the real worker. Each ends itself with an alarm, so
that a parent that fails to end it fails its test instead of hanging.
"""

import dataclasses
import gc
import json

import pytest

from harness.config.load import load_study
from harness.machine import probe_machine
from harness.measure import process
from harness.measure.bench import prepare_bench
from harness.measure.identity import ModelIdentity
from harness.measure.trial import Trial, measure
from harness.plan.plan import plan

STAND_IN = """
import json, os, signal, sys
signal.alarm(60)
told, pipe = int(sys.argv[1]), int(sys.argv[2])
MEMORY = {"bytes": 1, "missing": None, "method": None}

def say(tag, **fields):
    os.write(pipe, json.dumps({"type": tag, "peak_rss": MEMORY, **fields}).encode() + b"\\n")

def imported(**versions):
    say("imported", versions={name: str(value) for name, value in versions.items()})

def opened(plan=()):
    say("opened", load_s=1, n_vocab=5, plan=list(plan), warnings=[])

def passed():
    say("passed", prefill=[{"tokens": 2, "s": 0.5}], decode_s=[0.25])

def finished():
    say("finished", device_peak_bytes={})

def hang():
    while True:
        signal.pause()

def descendant():
    "A child that inherits the pipe and everything else, and stays."
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        hang()
    return pid
"""

ONE_TRIAL = """\
name: one
models: {{m: {{weights: script.yaml, tokenizer: null}}}}
engines: [fake]
threads: {threads}
strategies: [cpu fp32]
workloads: {{speed: {{prompt_tokens: 4, generate_tokens: 2, passes: 1, trials: 1}}}}
noise: off
"""


@pytest.fixture
def stand_in(monkeypatch):
    """Let `code` be what a worker runs."""

    def use(code):
        monkeypatch.setattr(process, "_START", STAND_IN + code)

    return use


@pytest.fixture
def record_of(tmp_path):
    """The record of one trial whose worker follows a script, on a machine with further facts."""

    def measured(script, *, threads=1, facts=None, **trial):
        (tmp_path / "script.yaml").write_text(json.dumps(script), encoding="utf-8")
        (tmp_path / "study.yaml").write_text(ONE_TRIAL.format(threads=threads), encoding="utf-8")
        loaded, machine = load_study(tmp_path / "study.yaml"), probe_machine()
        planned = plan(loaded, machine)
        nothing = ModelIdentity(weights_sha256=None, tokenizer_sha256=None)
        bench = dataclasses.replace(
            prepare_bench(loaded, planned, machine, {"m": nothing}, tmp_path),
            machine_facts={**machine.facts, **(facts or {})},
        )
        return measure(Trial(cell=planned.cells[0].cell, trial=0, attempt=0, **trial), bench)

    return measured


@pytest.fixture(scope="module")
def quick_collections():
    """Workloads collect before each pass; what other tests imported need not be looked at.

    Not for modules with properties: Hypothesis looks for references, and finds no frozen ones.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
