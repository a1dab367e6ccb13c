"""Peak memory of converting and loading a 430M-shaped checkpoint, each in a process of its own.

Peaks are high-water marks of resident memory, interpreter, libraries and mapped pages included.
"""

import json
import subprocess
import sys
from math import prod
from pathlib import Path

import pytest
import torch

from harness.runtime.checkpoint import read_header
from harness.runtime.shape import RANDOM_SHAPES, original_tensors
from tests.runtime.conftest import views_of_one_storage

ROOT = Path(__file__).parents[2]
SHAPE = RANDOM_SHAPES["430m"]
MB = 10**6
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MEASURE = """
import json, sys
sys.path.insert(0, {root!r})
import torch
from harness.machine.memory import peak_rss_bytes
torch.set_num_threads(1)
{work}
print(json.dumps({{"peak": peak_rss_bytes().bytes, **result}}))
"""
CONVERT = """
from pathlib import Path
from harness.runtime import convert_model
done = convert_model({source!r}, Path({out!r}), {strategy!r}, form={form!r})
result = {{"bytes": done.nbytes}}
"""
LOAD = """
from harness.runtime import load_model
model = load_model({source!r}, {strategy!r})
result = {{"placed": sum(model.weight_bytes().values())}}
"""


def measured(work, **values):
    """Figures of a fresh interpreter that does `work`."""
    code = MEASURE.format(root=str(ROOT), work=work.format(**values))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A 430M-shaped file: `apart` with tensors of their own, `shared` with views of one storage."""
    folder = tmp_path_factory.mktemp("430m")

    def write(kind):
        path = folder / f"{kind}.pth"
        if not path.exists():
            tensors = live_tensors()
            torch.save(views_of_one_storage(tensors) if kind == "shared" else tensors, path)
        return path

    yield write
    for file in folder.iterdir():
        file.unlink()  # gigabytes, which pytest would keep for three runs


def live_tensors():
    """Numbers that are made in no time, and none of them 0."""
    noise = torch.rand(2**20 + 7).sub_(0.5).bfloat16()
    tensors = {}
    for name, size in original_tensors(SHAPE).items():
        n_items = prod(size)
        tensors[name] = noise.repeat(n_items // len(noise) + 1)[:n_items].clone().view(size)
    return tensors


@pytest.mark.parametrize(
    ("source", "form", "strategy"),
    [
        ("shared", "safetensors", "cuda fp16i8 *20 -> cpu fp32"),
        ("shared", "pth", "cpu fp32i8"),
        pytest.param("shared", "safetensors", "cpu fp32", marks=pytest.mark.slow),
        pytest.param("apart", "safetensors", "cpu bf16i8", marks=pytest.mark.slow),
        pytest.param("apart", "pth", "cpu fp32", marks=pytest.mark.slow),
    ],
)
def test_converting_stays_below_900_mb(source, form, strategy, checkpoint):
    path = checkpoint(source)
    out = path.with_name(f"converted.{form}")
    figures = measured(CONVERT, source=str(path), out=str(out), strategy=strategy, form=form)
    print(f"{source} -> {form}, {strategy}: peak {figures['peak'] / MB:.0f} MB")
    assert figures["peak"] < 900 * MB
    assert read_header(out).shape == SHAPE
    out.unlink()


@pytest.mark.parametrize(
    "strategy",
    [
        "cpu fp32",
        "cpu fp32i8 *12 -> cpu bf16",
        pytest.param("cpu bf16", marks=pytest.mark.slow),
        pytest.param("cpu fp32i8", marks=pytest.mark.slow),
        pytest.param("cpu fp16 *8+", marks=pytest.mark.slow),
    ],
)
def test_loading_peaks_at_the_placed_model_and_little_more(strategy, checkpoint):
    source = checkpoint("shared")
    figures = measured(LOAD, source=str(source), strategy=strategy)
    largest = max(info.span_bytes for info in read_header(source).tensors.values())
    allowed = figures["placed"] + largest + 400 * MB
    print(
        f"{strategy}: peak {figures['peak'] / MB:.0f} MB, "
        f"placed {figures['placed'] / MB:.0f} MB, allowed {allowed / MB:.0f} MB"
    )
    assert figures["peak"] < allowed
