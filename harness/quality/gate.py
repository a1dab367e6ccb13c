"""Whether a strategy computes the reference's function at all, told by a few tokens.

Judged is how much of what the reference says is lost: the variance of the difference between both
models' log-probabilities, in units of the variance of the reference's own, each row around its
mean over the vocabulary (u below). It has no scale, so it is the same for a trained model and for
random weights, and the unlikely tokens count as much as the likely ones: a divergence hardly sees
them, and lets most small faults of a model that is sure of itself through.

Rounding loses something too, and as much again in each slot, so what is tolerated is a sum over the
slots of what their formats may lose (`ROUNDING`): five or more times the most that was seen, over
the shipped model, random weights of 169M (12 layers) and of 40 narrow layers, both also with heavy
tails and outlier channels. One limit for all formats would not do. With 32 tokens:

    u of                       shipped model     random 169M      tolerated, 5 and 13 slots
    fp16                       7e-7              4e-6             5.0e-4 and 9.0e-4
    bf16                       5e-5              2.3e-4           0.0015 and 0.0035
    fp32i8, fp16i8             8e-5              2.6e-4           0.0028 and 0.0068
    bf16i8                     3e-4              0.013            0.025  and 0.065
    a matrix's sign flipped    0.033 or more     0.0047 or more
    a matrix zeroed, turned    0.015 or more     0.0013 or more
    decay of the wrong sign    0.021 or more     0.014 or more
    the same in all layers     0.33              0.89
    ln0 not folded             1.0               0.36
    state not carried          0.97              1.4

What it cannot see: a fault that is smaller than the rounding it allows. In 32 and 16 bits none of
the above is; with bf16 some zeroed keys in the last of 12 layers are, with int8 a few flipped ones,
with bf16i8 a fifth of all single matrices of 12 layers, and with 40 layers more. Nor what those
tokens do not show: a state that is lost after them, a kernel for other lengths. Knows rows and the
names of formats only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.errors import NotANumber
from harness.quality.small_form import SmallForm
from harness.quality.tokens import Rows, check_rows, divergence, normalised, reference_row
from harness.records.quality import Gate

Format = tuple[str, str]  # a slot's dtype and weight_dtype, as they were read back

# What one slot may lose: fp32 as much as fp16, since its products may be allowed fewer bits. Both
# far more than was seen: large trained models, whose activations have outliers, were not at hand.
ROUNDING: dict[Format, float] = {
    ("fp32", "fp32"): 5e-5,
    ("fp16", "fp16"): 5e-5,
    ("bf16", "bf16"): 2.5e-4,
    ("fp32", "uint8"): 5e-4,
    ("fp16", "uint8"): 5e-4,
    ("bf16", "uint8"): 5e-3,
}
_WIDEST = max(ROUNDING.values())
_FOLDED = 2.5e-4  # ln0 may have been folded in the file's 16 bits
_MOST = 0.25  # beyond it nothing is rounding
_NO_ROWS = "only the small form of the reference is here, and that does not have every token"


def tolerated(formats: Sequence[Format]) -> float:
    """What rounding may lose over all slots; of formats that are not known, or none, the most."""
    if not formats:
        return _MOST
    return min(_MOST, _FOLDED + sum(ROUNDING.get(one, _WIDEST) for one in formats))


def judge_gate(
    reference: Rows | SmallForm, candidate: Rows, formats: Sequence[Format] = ()
) -> Gate:
    """Compare rows [n, V] of the strategy with the reference's; `why` is None where it passes.

    `formats` has (dtype, weight_dtype) of each slot. Raises NotANumber where the strategy gave NaN
    or infinity, BadInput for rows that do not belong together, and ReferenceUnusable for rows of
    the reference that are not finite.
    """
    if isinstance(reference, SmallForm):
        return Gate(tokens=0, missing=_NO_ROWS)
    n = len(reference)
    check_rows(reference.shape, candidate, [0] * n)
    if not n:
        return Gate(tokens=0, missing="there are no tokens to look at")
    bad = int((~np.isfinite(candidate)).sum())
    if bad:
        raise NotANumber(
            f"The model gave {bad:,} NaN or infinite log-probabilities within its first {n} "
            "tokens. Try a wider dtype, such as fp32."
        )
    lost, kl = _lost(reference, candidate)
    limit = tolerated(formats)
    why = None
    if lost > limit:
        why = (
            f"It computes another function than the reference: of what that says of {n} tokens "
            f"{_percent(lost)} is lost, and rounding in these formats loses {_percent(limit)} at "
            "most. Nothing was measured."
        )
    return Gate(tokens=n, why=why, figures={"lost": lost, "tolerated": limit, "kl": kl})


def _lost(reference: Rows, candidate: Rows) -> tuple[float, float]:
    """u, and the mean divergence in nats. Row by row, in float64."""
    error = total = kl = 0.0
    for row, other in zip(reference, candidate, strict=True):
        p, q = reference_row(row), normalised(other)
        kl += divergence(p, q)
        difference = p - q
        error += float(((difference - difference.mean()) ** 2).sum())
        total += float(((p - p.mean()) ** 2).sum())
    if not total:  # a reference that says nothing has nothing to lose
        return float(error > 0), kl / len(reference)
    return error / total, kl / len(reference)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 1 else "all"
