"""Peak memory of the exact reference, in a process of its own: one layer or head at a time.

The shape is that of the 430M model with fewer layers, still too large to be held whole.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.runtime import load_model, save_random
from harness.runtime.exact import exact_log_probs
from harness.runtime.passage import Passage
from harness.runtime.shape import ModelShape

ROOT = Path(__file__).parents[2]
SHAPE = ModelShape(n_layer=4, n_embd=1024, n_vocab=50277, dim_ffn=4096)
N_TOKENS = 400
MB = 10**6
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MEASURE = """
import json, sys
sys.path.insert(0, {root!r})
import torch
from harness.machine.memory import peak_rss_bytes
from harness.runtime.exact import exact_log_probs
from harness.runtime.passage import Passage
torch.set_num_threads(1)
ids = tuple(range(0, 50000, 50000 // {n_tokens}))[:{n_tokens}]
passages = [Passage(ids, first={n_tokens} - 150), Passage((3, 2, 1))]
n_rows = sum(len(rows) for _, rows in exact_log_probs({source!r}, passages))
print(json.dumps({{"peak": peak_rss_bytes().bytes, "n_rows": n_rows}}))
"""


@pytest.mark.slow
def test_it_equals_the_whole_430m_model_in_float32():
    torch.set_num_threads(1)
    ids = np.random.default_rng(0).integers(0, SHAPE.n_vocab, 60)
    passages = [Passage(tuple(ids.tolist())), Passage(tuple(ids[:20].tolist()), first=7)]
    found = [[], []]
    for index, rows in exact_log_probs("random:430m", passages):
        found[index].append(rows)
    model = load_model("random:430m", "cpu fp32")
    for passage, chunks in zip(passages, found, strict=True):
        logits, _ = model.forward(passage.ids, full_output=True)
        expected = torch.log_softmax(logits[passage.first :], dim=-1).numpy()
        assert np.abs(np.concatenate(chunks) - expected).max() < 1e-6


@pytest.mark.parametrize(
    "dtype", [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.slow)], ids=str
)
def test_one_layer_or_the_head_is_in_memory_and_no_more(dtype, tmp_path):
    """In float32, what were held of the file beside would be as much again."""
    path = tmp_path / "model.pth"
    save_random(path, SHAPE, dtype=dtype)
    code = MEASURE.format(root=str(ROOT), n_tokens=N_TOKENS, source=str(path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    path.unlink()  # hundreds of megabytes, which pytest would keep for three runs
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["n_rows"] == 153
    head = 4 * SHAPE.n_vocab * SHAPE.n_embd
    activations = 4 * (N_TOKENS + 3) * SHAPE.n_embd
    allowed = head + activations + 400 * MB
    print(f"peak {figures['peak'] / MB:.0f} MB, allowed {allowed / MB:.0f} MB")
    assert figures["peak"] < allowed
    assert head + 150 * MB < figures["peak"]
