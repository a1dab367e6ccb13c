"""Where it pays to convert weights once, and to how many bytes: what their headers tell of that.

Knows neither the cache of converted files nor how they are made (`measure/conversion.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.runtime.checkpoint import Header, read_header
from harness.runtime.shape import RANDOM_SHAPES, ModelShape
from harness.runtime.stored import StoredPlan, stored_tensors
from harness.runtime.strategy import UINT8
from harness.sizes import size
from harness.sources.random_weights import RANDOM

_RANDOM_BYTES = 2  # per parameter: random weights stand for a file in bf16
_FIXED_BITS = 1.01  # decay and bonus are float32 in every plan, less than 1 % of any model


@dataclass(frozen=True, kw_only=True, slots=True)
class Original:
    """What the header of weights tells of them."""

    shape: ModelShape
    nbytes: int
    matrix_dtypes: frozenset[str]  # empty for random weights, which are in no file
    is_converted: bool = False


def look_at(weights: Path | str) -> Original:
    """Read the header of weights. Raises `CheckpointError` or `OSError`."""
    return (
        random_original(weights) if isinstance(weights, str) else original_of(read_header(weights))
    )


def random_original(weights: str) -> Original:
    """What `random:SIZE` stands for."""
    shape = RANDOM_SHAPES[weights.removeprefix(RANDOM)]
    return Original(shape=shape, nbytes=shape.n_params * _RANDOM_BYTES, matrix_dtypes=frozenset())


def original_of(header: Header) -> Original:
    """The same of a file whose header was read. Raises `OSError`."""
    return Original(
        shape=header.shape,
        nbytes=header.path.stat().st_size,
        matrix_dtypes=frozenset(
            info.dtype for name, info in header.tensors.items() if header.shape.is_matrix(name)
        ),
        is_converted=header.converted is not None,
    )


def why_original(original: Original, plan: StoredPlan) -> str | None:
    """Why the original weights are read; None where converting them pays.

    int8 always does: quantising takes most of a load. Other formats are only cast, so a converted
    file that is larger would cost more time to read, and more disk, than it saves.
    """
    if original.is_converted:
        return "it is a converted file itself"
    wanted = {slot.weight_dtype for slot in plan.slots}
    if UINT8 in wanted:
        return None
    if original.matrix_dtypes == wanted:
        return "its matrices are in the plan's format as they are"
    needed = stored_bytes(original.shape, plan)
    if needed > original.nbytes * _FIXED_BITS:
        return (
            f"converted it would take {size(needed)} in place of {size(original.nbytes)}, and save "
            "no quantising"
        )
    return None


def stored_bytes(shape: ModelShape, plan: StoredPlan) -> int:
    """Bytes of all tensors of a converted file."""
    return sum(tensor.nbytes for tensor in stored_tensors(shape, plan).values())
