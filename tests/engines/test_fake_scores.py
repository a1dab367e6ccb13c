"""The `fake` engine scores without a model: every token is equally likely."""

import numpy as np
import pytest

from harness.engines.base import SCORE_CHUNK, ModelSource
from harness.engines.fake import FakeEngine


@pytest.mark.parametrize("n_tokens", [0, 1, SCORE_CHUNK, SCORE_CHUNK + 1])
def test_scores_are_chunks_of_equal_probabilities(n_tokens, tmp_path):
    (tmp_path / "script.yaml").write_text("vocab: 50")
    model = ModelSource(weights=tmp_path / "script.yaml")
    chunks = list(FakeEngine().open(model, "cpu fp32", threads=1).score(np.arange(n_tokens)))
    assert all(1 <= len(chunk) <= SCORE_CHUNK for chunk in chunks)
    rows = np.concatenate([np.empty((0, 50), dtype=np.float32), *chunks])
    assert rows.shape == (n_tokens, 50)
    assert rows.dtype == np.float32
    assert np.abs(np.exp(rows) - 1 / 50).max(initial=0) < 1e-7
