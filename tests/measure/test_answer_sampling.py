"""What a study says of sampling is what is drawn with."""

import numpy as np
import pytest

from harness.config.study import Answers, Sampling
from harness.engines.base import Capabilities
from harness.language.sampling import SamplingSettings
from harness.measure import answers as module
from harness.quickstart.files import BUILTIN, TOKENIZER
from tests.measure.workers import answering

SAID = {
    "temperature": 0.7,
    "top_p": 0.6,
    "top_k": 5,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.2,
    "penalty_decay": 0.996,
    "ban": [7, 3],
    "compat": "rwkv",
    "seed": 9,
}


class Silent:
    """A session that ends every answer at once."""

    capabilities = Capabilities(n_vocab=768)

    def prefill(self, ids, state):
        return np.eye(1, 768, dtype=np.float32) * 99, ()


def drawn_with(monkeypatch, **said):
    """The settings that a study's sampling becomes."""
    from harness.language.tokenizer import load_tokenizer

    seen = []
    real = module.generate
    monkeypatch.setattr(
        module, "generate", lambda *args, **kw: seen.append(args[3]) or real(*args, **kw)
    )
    asked = Answers(questions=BUILTIN, sampling=Sampling(**said))
    job = answering("Why?", prompt="{question}")
    tokenizer = load_tokenizer(TOKENIZER)
    module.measure_answers(Silent(), tokenizer, job, asked, iter(range(99)).__next__, id)
    return seen[0], tokenizer


def test_every_key_is_passed_on(monkeypatch):
    settings, _ = drawn_with(monkeypatch, **SAID)
    assert set(SAID) | {"count_spaces_and_digits"} == set(Sampling.__struct_fields__)
    assert settings == SamplingSettings(**{**SAID, "ban": (7, 3)})


def test_left_out_is_greedy_and_counts_everything(monkeypatch):
    assert drawn_with(monkeypatch)[0] == SamplingSettings()


@pytest.mark.parametrize("penalty", [0.0, 0.2])
def test_spaces_and_digits_are_found_in_the_tokenizer(monkeypatch, penalty):
    said = {"count_spaces_and_digits": False, "frequency_penalty": penalty}
    settings, tokenizer = drawn_with(monkeypatch, **said)
    texts = {tokenizer.decode([i]) for i in settings.uncounted}
    assert texts == (set(" \t0123456789") if penalty else set())
