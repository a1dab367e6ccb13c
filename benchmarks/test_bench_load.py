"""Loading a checkpoint: beside the official loader, and beside reading the file's bytes.

The official loader has Python collect garbage after every block, which takes the longer the more
the process has imported: here more than in a program that does nothing else.
"""

from __future__ import annotations

import contextlib
import io

from benchmarks.conftest import chosen_strategies
from harness.runtime import load_model

BLOCK = bytearray(2**24)


def pytest_generate_tests(metafunc):
    if "strategy" in metafunc.fixturenames:
        metafunc.parametrize("strategy", chosen_strategies(metafunc.config))


def test_load(race, checkpoint, official, strategy, side, request):
    size = request.config.getoption("--model-size")

    def theirs():
        with contextlib.redirect_stdout(io.StringIO()):  # it prints as it loads
            official.model.RWKV(model=str(checkpoint.with_suffix("")), strategy=strategy)

    race(
        f"load, {strategy}",
        side,
        detail=size,
        ours=lambda: load_model(checkpoint, strategy, fold="file"),
        theirs=official and theirs,
        beside={"reading the file": lambda: read(checkpoint)},
    )


def read(path):
    """All bytes of a file, into memory that is there already."""
    with path.open("rb", buffering=0) as file:
        while file.readinto(BLOCK):
            pass
