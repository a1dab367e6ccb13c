"""The forecast against the resident memory of a fresh process, load, decode and prefill apart.

Figures are printed: `pytest -s tests/runtime/test_forecast_memory.py`.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.runtime.checkpoint import read_header
from harness.runtime.forecast import Conditions, forecast
from harness.runtime.shape import RANDOM_SHAPES
from harness.runtime.strategy import resolve
from harness.runtime.synth_file import save_random

PROBE = Path(__file__).with_name("forecast_probe.py")
ROOT = Path(__file__).parents[2]
WITHIN = 0.10
FORMATS = ("fp32", "bf16", "fp16", "fp32i8", "bf16i8", "fp16i8")
SPLITS = ("cpu fp32i8 *6 -> cpu fp32", "cpu bf16 *6 -> cpu fp32i8", "cpu fp32 *3+")
USUAL = ("cpu fp32", "cpu bf16", "cpu fp16", "cpu fp32i8", "cpu bf16i8", *SPLITS[::2])
ALL = (*(f"cpu {name}" for name in FORMATS), *SPLITS)
SLOW = [("169m", strategy) for strategy in ALL if strategy not in USUAL]
SLOW += [("430m", strategy) for strategy in ALL]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def file_of(tmp_path_factory):
    """A bf16 file of a published shape, written once."""
    folder = tmp_path_factory.mktemp("weights")

    def write(size):
        path = folder / f"{size}.pth"
        if not path.exists():
            save_random(path, RANDOM_SHAPES[size])
        return path

    yield write
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(("size", "strategy"), [("169m", strategy) for strategy in USUAL])
def test_the_forecast_is_within_ten_percent(size, strategy, file_of):
    assert_forecast(file_of(size), strategy)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "strategy"), SLOW)
def test_the_forecast_of_all_others_is_too(size, strategy, file_of):
    assert_forecast(file_of(size), strategy)


def assert_forecast(path, strategy):
    done = subprocess.run(
        [sys.executable, PROBE, path, strategy],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    shape = read_header(path).shape
    host = forecast(
        shape, resolve(strategy, shape.n_layer), Conditions(half_on_cpu=told["half_on_cpu"])
    ).host
    foreseen = {
        "load": host.load_bytes,
        "decode": host.decode_bytes,
        "prefill": host.prefill_bytes,
    }
    off = {phase: foreseen[phase] / grown - 1 for phase, grown in told["grown"].items()}
    print(f"\n{path.stem} {strategy}")
    for phase, grown in told["grown"].items():
        mib = f"forecast {foreseen[phase] / 2**20:7.1f} MiB, measured {grown / 2**20:7.1f} MiB"
        print(f"  {phase:8}{mib}, {off[phase]:+.1%}")
    assert max(map(abs, off.values())) <= WITHIN, off
