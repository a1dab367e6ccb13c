"""Tokenizer and sampler; the official package uses the same tokenizer library."""

from __future__ import annotations

import itertools
import re
from functools import partial

import numpy as np
import pytest
import torch

from harness.language.discover import installed_world_vocabulary
from harness.language.sampling import Sampler, SamplingSettings
from harness.language.stream import StreamDecoder
from harness.language.tokenizer import load_tokenizer
from harness.quickstart.corpus import write_turns
from harness.quickstart.tokenizer import train_tokenizer

N_VOCAB = 50_277  # of the Pile and Raven models


@pytest.fixture(scope="module")
def text():
    return "".join(turn.text() for turn in itertools.islice(write_turns(), 20))


@pytest.fixture(scope="module")
def tokenizer_path(request, tmp_path_factory):
    given = request.config.getoption("--tokenizer")
    if given:
        return given
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer((turn.text() for turn in itertools.islice(write_turns(), 2000)), path)
    return path


@pytest.fixture(scope="module")
def tokenizer(tokenizer_path):
    return load_tokenizer(tokenizer_path)


@pytest.fixture(scope="module")
def pipeline(official, tokenizer_path):
    return official and official.utils.PIPELINE(None, str(tokenizer_path))


def test_encode(race, tokenizer, pipeline, text, side):
    if pipeline:
        assert tokenizer.encode(text) == pipeline.encode(text)
    race(
        f"encode {len(text):,} characters",
        side,
        ours=lambda: tokenizer.encode(text),
        theirs=pipeline and (lambda: pipeline.encode(text)),
        loops=5,
    )


def test_decode(race, tokenizer, pipeline, text, side):
    ids = tokenizer.encode(text)
    if pipeline:
        assert tokenizer.decode(ids) == pipeline.decode(ids)
    race(
        "decode them",
        side,
        ours=lambda: tokenizer.decode(ids),
        theirs=pipeline and (lambda: pipeline.decode(ids)),
        loops=20,
    )


WORLD_TEXT = (
    "Natural language is what people speak: it grew, and nobody planned it. In 2023, 42 % of them "
    "said so (see §3). def f(self, *args):\n        return {'a': 1.5}\n\nZwölf Boxkämpfer jagen "
    "Viktor quer über den Deich. Съешь же ещё этих мягких булок. 人工智能是计算机科学的一个分支。\n"
)


@pytest.fixture(scope="module")
def world():
    path = installed_world_vocabulary()
    if path is None:
        pytest.skip("no package with the World vocabulary is installed")
    return load_tokenizer(path)


@pytest.fixture(scope="module")
def world_pipeline(official):
    return official and official.utils.PIPELINE(None, "rwkv_vocab_v20230424")


@pytest.fixture(scope="module")
def world_text(text):
    """Prose, code and scripts, each word of the corpus's prose made another one."""
    words = itertools.cycle(range(1000))
    prose = re.sub(r"[a-z]{4,}", lambda m: f"{m[0]}{chr(97 + next(words) % 26)}", text)
    return WORLD_TEXT * 5 + text + prose


@pytest.mark.parametrize("remembering", [False, True], ids=["first", "again"])
def test_encode_world(race, world, world_pipeline, world_text, side, remembering):
    def ours():
        if not remembering:
            world.forget_words()
        return world.encode(world_text)

    if world_pipeline:
        assert ours() == world_pipeline.encode(world_text)
    race(
        f"World: encode {len(world_text):,} characters{' again' if remembering else ''}",
        side,
        ours=ours,
        theirs=world_pipeline and (lambda: world_pipeline.encode(world_text)),
    )


def test_decode_world(race, world, world_pipeline, world_text, side):
    ids = world.encode(world_text)
    if world_pipeline:
        assert world.decode(ids) == world_pipeline.decode(ids)
    race(
        "World: decode them",
        side,
        ours=lambda: world.decode(ids),
        theirs=world_pipeline and (lambda: world_pipeline.decode(ids)),
        loops=10,
    )


def test_load_world(race, side, official):
    path = str(installed_world_vocabulary() or pytest.skip("no World vocabulary is installed"))
    theirs = None
    if official:
        from rwkv.rwkv_tokenizer import TRIE_TOKENIZER

        theirs = partial(TRIE_TOKENIZER, path)
    race("World: load", side, ours=lambda: load_tokenizer(path), theirs=theirs)


def test_decode_as_a_stream(race, tokenizer, text):
    ids = tokenizer.encode(text)

    def stream():
        decoder = StreamDecoder(tokenizer.decode)
        return "".join([decoder.push(i) for i in ids]) + decoder.finish()

    assert stream() == text
    race("decode them one by one", "ours", ours=stream)


SAMPLING = {
    "greedy": SamplingSettings(),
    "top_p 0.85": SamplingSettings(temperature=1.1, top_p=0.85, compat="rwkv"),
    "top_k 40": SamplingSettings(temperature=1.1, top_k=40, compat="rwkv"),
}


@pytest.mark.parametrize("name", SAMPLING)
def test_sample(race, pipeline, name, side):
    settings = SAMPLING[name]
    sampler = Sampler(settings)
    logits = np.random.default_rng(0).normal(0, 3, N_VOCAB).astype(np.float32)
    tensor = torch.from_numpy(logits)
    arguments = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": settings.top_k,
    }
    race(
        f"sample, {name}",
        side,
        ours=lambda: sampler.draw(logits),
        theirs=pipeline and (lambda: pipeline.sample_logits(tensor, **arguments)),
        loops=5,
    )
