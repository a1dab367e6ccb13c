"""The shipped model answers: scores, size, layout, and a card that is true."""

import json

import pytest
import torch

from harness.cli.train_quickstart import score_questions
from harness.language.tokenizer import load_tokenizer
from harness.quickstart import corpus, files
from harness.quickstart.card import render_card
from harness.quickstart.train import Recipe, sum_turn
from harness.runtime import load_model
from harness.runtime.checkpoint import read_header

LOG = json.loads((files.FOLDER / files.LOG_NAME).read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_it_is_small_and_an_original_bf16_checkpoint():
    assert files.WEIGHTS.stat().st_size + files.TOKENIZER.stat().st_size <= 10_000_000
    header = read_header(files.WEIGHTS)
    assert {info.dtype for info in header.tensors.values()} == {"bf16"}
    assert header.tensors["blocks.0.att.time_mix_k"].shape == (1, 1, header.shape.n_embd)
    assert header.shape.n_vocab == load_tokenizer(files.TOKENIZER).n_vocab


def test_it_answers_its_questions():
    score = score_questions(files.FOLDER)
    assert score["n"] >= 40
    assert score["right"] >= 0.9 * score["n"]
    assert score["sums"]["n"] >= 12
    assert score["sums"]["right"] >= 0.75 * score["sums"]["n"]


def test_it_works_out_held_out_sums():
    model = load_model(files.WEIGHTS, "cpu fp32")
    tokenizer = load_tokenizer(files.TOKENIZER)
    sums = corpus.held_out_sums(100)
    right = sum(_is_written(model, tokenizer, sum_turn(task)) for task in sums)
    assert right >= 95


def _is_written(model, tokenizer, turn):
    """Whether greedy decoding writes exactly this answer: each next token is the likeliest."""
    asked = tokenizer.encode(f"Bob: {turn.question}\n\nAlice:")
    ids = tokenizer.encode(turn.text())
    logits, _ = model.forward(ids[:-1], full_output=True)
    return logits.argmax(-1)[len(asked) - 1 :].tolist() == ids[len(asked) :]


def test_digits_are_tokens_of_their_own():
    tokenizer = load_tokenizer(files.TOKENIZER)
    for text in ("47+38=85", "in 1969.", " 100 "):
        pieces = [tokenizer.decode([i]) for i in tokenizer.encode(text)]
        assert all(len(piece) == 1 for piece in pieces if any(c.isdigit() for c in piece))
        assert "".join(pieces) == text


def test_the_shipped_model_is_what_the_command_trains():
    assert LOG["recipe"] == vars(Recipe())


def test_the_card_is_that_of_the_log():
    card = (files.FOLDER / files.CARD_NAME).read_text(encoding="utf-8")
    assert card == render_card(LOG, files.WEIGHTS.stat().st_size)
    assert (files.FOLDER / files.CURVE_NAME).is_file()
