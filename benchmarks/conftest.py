"""Microbenchmarks: the parts of the harness, beside the official `rwkv` package where it has them.

    make microbench
    make microbench ARGS="--threads 2 --model-size 430m --strategy 'cpu bf16i8'"

They time the parts in one process, to see what a change of the code does. What a machine can do
is measured by `rwkv-harness run`, with a fresh process per trial.

pytest-benchmark times one function to the end before it times the next, so that a machine which
grows slower meanwhile counts against the second. Here the rounds of both are interleaved, and the
samples are then handed to pytest-benchmark through its clock, as if it had timed them. Nothing is
asserted about time; what both sides compute is compared before they are timed.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from statistics import median

import pytest

from harness.runtime import save_random
from harness.runtime.shape import RANDOM_SHAPES

SIDES = ("ours", "theirs")
SWITCHES = ("RWKV_JIT_ON", "RWKV_CUDA_ON")  # the official package's, read when it is imported
WARMUP_ROUNDS = 3  # TorchScript compiles in its first calls
MIN_ROUNDS = 6
MAX_ROUNDS = 500


def pytest_addoption(parser):
    group = parser.getgroup("rwkv-harness microbenchmarks")
    group.addoption("--model-size", default="169m", help="shape of the random model (169m, 430m…)")
    group.addoption("--strategy", action="append", help="may be repeated; CPU ones by default")
    group.addoption("--threads", type=int, default=1, help="CPU threads of torch, for both sides")
    group.addoption("--prompt-tokens", type=int, default=64, help="length of the sequence forward")
    group.addoption("--seconds", type=float, default=4.0, help="measured time per comparison")
    group.addoption("--tokenizer", default=None, help="a tokenizer file; by default a small one")


class ReplayClock:
    """The clock pytest-benchmark reads: it moves by the samples that were taken before."""

    def __init__(self):
        self.now = 0.0

    def replay(self, samples):
        """A function that lasts, by this clock, one of `samples` a call."""
        remaining = iter(samples)

        def play():
            self.now += next(remaining)

        return play


CLOCK = ReplayClock()


def interleaved_clock():
    return CLOCK.now


def pytest_generate_tests(metafunc):
    if "side" in metafunc.fixturenames:
        metafunc.parametrize("side", SIDES)


def pytest_collection_modifyitems(items):
    for item in items:
        if "race" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.benchmark(timer=interleaved_clock))
            # TorchScript, which the official package is written in, warns of its end.
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))


@dataclass
class Race:
    """Samples of both sides, in seconds per call."""

    samples: dict[str, list[float]]

    @property
    def medians(self):
        return {side: median(s) for side, s in self.samples.items()}


def time_interleaved(functions: dict[str, Callable[[], object]], loops: int, seconds: float):
    """Rounds of `loops` calls, the sides in turn, each first in every other round."""
    samples = {side: [] for side in functions}
    order = list(functions)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(WARMUP_ROUNDS):
            for side in order:
                functions[side]()
        end = time.perf_counter() + seconds
        for n in range(MAX_ROUNDS):
            if n >= MIN_ROUNDS and time.perf_counter() >= end:
                break
            for side in order:
                call = functions[side]
                begin = time.perf_counter()
                for _ in range(loops):
                    call()
                samples[side].append((time.perf_counter() - begin) / loops)
            order.reverse()
    finally:
        if collecting:
            gc.enable()
    return Race(samples)


RACES = pytest.StashKey[dict[str, Race]]()


def pytest_configure(config):
    config.stash[RACES] = {}


@pytest.fixture
def race(request, benchmark):
    """`race(name, side, ours=…, theirs=…)` times both at the first side, and reports `side`.

    theirs is None where the official package has no such part, or is not installed; `beside` are
    further functions by name, timed in the same rounds, to compare ours with; `detail` is what the
    name leaves out for short.
    """
    races = request.config.stash[RACES]
    seconds = request.config.getoption("--seconds")

    def run(name, side, *, ours, theirs=None, beside=None, loops=1, detail=""):
        functions = {"ours": ours} | ({"theirs": theirs} if theirs else {})
        if side not in functions:
            benchmark.skipped = True
            pytest.skip("the official package has no such part, or is not installed")
        benchmark.group = ", ".join(filter(None, [name, detail]))
        if theirs:
            benchmark.group += f"; theirs: {_theirs()}"
        if benchmark.disabled:
            functions[side]()
            benchmark.pedantic(lambda: None)
            return
        if name not in races:
            races[name] = time_interleaved(functions | (beside or {}), loops, seconds)
        samples = races[name].samples[side]
        benchmark.pedantic(CLOCK.replay(samples), rounds=len(samples))

    return run


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter, config):
    races = config.stash[RACES]
    if not races:
        return
    terminalreporter.section("ours beside the official package")
    width = max(map(len, races))
    terminalreporter.write_line(f"{'':{width}}  {'ours':>10}  {'theirs':>10}  ours/theirs")
    for name, result in races.items():
        ours, theirs = (result.medians.get(side) for side in SIDES)
        ratio = f"{ours / theirs:.3g}" if theirs else "–"
        terminalreporter.write_line(
            f"{name:{width}}  {_shown(ours):>10}  {_shown(theirs):>10}  {ratio:>11}"
        )
    for name, result in races.items():
        medians = result.medians
        for other in [other for other in medians if other not in SIDES]:
            ratio = medians["ours"] / medians[other]
            terminalreporter.write_line(f"{name}: ours takes {ratio:.3g} times as long as {other}")
    terminalreporter.write_line(
        "Medians of interleaved rounds; below 1, ours takes less time. One process for both:"
    )
    terminalreporter.write_line(
        f"{config.getoption('--model-size')}, threads: {config.getoption('--threads')}. "
        f"Theirs: {_theirs()}."
    )


def _shown(seconds):
    if seconds is None:
        return "–"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def _theirs():
    try:
        switches = " ".join(f"{k}={os.environ.get(k, 'unset')}" for k in SWITCHES)
        return f"rwkv {version('rwkv')}, {switches}"
    except PackageNotFoundError:
        return "not installed"


@pytest.fixture(scope="session")
def official():
    """The official package's modules `model` and `utils`, imported once; None without it.

    It reads its switches when it is imported.
    """
    os.environ.setdefault("RWKV_JIT_ON", "1")
    os.environ.setdefault("RWKV_CUDA_ON", "0")
    try:
        import rwkv.model
        import rwkv.utils
    except ImportError:
        return None
    return rwkv


@pytest.fixture(scope="session", autouse=True)
def _threads(request):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(request.config.getoption("--threads"))
    yield
    torch.set_num_threads(before)


def chosen_strategies(config):
    """The strategies of the command line, or the usual ones."""
    return config.getoption("--strategy") or ["cpu fp32", "cpu bf16", "cpu fp32i8"]


@pytest.fixture(scope="session")
def checkpoint(request, tmp_path_factory):
    """Random weights as an original checkpoint, which both sides read."""
    size = request.config.getoption("--model-size")
    path = tmp_path_factory.mktemp("weights") / f"{size}.pth"
    save_random(path, RANDOM_SHAPES[size])
    yield path
    path.unlink()
