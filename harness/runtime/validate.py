"""Check that the tensors of a file are those of an RWKV-4 model, and read its shape off them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.errors import CheckpointError
from harness.runtime.shape import ModelShape, original_tensors

Shapes = Mapping[str, tuple[int, ...]]


def validate_rwkv4(path: Path, shapes: Shapes) -> ModelShape:
    """The shape of the RWKV-4 model whose tensors have `shapes`.

    Raises `CheckpointError` saying what the file is, or which tensor is missing or misshapen.
    """
    other = other_model(shapes)
    if other:
        raise CheckpointError(f"{path}: {other}; this harness runs RWKV-4.")
    shape = _read_shape(path, shapes)
    expected = original_tensors(shape)
    missing = [name for name in expected if name not in shapes]
    if missing:
        raise CheckpointError(
            f"{path}: {len(missing)} tensors of an RWKV-4 model with {shape.n_layer} blocks are "
            f"missing, the first is '{missing[0]}'. A LoRA or a part of a model?"
        )
    unknown = [name for name in shapes if name not in expected]
    if unknown:
        raise CheckpointError(
            f"{path}: {len(unknown)} tensors do not belong to RWKV-4, the first is "
            f"'{unknown[0]}'. A training variant (tiny attention, ffnPre, …)? Running without "
            "them would give wrong answers."
        )
    for name, size in expected.items():
        if not fits(shapes[name], size):
            raise CheckpointError(
                f"{path}: '{name}' has shape {list(shapes[name])}, but {list(size)} fits the rest"
            )
    return shape


def _read_shape(path: Path, shapes: Shapes) -> ModelShape:
    named = (re.match(r"blocks\.([0-9]{1,6})\.", name) for name in shapes)
    blocks = [int(match[1]) for match in named if match]
    for name in ("emb.weight", "blocks.0.ffn.key.weight"):
        if len(shapes.get(name, ())) != 2 or 0 in shapes[name]:
            raise CheckpointError(
                f"{path}: not an RWKV model: it has no matrix '{name}' "
                f"({len(shapes)} tensors, such as {', '.join(sorted(shapes)[:3])})"
            )
    if len(blocks) < max(blocks):
        raise CheckpointError(f"{path}: blocks up to {max(blocks)} are named, and most are missing")
    if "blocks.0.ln0.weight" not in shapes:
        raise CheckpointError(
            f"{path}: 'blocks.0.ln0.weight' is missing, and the file does not say that it was "
            "converted. A part of a model?"
        )
    n_vocab, n_embd = shapes["emb.weight"]
    return ModelShape(
        n_layer=max(blocks) + 1,
        n_embd=n_embd,
        n_vocab=n_vocab,
        dim_ffn=shapes["blocks.0.ffn.key.weight"][0],
    )


def other_model(shapes: Iterable[str]) -> str | None:
    """What a file holds if the names of its tensors give away another architecture."""
    names = " ".join(shapes)
    if "att.r_k" in names or "att.k_k" in names:
        return "an RWKV-7 model"
    if "time_maa" in names:
        return "an RWKV-6 model"
    if "att.gate.weight" in names:
        return "an RWKV-5.1 or later model"
    if "ln_x" in names:
        return "an RWKV-5 model"
    if "model.layers.0." in names:
        return "a transformer in the Hugging Face layout (Llama or a relative)"
    if "rwkv.blocks.0." in names:
        return "an RWKV model in the layout of transformers, not the original one"
    return None


def fits(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether shapes agree: a vector may be [D], [1, 1, D] or [D, 1], a matrix only itself."""
    if len(wanted) == 2:
        return found == wanted
    return [n for n in found if n != 1] == [n for n in wanted if n != 1]
