"""A small byte-level tokenizer, and a model that says what a script tells it to."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from harness.language.discover import installed_world_vocabulary
from harness.language.tokenizer import load_tokenizer


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory):
    """Byte-level BPE as in the 20B tokenizer: 256 bytes, 23 merges, <|endoftext|> as id 0."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(["the thing that they thought\n\nof then, é and 🙂 there"] * 9, trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_text(bpe.to_str(), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tokenizer(tokenizer_file):
    return load_tokenizer(tokenizer_file)


# Beside the 256 bytes: words, parts of words, and parts of characters.
WORLD_TOKENS = [
    *("the", " the", " then", "then", " therefore", "they", "thing", "\n\n", "\n\n\n\n", "  "),
    *("\t ", "\n ", " (", "().", "2026", "20", "é", " é", "né", "漢", "漢字", "字", "漢字が", "が"),
    *("🙂", "🙂🙂", "'s", '"', "\\n", "\u2028", "\x85", "a\u0301"),
    *(b"\xe6\xbc", b"\xa2\xe5", b"\xad\x97", b"\xf0\x9f", b"\x9f\x99\x82", b"\xff\xfe", b" \xe6"),
]


def world_vocabulary(tokens=WORLD_TOKENS):
    """The lines of a small vocabulary, all bytes first, as the published one is written."""
    singles = [chr(b) if b < 128 else bytes([b]) for b in range(256)]
    sizes = {t: len(t.encode() if isinstance(t, str) else t) for t in [*singles, *tokens]}
    return [f"{i} {t!r} {n}" for i, (t, n) in enumerate(sizes.items(), 1)]


@pytest.fixture(scope="session")
def world_lines():
    return world_vocabulary()


@pytest.fixture(scope="session")
def world_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("world") / "vocabulary.txt"
    path.write_text("\n".join(world_vocabulary()) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def world(world_file):
    return load_tokenizer(world_file)


@pytest.fixture(scope="session")
def published_world():
    """The whole vocabulary of the World models, where a package brings it."""
    path = installed_world_vocabulary()
    if path is None:
        pytest.skip("no package with the World vocabulary is installed")
    return load_tokenizer(path)


class Pieces:
    """A tokenizer whose token i is the i-th piece of text."""

    def __init__(self, pieces):
        self.pieces = list(pieces)

    def decode(self, ids):
        return "".join(self.pieces[i] for i in ids)


class FakeClock:
    """Stands still unless told to move."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Script:
    """A session that wants `ids` said, one after another; it checks that it is fed what it said.

    The state is the number of ids said so far: a value, as an engine's must be. A prefill takes
    100 s of the clock and the n-th step n s.
    """

    def __init__(self, ids, n_vocab, clock=None):
        self.ids = list(ids)
        self.n_vocab = n_vocab
        self.clock = clock or FakeClock()
        self.prompt = None
        self.steps = 0

    def prefill(self, ids, state):
        assert state is None
        assert ids.shape == (1, ids.size)
        assert ids.dtype == np.int64
        self.prompt = ids[0].tolist()
        self.clock.now += 100.0
        return self._logits(0), 1

    def step(self, ids, state):
        assert ids.tolist() == [self.ids[state - 1]]
        assert ids.dtype == np.int64
        self.steps += 1
        self.clock.now += float(state)
        return self._logits(state), state + 1

    def _logits(self, position):
        logits = np.zeros((1, self.n_vocab), dtype=np.float32)
        logits[0, self.ids[position]] = 50.0
        return logits


@pytest.fixture(scope="session")
def pieces():
    return Pieces


@pytest.fixture(scope="session")
def script():
    return Script


@pytest.fixture
def clock():
    return FakeClock()
