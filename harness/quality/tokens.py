"""What each token says of a strategy: its row of log-probabilities beside the reference's.

Rows are float32 as an engine or the exact reference gives them, one per token, of what follows it;
they are normalised again in float64, so that nothing of float32's sums is left in a divergence.
Works row by row: one row of either model in float64 is all that it holds. Knows the reference in
full; `small_form.py` compares with what is kept of it otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import BadInput, ReferenceUnusable
from harness.records.quality import ScoredTokens

Rows = npt.NDArray[np.floating[Any]]  # [n, V]
Row = npt.NDArray[np.floating[Any]]  # [V]
Floats = npt.NDArray[np.float64]


def compare_rows(reference: Rows, candidate: Rows, targets: Sequence[int]) -> ScoredTokens:
    """Score rows [n, V] of the strategy by the reference's of the same n tokens.

    `targets` are the n tokens that came. KL is KL(reference || strategy) in nats. A row of the
    strategy with a NaN never agrees and has no figures; one whose divergence is infinite has None
    for it. Raises BadInput for rows that do not belong together, ReferenceUnusable for a reference
    that is not finite.
    """
    check_rows(reference.shape, candidate, targets)
    kl, agree, log_p, reference_log_p, said_nothing = [], [], [], [], 0
    for row, other, target in zip(reference, candidate, targets, strict=True):
        p, q = reference_row(row), normalised(other)
        kl.append(finite(divergence(p, q)))
        best = likeliest(other)
        said_nothing += best is None
        agree.append(int(best == int(np.argmax(row))))
        log_p.append(finite(q[target]))
        reference_log_p.append(float(p[target]))
    return ScoredTokens(
        kl=kl,
        agree=agree,
        log_p=log_p,
        reference_log_p=reference_log_p,
        not_finite=not_finite(candidate),
        not_a_number=said_nothing,
    )


def joined(parts: Iterable[ScoredTokens]) -> ScoredTokens:
    """Tokens of several chunks or answers as those of one; what is exact bounds itself."""
    several = list(parts)
    is_bounded = any(part.kl_most for part in several)
    return ScoredTokens(
        kl=[one for part in several for one in part.kl],
        kl_most=[one for part in several for one in part.kl_most or part.kl] if is_bounded else [],
        agree=[one for part in several for one in part.agree],
        log_p=[one for part in several for one in part.log_p],
        reference_log_p=[one for part in several for one in part.reference_log_p],
        not_finite=sum(part.not_finite for part in several),
        not_a_number=sum(part.not_a_number for part in several),
    )


def normalised(row: Row) -> Floats:
    """Log-probabilities [V] in float64 that sum to 1; NaN where a NaN or +inf leaves none."""
    wide = row.astype(np.float64)
    with np.errstate(invalid="ignore"):
        wide -= wide.max()
        wide -= np.log(np.exp(wide).sum())
    return wide


def reference_row(row: Row) -> Floats:
    """The reference's log-probabilities [V], normalised; raises as `check_reference` does."""
    check_reference(row)
    return normalised(row)


def check_reference(rows: Rows) -> None:
    """Raise `ReferenceUnusable` for rows of a reference that are not finite."""
    bad = not_finite(rows)
    if bad:
        raise ReferenceUnusable(
            f"The reference itself gave {bad:,} NaN or infinite log-probabilities of "
            f"{rows.size:,}, so nothing can be compared with it. The weights are damaged, or not "
            "of a model."
        )


def divergence(log_p: Floats, log_q: Floats) -> float:
    """The sum of p (log p - log q) [V] in nats: 0 or more, infinite, or NaN with a NaN."""
    p = np.exp(log_p)
    there = p > 0  # elsewhere even an infinite difference counts nothing
    if not there.all():
        p, log_p, log_q = p[there], log_p[there], log_q[there]
    found = float(p @ (log_p - log_q))
    return 0.0 if found < 0 else found  # rounding


def likeliest(row: Row) -> int | None:
    """The likeliest token, the lowest id on ties; None where the row does not say."""
    best = int(np.argmax(row))  # of the first NaN, where there is one
    return best if np.isfinite(row[best]) else None


def not_finite(rows: Rows) -> int:
    """How many numbers of the rows are NaN or infinite."""
    return int((~np.isfinite(rows)).sum())


def finite(value: float) -> float | None:
    """A number as a record keeps it: JSON knows neither NaN nor infinity."""
    return float(value) if math.isfinite(value) else None


def check_rows(shape: tuple[int, ...], candidate: Rows, targets: Sequence[int]) -> None:
    """Raise BadInput unless the rows are as many and as wide as the reference's, the targets in."""
    if candidate.shape != shape:
        raise BadInput(
            f"The strategy gave rows of shape {list(candidate.shape)}, the reference has "
            f"{list(shape)}: they are not of the same model and tokens."
        )
    if len(targets) != shape[0]:
        raise BadInput(f"There are {len(targets)} tokens for {shape[0]} rows.")
    if len(targets) and not 0 <= min(targets) <= max(targets) < shape[1]:
        wrong = min(targets) if min(targets) < 0 else max(targets)
        raise BadInput(f"Token {wrong} is outside the vocabulary 0..{shape[1] - 1}.")
