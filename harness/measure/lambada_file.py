"""From the file of LAMBADA to documents of tokens, for a worker. The parent's side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.errors import HarnessError
from harness.language.base import Tokenizer
from harness.measure.job import DocumentJob, LambadaJob
from harness.quality.lambada import PAD, documents, read_texts
from harness.sources import Found, file_sha256
from harness.sources.verify import why_damaged, why_wrong


def lambada_job(found: Found, first: int | None, tokenizer: Tokenizer) -> LambadaJob:
    """The first documents of the file, or all. Raises `HarnessError` in words without folders."""
    sha256, texts = lambada_texts(found)
    return LambadaJob(
        sha256=sha256,
        documents=[
            DocumentJob(ids=list(one.ids), n_word=one.n_word)
            for one in documents(texts[:first], tokenizer.encode, pad_ids(tokenizer))
        ],
    )


def lambada_texts(found: Found) -> tuple[str, list[str]]:
    """The file's sha256 and all of its texts. Raises `HarnessError` in words without folders."""
    path = found.path
    if path is None:
        name = Path(found.text).name if found.remote is None else found.remote.shown
        raise HarnessError(f"{name} is not here")
    try:
        sha256 = file_sha256(path)
        content = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no UTF-8"
        raise HarnessError(f"{path.name} cannot be read ({why})") from error
    wrong = why_damaged(path, sha256) or why_wrong(found, sha256)
    if wrong:
        raise HarnessError(f"{path.name} {wrong}")
    return sha256, read_texts(content, path.name)


def pad_ids(tokenizer: Tokenizer) -> Sequence[int]:
    """What each document begins with; nothing where a line break is no token."""
    ids = tokenizer.encode(PAD)
    return ids if tokenizer.decode(ids) == PAD else []
