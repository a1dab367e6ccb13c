"""The small form of a reference: of each row the likeliest 64 tokens and a few sums.

It is small enough to travel with results. Exact with it are the likeliest token, the probability
of the token that came, and so perplexity; of KL it gives a lower and an upper bound
(`kl_bounds.py`). Up to 64 tokens there are no others, and it is exact.

What is kept of the 64 are the reference's own float32 numbers, with the float64 logarithm of the
sum that normalises them: nothing is rounded. Knows rows; `small_form_file.py` keeps it in a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import BadInput
from harness.quality.kl_bounds import Others, kl_bounds
from harness.quality.tokens import (
    Floats,
    Row,
    Rows,
    check_rows,
    divergence,
    finite,
    likeliest,
    normalised,
    not_finite,
    reference_row,
)
from harness.records.quality import ScoredTokens

KEPT = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class SmallForm:
    """n rows over V tokens, k = min(64, V) of them kept.

    ids: [n, k], the likeliest first, lowest id first on ties.
    log_p: [n, k] float32, their numbers as the reference gave them; less `log_sum` [n] they are
        log-probabilities.
    others: [n], the logarithm of what all others have together; -inf for nothing.
    entropy: [n], of the whole row in nats.
    targets: [n], the tokens that came; target_log_p: [n], their log-probabilities.
    """

    n_vocab: int
    ids: npt.NDArray[np.int64]
    log_p: npt.NDArray[np.float32]
    log_sum: Floats
    others: Floats
    entropy: Floats
    targets: npt.NDArray[np.int64]
    target_log_p: Floats

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, start: int, end: int) -> SmallForm:
        """Some of the rows, as a chunk is scored."""
        chunk = slice(start, end)
        return SmallForm(n_vocab=self.n_vocab, **{k: v[chunk] for k, v in _arrays(self).items()})


def condense(reference: Rows, targets: Sequence[int]) -> SmallForm:
    """The small form of float32 rows [n, V] of the reference; `targets` are the tokens that came.

    Raises BadInput for tokens that do not belong to the rows, ReferenceUnusable for rows that
    are not finite.
    """
    check_rows(reference.shape, reference, targets)
    n, n_vocab = reference.shape
    form = _empty(n, n_vocab)
    for i, (row, target) in enumerate(zip(reference, targets, strict=True)):
        log_p = reference_row(row)
        p = np.exp(log_p)
        best = _likeliest_ids(row, form.ids.shape[1])
        rest = np.ones(n_vocab, dtype=bool)
        rest[best] = False
        form.ids[i], form.log_p[i] = best, row[best]
        form.log_sum[i] = float(row[best[0]]) - log_p[best[0]]
        form.others[i] = _log(float(p[rest].sum()))
        form.entropy[i] = -(p @ log_p)
        form.targets[i], form.target_log_p[i] = target, log_p[target]
    return form


def joined_forms(parts: Iterable[SmallForm]) -> SmallForm:
    """Chunks of one passage as a whole; at least one, all of one vocabulary."""
    several = list(parts)
    if not several or len({one.n_vocab for one in several}) != 1:
        raise BadInput("Small forms can be joined where there are some, all of one vocabulary.")
    arrays = [_arrays(one) for one in several]
    whole = {name: np.concatenate([one[name] for one in arrays]) for name in arrays[0]}
    return SmallForm(n_vocab=several[0].n_vocab, **whole)


def compare_small(reference: SmallForm, candidate: Rows) -> ScoredTokens:
    """Score rows [n, V] of the strategy by the small form of the reference's.

    As `compare_rows` does, but that `kl` is the least that the divergence can be and `kl_most` the
    most, None where nothing bounds it. Raises BadInput for rows that do not belong together.
    """
    targets = reference.targets.tolist()
    check_rows((len(reference), reference.n_vocab), candidate, targets)
    least, most, agree, log_p, said_nothing = [], [], [], [], 0
    for i, (row, target) in enumerate(zip(candidate, targets, strict=True)):
        q = normalised(row)
        low, high = _bounds(reference, i, q)
        least.append(finite(low))
        most.append(finite(high))
        best = likeliest(row)
        said_nothing += best is None
        agree.append(int(best == reference.ids[i, 0]))
        log_p.append(finite(q[target]))
    return ScoredTokens(
        kl=least,
        kl_most=most,
        agree=agree,
        log_p=log_p,
        reference_log_p=reference.target_log_p.tolist(),
        not_finite=not_finite(candidate),
        not_a_number=said_nothing,
    )


def _bounds(reference: SmallForm, i: int, log_q: Floats) -> tuple[float, float]:
    """The least and the most that KL can be in row i, given the strategy's normalised row [V]."""
    ids = reference.ids[i]
    log_p = reference.log_p[i].astype(np.float64) - reference.log_sum[i]
    if len(ids) == reference.n_vocab:
        exact = divergence(log_p, log_q[ids])
        return exact, exact
    p = np.exp(log_p)
    others = Others(
        mass=float(np.exp(reference.others[i])),
        entropy=float(reference.entropy[i] + p @ log_p),
        most=float(p[-1]),
    )
    rest = np.ones(reference.n_vocab, dtype=bool)
    rest[ids] = False
    there = p > 0
    known = float(p[there] @ (log_p - log_q[ids])[there])
    return kl_bounds(known, others, log_q[rest])


def _likeliest_ids(row: Row, k: int) -> npt.NDArray[np.int64]:
    """The k largest of a row, the largest first, lowest id first on ties."""
    least = np.partition(row, -k)[-k]
    above = np.flatnonzero(row > least)
    level = np.flatnonzero(row == least)[: k - len(above)]
    # Those above come before those level with the least, so both parts stay in the order of ids.
    ids = np.concatenate([above, level])
    return ids[np.argsort(-row[ids], kind="stable")]


def _arrays(form: SmallForm) -> dict[str, Any]:
    names = [field.name for field in fields(form) if field.name != "n_vocab"]
    return {name: getattr(form, name) for name in names}


def _empty(n: int, n_vocab: int) -> SmallForm:
    k = min(KEPT, n_vocab)
    return SmallForm(
        n_vocab=n_vocab,
        ids=np.empty((n, k), dtype=np.int64),
        log_p=np.empty((n, k), dtype=np.float32),
        log_sum=np.empty(n),
        others=np.empty(n),
        entropy=np.empty(n),
        targets=np.empty(n, dtype=np.int64),
        target_log_p=np.empty(n),
    )


def _log(value: float) -> float:
    return float(np.log(value)) if value > 0 else -np.inf
