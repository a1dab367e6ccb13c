"""Train the quickstart model's BPE tokenizer on its corpus (byte-level, every digit a token)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END_OF_TEXT = "<|endoftext|>"
N_VOCAB = 768


def train_tokenizer(texts: Iterable[str], path: Path, n_vocab: int = N_VOCAB) -> Tokenizer:
    """Train on `texts`, write `path` and return what was written."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=n_vocab,
        special_tokens=[END_OF_TEXT],  # id 0, as in the 20B tokenizer
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    path.write_text(_readable_by_old_releases(tokenizer.to_str()), encoding="utf-8")
    return Tokenizer.from_file(str(path))


def _readable_by_old_releases(text: str) -> str:
    """Merges as `"a b"`: tokenizers writes pairs since 0.20, which 0.13 cannot read."""
    spec = json.loads(text)
    merges = spec["model"]["merges"]
    spec["model"]["merges"] = [m if isinstance(m, str) else " ".join(m) for m in merges]
    return json.dumps(spec, ensure_ascii=False, indent=1) + "\n"
