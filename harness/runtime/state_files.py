"""States in files, to go on another day: safetensors, written whole or not at all.

A file holds a state's five tensors of each layer, [B, C] and in their dtypes, as `layers.0.att_x`
and so on, and in its metadata what they are. Files are untrusted input like weights: there is no
pickle in them, and whatever does not fit comes out as a `CheckpointError`. Knows nothing of models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from harness.errors import BadInput, CheckpointError, NotANumber
from harness.runtime.dtypes import NAMES, TORCH_DTYPES
from harness.runtime.output_file import written_whole
from harness.runtime.state import TENSORS, LayerState, State, StateForm

_FORMAT = "rwkv-harness state"
_VERSION = 1
_WKV = ("aa", "bb", "pp")
_SHA256 = re.compile("[0-9a-f]{64}")
# What the library raises on bytes that are not what they claim to be.
_DAMAGE = (
    safetensors.SafetensorError,
    AttributeError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
_NUMBER = re.compile("0|[1-9][0-9]{0,14}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedState:
    """What was in a file."""

    state: State  # on the CPU; `Model.adopt` puts it where a model wants it
    model_sha256: str | None  # of the weights file that it was made with; None: not said
    tokens: int | None  # fed per row so far; None: not said


def save_state(
    state: State, path: str | Path, *, model_sha256: str | None = None, tokens: int | None = None
) -> None:
    """Write `state` to a safetensors file; a file that is there is replaced at the last moment.

    `model_sha256` of the weights file and the number of `tokens` fed are kept for who loads it.

    Raises `NotANumber` for a state with NaN or infinite numbers, from which nothing can go on, and
    `BadInput` for a state, a hash or a number that is none, or a file that cannot be written.
    """
    if model_sha256 is not None and not _SHA256.fullmatch(model_sha256):
        raise BadInput(f"model_sha256 is '{model_sha256}'; it has 64 digits 0-9 and a-f")
    if tokens is not None and tokens < 0:
        raise BadInput(f"tokens is {tokens}; it is a number of tokens fed, 0 or more")
    StateForm.of(state).check(state, state.batch)
    metadata = _metadata(state, model_sha256, tokens)
    content = safetensors.torch.save(_named_tensors(state), metadata=metadata)
    try:
        with written_whole(Path(path)) as file:
            file.write(content)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error.strerror or error})") from error


def load_state(path: str | Path, *, model_sha256: str | None = None) -> SavedState:
    """Read a file of `save_state`, onto the CPU.

    With `model_sha256`, the file must be of those weights, where it says which.

    Raises `CheckpointError` for anything that is not a whole state, or one of other weights.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file; `save_state` writes one")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            saved = _read(path, file)
        _check_length(path, saved.state)
    except _DAMAGE as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({error}). It is no saved state, or was cut off."
        ) from error
    if model_sha256 is not None and saved.model_sha256 not in (None, model_sha256):
        raise CheckpointError(
            f"{path}: a state of the weights {saved.model_sha256}, not of {model_sha256}: load "
            "those, or feed the text anew"
        )
    return saved


def _key(index: int, name: str) -> str:
    return f"layers.{index}.{name}"


def _named_tensors(state: State) -> dict[str, torch.Tensor]:
    """Copies on the CPU: the format takes no two tensors of one storage."""
    tensors = {}
    for index, layer in enumerate(state.layers):
        for name, tensor in zip(TENSORS, layer.tensors(), strict=True):
            if not torch.isfinite(tensor).all():
                raise NotANumber(
                    f"layer {index} of the state has NaN or infinite numbers in {name}: no model "
                    "can go on from it. Another dtype of activations may not overflow."
                )
            tensors[_key(index, name)] = tensor.to("cpu", copy=True).contiguous()
    return tensors


