"""From the file of LAMBADA to documents of tokens, for a worker. The parent's side."""

from __future__ import annotations

from collections.abc import Sequence

from harness.config.lambada_file import lambada_texts
from harness.language.base import Tokenizer
from harness.measure.job import DocumentJob, LambadaJob
from harness.quality.lambada import PAD, documents
from harness.sources import Found


def lambada_job(found: Found, first: int | None, tokenizer: Tokenizer) -> LambadaJob:
    """The first documents of the file, or all. Raises `BadInput` in words without folders."""
    sha256, texts = lambada_texts(found)
    return LambadaJob(
        sha256=sha256,
        documents=[
            DocumentJob(ids=list(one.ids), n_word=one.n_word)
            for one in documents(texts[:first], tokenizer.encode, pad_ids(tokenizer))
        ],
    )


def pad_ids(tokenizer: Tokenizer) -> Sequence[int]:
    """What each document begins with; nothing where a line break is no token."""
    ids = tokenizer.encode(PAD)
    return ids if tokenizer.decode(ids) == PAD else []
