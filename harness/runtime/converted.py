"""What a converted file says of itself, and which strategies it serves. No torch.

Two formats hold the same stored tensors (`stored.py`):

- ours: safetensors, matrices [out, in], with the plan and the hash of the source in the metadata;
- the official package's: a `.pth` with matrices [in, out], `_my` and `_ry` as columns, and three
  entries that are no tensors: `_strategy`, `_version` and `_rescale_layer`.

The formats of the slots are read off the tensors themselves, and must be those that the file names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.errors import CheckpointError, StrategyError
from harness.runtime.shape import ModelShape
from harness.runtime.stored import (
    FOLDS,
    Fold,
    SlotFormat,
    StoredPlan,
    differences,
    effective_rescale,
    stored_plan,
    stored_tensors,
)
from harness.runtime.tensor_info import TensorInfo
from harness.runtime.validate import fits, other_model

Layout = Literal["harness", "official"]
METADATA_KEY = "rwkv_harness_converted"
METADATA_VERSION = "1"
OFFICIAL_VERSION = "0.7"
NO_SOURCE = (
    "the official converted format does not say which weights it was made from, so they have no "
    "exact reference here: use the original, or convert that to a .safetensors"
)
_LONGEST_STRATEGY = 10_000  # characters; a stage for each slot of any real model has fewer
_FORMATS = ("fp32", "fp16", "bf16")


@dataclass(frozen=True, kw_only=True, slots=True)
class Converted:
    """How a file was converted."""

    layout: Layout
    strategy: str  # that it was converted for
    plan: StoredPlan
    source_sha256: str | None  # of the original file; None in the official format


def is_converted(extras: Mapping[str, Any]) -> bool:
    """Whether what a file holds beside tensors is that of a converted one."""
    return METADATA_KEY in extras or "_strategy" in extras


def read_converted(
    path: Path, tensors: Mapping[str, TensorInfo], extras: Mapping[str, Any]
) -> tuple[ModelShape, Converted]:
    """The model's shape and its conversion; raises `CheckpointError` for a damaged or newer file.

    `extras` are the metadata of a safetensors file, or the entries of a `.pth` without a tensor.
    """
    other = other_model(tensors)
    if other:
        raise CheckpointError(f"{path}: {other}, converted; this harness runs RWKV-4.")
    layout: Layout = "harness" if METADATA_KEY in extras else "official"
    shape = _read_shape(path, tensors, transposed=layout == "official")
    rescale, fold = (
        _read_official(path, extras) if layout == "official" else _read_ours(path, extras)
    )
    plan = StoredPlan(
        slots=_slots(path, tensors, shape.n_layer),
        rescale=effective_rescale(rescale, shape.n_layer),
        fold=fold,
    )
    strategy = _strategy(path, extras.get("_strategy" if layout == "official" else "strategy"))
    try:
        named = stored_plan(strategy, shape.n_layer)
    except StrategyError as error:
        raise CheckpointError(f"{path}: a converted file with an {error}") from error
    if named.slots != plan.slots:
        wrong = "; ".join(
            differences(plan, StoredPlan(slots=named.slots, rescale=plan.rescale, fold=fold))
        )
        raise CheckpointError(f"{path}: says it was converted for '{strategy}', but {wrong}")
    if layout == "harness" and extras.get("plan") != plan.key:
        raise CheckpointError(
            f"{path}: its tensors are those of the plan '{plan.key}', and its metadata names "
            "another one; damaged. Convert it again."
        )
    _check_tensors(path, tensors, shape, plan, layout)
    digest = _source_sha256(path, extras) if layout == "harness" else None
    return shape, Converted(layout=layout, strategy=strategy, plan=plan, source_sha256=digest)


def why_unfit(path: Path, converted: Converted | None, strategy: str, n_layer: int) -> str | None:
    """Why a file cannot serve `strategy`, per slot, with the way out; None where it can.

    An original checkpoint (`converted` None) serves every strategy.
    """
    if converted is None:
        return None
    found = differences(converted.plan, stored_plan(strategy, n_layer))
    if not found:
        return None
    return (
        f"{path} was converted for '{converted.strategy}' and cannot serve '{strategy}': "
        f"{'; '.join(found)}. Convert the original for it: python -m harness convert "
        f"--in ORIGINAL.pth --out FILE.safetensors --strategy '{strategy}'"
    )


def _strategy(path: Path, named: Any) -> str:
    if not isinstance(named, str) or not named.isprintable() or len(named) > _LONGEST_STRATEGY:
        raise CheckpointError(f"{path}: a converted file that names no strategy; damaged.")
    return named


def _read_ours(path: Path, extras: Mapping[str, Any]) -> tuple[int, Fold]:
    version = extras[METADATA_KEY]
    if version != METADATA_VERSION:
        raise CheckpointError(
            f"{path}: converted by another release (format {version!r}, this one reads "
            f"'{METADATA_VERSION}'). Convert it again."
        )
    rescale, fold = str(extras.get("rescale_layer")), extras.get("fold")
    if not re.fullmatch(r"[0-9]{1,6}", rescale) or fold not in FOLDS:
        raise CheckpointError(
            f"{path}: its metadata has rescale_layer {rescale!r} and fold {fold!r}; damaged. "
            "Convert it again."
        )
    return int(rescale), "file" if fold == "file" else "float32"


def _source_sha256(path: Path, extras: Mapping[str, Any]) -> str:
    digest = extras.get("source_sha256")
    if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise CheckpointError(
            f"{path}: its metadata has source_sha256 {digest!r}, which is no SHA-256; damaged. "
            "Convert it again."
        )
    return digest


def _read_official(path: Path, extras: Mapping[str, Any]) -> tuple[int, Fold]:
    version, rescale = extras.get("_version"), extras.get("_rescale_layer")
    if not re.fullmatch(r"[0-9]+\.[0-9]+", str(version)) or float(str(version)) < 0.7:
        raise CheckpointError(
            f"{path}: a converted file of version {version!r}; those from 0.7 on can be read. "
            "Convert it again."
        )
    if type(rescale) is not int or rescale < 0:
        raise CheckpointError(f"{path}: its _rescale_layer is {rescale!r}, not a whole number")
    return rescale, "file"


def _read_shape(path: Path, tensors: Mapping[str, TensorInfo], *, transposed: bool) -> ModelShape:
    emb, key = tensors.get("emb.weight"), tensors.get("blocks.0.ffn.key.weight")
    if emb is None or key is None or len(emb.shape) != 2 or len(key.shape) != 2:
        raise CheckpointError(f"{path}: a converted file without an embedding or ffn matrix")
    named = (re.match(r"blocks\.([0-9]{1,6})\.", name) for name in tensors)
    n_layer = 1 + max(int(match[1]) for match in named if match)
    if n_layer > len(tensors):
        raise CheckpointError(f"{path}: blocks up to {n_layer - 1} are named, and most are missing")
    return ModelShape(
        n_layer=n_layer,
        n_embd=emb.shape[1],
        n_vocab=emb.shape[0],
        dim_ffn=key.shape[1 if transposed else 0],
    )


def _slots(path: Path, tensors: Mapping[str, TensorInfo], n_layer: int) -> tuple[SlotFormat, ...]:
    """Each slot's formats, off its first norm and its first matrix."""
    names = [(f"blocks.{i}.ln1.weight", f"blocks.{i}.att.key.weight") for i in range(n_layer)]
    names.append(("ln_out.weight", "head.weight"))
    slots = []
    for vector, matrix in names:
        for name in (vector, matrix):
            if name not in tensors:
                raise CheckpointError(f"{path}: '{name}' is missing from a converted file")
        dtype, weight_dtype = tensors[vector].dtype, tensors[matrix].dtype
        if dtype not in _FORMATS or weight_dtype not in (dtype, "uint8"):
            raise CheckpointError(
                f"{path}: '{matrix}' holds {weight_dtype} beside vectors of {dtype}; no strategy "
                "makes that"
            )
        slots.append(SlotFormat(dtype=dtype, weight_dtype=weight_dtype))
    return tuple(slots)


def _check_tensors(
    path: Path,
    tensors: Mapping[str, TensorInfo],
    shape: ModelShape,
    plan: StoredPlan,
    layout: Layout,
) -> None:
    """Every tensor that the plan needs is there in its format and shape, and no other."""
    expected = stored_tensors(shape, plan)
    for name, wanted in expected.items():
        found = tensors.get(name)
        if found is None:
            raise CheckpointError(f"{path}: '{name}' is missing from a converted file")
        want = wanted.shape
        if layout == "official" and name != "emb.weight":
            want = want[::-1]
        if found.dtype != wanted.dtype or not fits(found.shape, want):
            raise CheckpointError(
                f"{path}: '{name}' is {found.dtype} {list(found.shape)}; {wanted.dtype} "
                f"{list(want)} fits the rest of the converted file"
            )
    unknown = sorted(set(tensors) - set(expected))
    if unknown:
        raise CheckpointError(
            f"{path}: {len(unknown)} tensors do not belong to a converted RWKV-4 model, the first "
            f"is '{unknown[0]}'"
        )