def _metadata(state: State, model_sha256: str | None, tokens: int | None) -> dict[str, str]:
    metadata = {
        "format": _FORMAT,
        "version": str(_VERSION),
        "architecture": "RWKV-4",
        "layout": "[batch, n_embd] per layer: " + ", ".join(TENSORS),
        "n_layer": str(len(state.layers)),
        "n_embd": str(state.layers[0].att_x.shape[-1]),
        "batch": str(state.batch),
        "dtypes": " ".join(NAMES[layer.att_x.dtype] for layer in state.layers),
    }
    if model_sha256 is not None:
        metadata["model_sha256"] = model_sha256
    if tokens is not None:
        metadata["tokens"] = str(tokens)
    return metadata


# -- reading: nothing a file says is believed before it is checked ---------------------------------


def _read(path: Path, file: Any) -> SavedState:
    metadata: Mapping[str, str] = file.metadata() or {}
    if metadata.get("format") != _FORMAT:
        raise CheckpointError(f"{path}: a safetensors file, but not of a state")
    if metadata.get("version") != str(_VERSION):
        raise CheckpointError(
            f"{path}: version {metadata.get('version')} of the format; this harness knows "
            f"{_VERSION}. Update rwkv-harness to read it."
        )
    n_layer, n_embd, batch = (_size(path, metadata, key) for key in ("n_layer", "n_embd", "batch"))
    dtypes = metadata.get("dtypes", "").split(" ")
    names = set(file.keys())
    # counted first: a file may claim any number of layers
    if len(dtypes) != n_layer or len(names) != n_layer * len(TENSORS):
        raise CheckpointError(
            f"{path}: {len(names)} tensors and {len(dtypes)} dtypes, for {n_layer} layers: damaged"
        )
    layers = []
    for index, dtype in enumerate(dtypes):
        tensors = []
        for name in TENSORS:
            key = _key(index, name)
            if key not in names:
                raise CheckpointError(f"{path}: '{key}' is missing: damaged")
            wanted = "fp32" if name in _WKV else dtype
            tensors.append(
                _tensor(f"{path}: '{key}'", file.get_tensor(key), wanted, (batch, n_embd))
            )
        layers.append(LayerState.of(tensors))
    tokens = _number(path, metadata, "tokens") if "tokens" in metadata else None
    sha256 = metadata.get("model_sha256")
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise CheckpointError(f"{path}: model_sha256 is '{sha256[:80]}', and no hash: damaged")
    return SavedState(state=State(tuple(layers)), model_sha256=sha256, tokens=tokens)


def _check_length(path: Path, state: State) -> None:
    """Raise `ValueError` where more stands behind the tensors: safetensors 0.3.0 says nothing."""
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    tensors = [tensor for layer in state.layers for tensor in layer.tensors()]
    surplus = (
        path.stat().st_size - 8 - header - sum(one.numel() * one.element_size() for one in tensors)
    )
    if surplus:
        raise ValueError(f"{surplus} bytes more than its tensors have")


def _tensor(what: str, tensor: torch.Tensor, dtype: str, shape: tuple[int, int]) -> torch.Tensor:
    if dtype not in TORCH_DTYPES or tensor.dtype != TORCH_DTYPES[dtype] or tensor.shape != shape:
        raise CheckpointError(
            f"{what} is {tensor.dtype} {list(tensor.shape)}, and the file says {dtype} "
            f"{list(shape)}: damaged"
        )
    if not torch.isfinite(tensor).all():
        raise CheckpointError(f"{what} has NaN or infinite numbers: no model can go on from it")
    return tensor.clone()  # out of the file's memory map


def _size(path: Path, metadata: Mapping[str, str], key: str) -> int:
    number = _number(path, metadata, key)
    if number == 0:
        raise CheckpointError(f"{path}: {key} is 0: damaged")
    return number


def _number(path: Path, metadata: Mapping[str, str], key: str) -> int:
    text = metadata.get(key, "")
    if not _NUMBER.fullmatch(text):
        raise CheckpointError(f"{path}: {key} is '{text[:40]}', and no number: damaged")
    return int(text)
