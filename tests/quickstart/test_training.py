"""Training, in the small: it learns, its files load, and a seed repeats it."""

import pytest
import torch

from harness.language.tokenizer import load_tokenizer
from harness.quickstart import files
from harness.quickstart.train import Recipe, train
from harness.runtime import load_model

TINY = {"n_layer": 2, "n_embd": 32, "n_turns": 2000, "steps": 60, "batch": 8, "tokens": 48}


@pytest.fixture(autouse=True)
def _threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_short_training(tmp_path):
    seen = []
    log = train(tmp_path / "one", Recipe(**TINY, warmup_steps=5), seen.append)
    again = train(tmp_path / "two", Recipe(**TINY, warmup_steps=5), lambda _: None)
    assert [now.step for now in seen] == [10, 20, 30, 40, 50, 60]
    assert [point["step"] for point in log["curve"]] == [50, 60]
    assert seen[-1].loss < 6.0  # an untrained model is at ln 768 = 6.6
    assert 0 <= log["held_out_sums"]["right"] <= 1
    assert log["n_params"] == 2 * 768 * 32 + 13 * 32**2 * 2 + 32 * (11 * 2 + 4)
    files_of = [tmp_path / name / files.WEIGHTS_NAME for name in ("one", "two")]
    one, two = (torch.load(path) for path in files_of)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert [p["loss"] for p in log["curve"]] == [p["loss"] for p in again["curve"]]
    tokenizer = load_tokenizer(tmp_path / "one" / files.TOKENIZER_NAME)
    logits, _ = load_model(files_of[0], "cpu fp32").forward(tokenizer.encode("Bob: Hello."))
    assert logits.shape == (768,)


def test_another_seed_trains_another_model(tmp_path):
    few = {**TINY, "steps": 2}
    train(tmp_path / "one", Recipe(**few), lambda _: None)
    train(tmp_path / "two", Recipe(**few, seed=1), lambda _: None)
    one, two = (torch.load(tmp_path / name / files.WEIGHTS_NAME) for name in ("one", "two"))
    assert not torch.equal(one["emb.weight"], two["emb.weight"])
