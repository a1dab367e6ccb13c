"""Whether a strategy computes the reference's function at all, told by a few tokens.

Judged is how much of what the reference says is lost: the variance of the difference between both
models' log-probabilities, in units of the variance of the reference's own, each row around its
mean over the vocabulary (u below). It has no scale, so it is the same for a trained model and for
random weights, and the unlikely tokens count as much as the likely ones: a divergence hardly sees
them, and lets most small faults of a model that is sure of itself through.

Rounding loses something too, and as much again in each slot, so what is tolerated is a sum over the
slots of what their formats may lose (`ROUNDING`). One limit for all formats would not do. With 32
tokens:

    u of                       shipped model     random 169M      tolerated, 5 and 13 slots
    fp16                       7e-7              4e-6             5.0e-4 and 9.0e-4
    bf16                       5e-5              2.3e-4           0.0028 and 0.0068
    fp32i8, fp16i8             8e-5              2.6e-4           0.0053 and 0.013
    bf16i8                     3e-4              0.013            0.025  and 0.065
    a matrix's sign flipped    0.033 or more     0.0047 or more
    a matrix zeroed, turned    0.015 or more     0.0013 or more
    decay of the wrong sign    0.021 or more     0.014 or more
    the same in all layers     0.33              0.89
    ln0 not folded             1.0               0.36
    state not carried          0.97              1.4
    ln0 folded twice           0.033             0.09   (this and below: 12 layers, 256 channels)
    a layer left out           0.13 or more      0.09 or more
    two layers exchanged       0.083 or more     0.026 or more
    key and value exchanged    0.095 or more     0.039 or more
    shifted by no token        0.81              1.1

How often the tolerated is what rounding loses, over random weights of 12, 24, 32 and 40 layers, 256
channels wide (the least; TF32: products whose inputs have 10 bits, as CUDA may compute fp32):

    weights                               TF32   fp16   bf16   int8   bf16i8
    uniform                               1700   260    30     52     5.4
    the same, with sums of fp16 or bf16          150    18
    with heavy tails (t, 3 degrees)       1200   220    26     3.3    1.4
    4 channels up to 48 times as loud     160    10     2.2    2.5    0.8
    both                                  27     6      1.2    0.7    0.7
    both, layers 0.3 or 3 times as loud   21     7      1.2    0.2    0.4

So fp32 and fp16 have room even there, int8 has not. How far a large trained model is from there
is not known: none was at hand, and RWKV-4 is known for outliers that grow with the model, so that
four bits cost a nat and more. A false alarm costs a cell, while what passes wrongly is still seen
by the figures of quality: hence bf16 and int8 have more room than the first table asks for.

What it cannot see: a fault that is smaller than the rounding it allows. In fp32 and fp16 none of
the first table is; with bf16 some zeroed or flipped keys in the last of 12 layers are, with int8 a
few flipped ones, with bf16i8 a fifth of all single matrices of 12 layers, and with 40 layers more.
Never seen are a lost half step of int8, one wrong row of a large head, another epsilon of the
norms. Nor what those tokens do not show: a state that is lost after them, a kernel for other
lengths. Knows rows and the names of formats only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.errors import NotANumber
from harness.quality.small_form import SmallForm
from harness.quality.tokens import Rows, check_rows, divergence, normalised, reference_row
from harness.records.quality import Gate

Format = tuple[str, str]  # a slot's dtype and weight_dtype, as they were read back

# What one slot may lose: fp32 as much as fp16, since its products may be allowed fewer bits.
ROUNDING: dict[Format, float] = {
    ("fp32", "fp32"): 5e-5,
    ("fp16", "fp16"): 5e-5,
    ("bf16", "bf16"): 5e-4,
    ("fp32", "uint8"): 1e-3,
    ("fp16", "uint8"): 1e-3,
    ("bf16", "uint8"): 5e-3,
}
_WIDEST = max(ROUNDING.values())
_FOLDED = 2.5e-4  # ln0 may have been folded in the file's 16 bits
_MOST = 0.25  # beyond it nothing is rounding
# Of a trial that read weights which the cache keeps: no engine looks whether they are whole.
IF_DAMAGED = (
    " It read converted weights: in case those are damaged, 'cache --clear' removes them, and a "
    "run with --fresh converts them again."
)
_NO_ROWS = "only the small form of the reference is here, and that does not have every token"


def tolerated(formats: Sequence[Format]) -> float:
    """What rounding may lose over all slots; of formats that are not known, or none, the most."""
    if not formats:
        return _MOST
    return min(_MOST, _FOLDED + sum(ROUNDING.get(one, _WIDEST) for one in formats))


def judge_gate(
    reference: Rows | SmallForm,
    candidate: Rows,
    formats: Sequence[Format] = (),
    *,
    from_cache: bool = False,
) -> Gate:
    """Compare rows [n, V] of the strategy with the reference's; `why` is None where it passes.

    `formats` has (dtype, weight_dtype) of each slot; `from_cache` is whether the weights are
    converted ones that the cache keeps. Raises NotANumber where the strategy gave NaN
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
            "most. Nothing was measured; --set gate=false measures it all the same."
        ) + (IF_DAMAGED if from_cache else "")
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
