"""Of what a session says of a passage, the rows that are wanted. Pure, but for the session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from harness.engines.base import Logits, Session


def wanted_rows(session: Session, ids: Sequence[int], first: int) -> Iterator[tuple[int, Logits]]:
    """Rows first..len(ids) - 1 of a session's, chunk by chunk, each with the number of its first.

    Numbered from 0 on, which is row `first`.
    """
    at = -first  # rows before the first wanted one are of what is only fed
    for rows in session.score(np.asarray(ids, dtype=np.int64)):
        wanted = rows[max(0, -at) :]
        if len(wanted):
            yield max(0, at), wanted
        at += len(rows)
