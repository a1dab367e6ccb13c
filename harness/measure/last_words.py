"""The worker's side of LAMBADA: the last words of documents under a session.

Knows tokens; what a document is, and what the figures mean, `harness.quality.lambada` says.
"""

from __future__ import annotations

from collections.abc import Callable

from harness.engines.base import Session
from harness.measure.job import LambadaJob, Scored
from harness.measure.wanted_rows import wanted_rows
from harness.quality.tokens import finite, likeliest, normalised
from harness.records.quality import Lambada


def measure_last_words(
    session: Session, job: LambadaJob, send: Callable[[Scored], None]
) -> Lambada:
    """Score the last word of every document, and say after each how far that is."""
    log_p: list[float | None] = []
    right: list[int] = []
    said_nothing = 0
    for done, document in enumerate(job.documents, start=1):
        word = document.ids[-document.n_word :]
        # The last token is not fed: what follows it is nobody's question.
        fed, total, hits = document.ids[:-1], 0.0, 0
        for start, rows in wanted_rows(session, fed, len(fed) - document.n_word):
            for token, row in zip(word[start : start + len(rows)], rows, strict=True):
                best = likeliest(row)
                total += float(normalised(row)[token])
                hits += best == token
                said_nothing += best is None
        log_p.append(finite(total))
        right.append(int(hits == document.n_word))
        send(Scored(done=done, total=len(job.documents)))
    return Lambada(sha256=job.sha256, log_p=log_p, right=right, not_a_number=said_nothing)
