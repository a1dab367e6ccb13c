"""Peak memory of the quality worker, in a process of its own: the model and some rows, no more.

The shape has the vocabulary of the 20B tokenizer and little else, so that rows are what is large.
"""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.measure.job import ScoredPassage, Scoring
from harness.measure.passages import passage
from harness.quality.rows_file import RowsWriter
from harness.records.quality import QualityReference
from harness.runtime import save_random
from harness.runtime.shape import ModelShape

ROOT = Path(__file__).parents[2]
SHAPE = ModelShape(n_layer=1, n_embd=64, n_vocab=50277, dim_ffn=256)
MB = 10**6
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MEASURE = """
import sys
sys.path.insert(0, {root!r})
import msgspec, torch
from pathlib import Path
from harness.engines.base import ModelSource
from harness.engines.torch_engine import TorchEngine
from harness.language.sampling import SamplingSettings
from harness.machine.memory import peak_rss_bytes
from harness.measure.job import Scoring
from harness.measure.scoring import measure_quality
scoring = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Scoring)
torch.set_num_threads(1)
session = TorchEngine().open(ModelSource(weights=Path({weights!r})), "cpu fp32", threads=1)
said = []
measure_quality(session, scoring, SamplingSettings(), said.append)
quality = said[-1].quality
n = len(quality.text.kl) + sum(len(one.scored.kl) for one in quality.answers)
print(msgspec.json.encode([peak_rss_bytes().bytes, n]).decode())
"""


def stored(path, passages):
    """Their rows: all the same, so that writing 100 MB takes no time."""
    others = np.log((1 - np.exp(-1)) / (SHAPE.n_vocab - 1))
    row = np.full((1, SHAPE.n_vocab), others, dtype=np.float32)
    row[0, 0] = -1  # what the reference would draw
    with path.open("wb") as file:
        writer = RowsWriter(file, {one.key: one.n_rows for one in passages}, SHAPE.n_vocab, {})
        for _ in range(sum(one.n_rows for one in passages)):
            writer.write(row)
        writer.finish()


def peak(folder, weights, n):
    """Of scoring n tokens of a text, and n of an answer; and how many were scored."""
    ids = [at % 50_000 for at in range(n)]
    text, answer = passage("w", ids, 0, ids), passage("w", [7, *ids[1:]], 0, [0] * n)
    rows = folder / f"{n}.safetensors"
    stored(rows, [text, answer])
    scoring = Scoring(
        reference=QualityReference(form="full", weights_sha256="w", method="made up"),
        passages=[
            ScoredPassage(passage=text, file=str(rows)),
            ScoredPassage(passage=answer, file=str(rows), answer="q"),
        ],
    )
    job = folder / "job.json"
    job.write_bytes(msgspec.json.encode(scoring))
    code = MEASURE.format(root=str(ROOT), weights=str(weights))
    done = subprocess.run(
        [sys.executable, "-c", code, str(job)], capture_output=True, text=True, check=False
    )
    rows.unlink()  # pytest would keep it for three runs
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_more_tokens_take_no_more_memory(tmp_path):
    weights = tmp_path / "model.pth"
    save_random(weights, SHAPE)
    little, n_little = peak(tmp_path, weights, 128)
    much, n_much = peak(tmp_path, weights, 1024)
    assert (n_little, n_much) == (256, 2048)
    rows = 4 * (n_much - n_little) * SHAPE.n_vocab
    print(f"peak {little / MB:.0f} MB and {much / MB:.0f} MB; rows {rows / MB:.0f} MB more")
    # The allocator keeps some chunks of 64 rows (13 MB each), now more and now fewer of them.
    assert much - little < 100 * MB < rows / 3
