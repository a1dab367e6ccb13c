"""Stand-ins for workers: small programs that say what they like and end as they like.

A stand-in is told the same two descriptors as the real worker. Each ends itself with an alarm, so
that a parent that fails to end it fails its test instead of hanging.
"""

import gc

import pytest

from harness.measure import process

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


@pytest.fixture
def stand_in(monkeypatch):
    """Let `code` be what a worker runs."""

    def use(code):
        monkeypatch.setattr(process, "_START", STAND_IN + code)

    return use


@pytest.fixture(scope="module")
def quick_collections():
    """Workloads collect before each pass; what other tests imported need not be looked at.

    Not for modules with properties: Hypothesis looks for references, and finds no frozen ones.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
