"""Converts a checkpoint to a strategy's stored tensors, in a file: tensor by tensor, atomically.

Needs no device that the strategy names. The peak is about two copies of the largest matrix in
float32, whatever the model's size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import torch

from harness.errors import BadInput
from harness.runtime.checkpoint import Header, read_header
from harness.runtime.converted import METADATA_KEY, METADATA_VERSION, OFFICIAL_VERSION
from harness.runtime.dtypes import TORCH_DTYPES
from harness.runtime.output_file import replacing
from harness.runtime.pth_writer import PthWriter
from harness.runtime.safetensors_writer import SafetensorsWriter
from harness.runtime.stored import (
    SCALES,
    Fold,
    Form,
    StoredPlan,
    StoredTensor,
    slot_of,
    stored_tensors,
)
from harness.runtime.strategy import UINT8, canonical, rescale_layer
from harness.runtime.synthetic import parse_random
from harness.runtime.transform import StoredModel, open_checkpoint, open_stored

Progress = Callable[[int, int], None]  # bytes written, and in all
_READ_BYTES = 2**22
_SLACK_BYTES = 2**20  # for a file's header


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What was written."""

    path: Path
    nbytes: int
    strategy: str
    plan: StoredPlan
    source_sha256: str


class _Writer(Protocol):
    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Append one tensor."""

    def finish(self) -> None:
        """Write what comes last."""


def convert(  # noqa: PLR0913 - each is a choice of the user's, and all have names
    weights: str | Path,
    out: Path,
    strategy: str | None = None,
    *,
    form: Form = "safetensors",
    fold: Fold | None = None,
    seed: int = 0,
    source_sha256: str | None = None,
    on_progress: Progress = lambda _done, _total: None,
) -> Conversion:
    """Write the tensors that `strategy` needs of `weights` (a checkpoint, or `random:SIZE`).

    `form` is our safetensors format or the official package's converted `.pth`. A converted file
    may be written again in the other form; `strategy` may then be left out. `fold` is the precision
    in which ln0 goes into the embedding: float32, but in the official form the file's own, as the
    official package does. `source_sha256` is computed unless it is known. `out` is replaced when
    the new file is complete and on the disk.

    Raises `CheckpointError`, `StrategyError`, `BadInput`, or `HarnessError` for a full disk.
    """
    header = None if parse_random(str(weights)) is not None else read_header(weights)
    if strategy is None:
        if header is None or header.converted is None:
            raise BadInput(
                f"{weights} is not a converted file, so a strategy is needed: 'cpu fp32i8', say"
            )
        strategy = header.converted.strategy
    if fold is not None and header is not None and header.converted is not None:
        _check_fold(header.path, header.converted.plan.fold, fold)
    if fold is None:
        fold = "file" if form == "pth" else "float32"
    _check_target(header, out)
    if header is not None and header.converted is not None:
        source_sha256 = header.converted.source_sha256 or source_sha256
    if header is None:
        opened = open_stored(weights, strategy, fold=fold, seed=seed)
    else:
        opened = open_checkpoint(header, strategy, fold)
    with closing(opened) as stored:
        plan = stored.plan
        sha256 = source_sha256 or _source_sha256(weights, seed)
        tensors = stored_tensors(stored.shape, plan)
        total = sum(tensor.nbytes for tensor in tensors.values())
        with replacing(out, total + _SLACK_BYTES) as file:
            writer: _Writer
            if form == "pth":
                writer = _pth_writer(file, tensors, strategy)
            else:
                writer = SafetensorsWriter(file, tensors, _metadata(strategy, plan, sha256))
            _write_all(writer, stored, plan, tensors, on_progress)
    return Conversion(
        path=out,
        nbytes=out.stat().st_size,
        strategy=canonical(strategy),
        plan=plan,
        source_sha256=sha256,
    )


def _write_all(
    writer: _Writer,
    stored: StoredModel,
    plan: StoredPlan,
    tensors: Mapping[str, StoredTensor],
    on_progress: Progress,
) -> None:
    total = sum(tensor.nbytes for tensor in tensors.values())
    done = 0
    on_progress(done, total)
    for name in tensors:
        if name.endswith(SCALES):
            continue  # written with its matrix
        with torch.no_grad():
            for part, tensor in _parts(stored, plan, name):
                writer.write(part, tensor)
                done += tensors[part].nbytes
        on_progress(done, total)
    writer.finish()


def _parts(stored: StoredModel, plan: StoredPlan, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    """A stored tensor; an int8 matrix with its four vectors."""
    if name == "emb.weight":
        yield name, stored.embedding()
        return
    slot = plan.slots[slot_of(name, stored.shape.n_layer)]
    if not stored.shape.is_matrix(name):
        yield name, stored.vector(name)
    elif slot.weight_dtype == UINT8:
        mm8 = stored.mm8(name)
        yield name, mm8.q
        yield from ((name + suffix, t) for suffix, t in zip(SCALES, mm8[1:], strict=True))
    else:
        yield name, stored.dense(name).to(TORCH_DTYPES[slot.weight_dtype])


def _metadata(strategy: str, plan: StoredPlan, source_sha256: str) -> dict[str, str]:
    return {
        "format": "pt",
        METADATA_KEY: METADATA_VERSION,
        "strategy": canonical(strategy),
        "plan": plan.key,
        "fold": plan.fold,
        "rescale_layer": str(rescale_layer(strategy)),
        "source_sha256": source_sha256,
    }


def _pth_writer(file: BinaryIO, tensors: Mapping[str, StoredTensor], strategy: str) -> PthWriter:
    """The official form: matrices as [in, out], `_my` and `_ry` as columns."""
    announced = {
        name: StoredTensor(dtype=tensor.dtype, shape=(*tensor.shape, 1))
        if name.endswith(("_my", "_ry"))
        else tensor
        for name, tensor in tensors.items()
    }
    matrices = {name for name, tensor in tensors.items() if len(tensor.shape) == 2}
    extras: dict[str, str | int] = {
        # As the package itself spells it, which asks for the very same text again.
        "_strategy": " -> ".join(stage.strip() for stage in strategy.split("->")),
        "_rescale_layer": rescale_layer(strategy),
        "_version": OFFICIAL_VERSION,
    }
    return PthWriter(file, announced, extras, frozenset(matrices - {"emb.weight"}))


def _check_fold(path: Path, have: Fold, want: Fold) -> None:
    if have != want:
        raise BadInput(
            f"{path} is a converted file whose ln0 was folded in {have}, not in {want}, and that "
            "cannot be undone. Convert the original, or leave --fold out."
        )


def _check_target(header: Header | None, out: Path) -> None:
    if header is not None and out.exists() and out.samefile(header.path):
        raise BadInput(f"{out} is the file that is to be converted. Name another one.")
    if out.is_dir():
        raise BadInput(f"{out} is a folder. Name a file.")


def _source_sha256(weights: str | Path, seed: int) -> str:
    """Of the file's content; of random weights, of what they are made from."""
    digest = hashlib.sha256()
    if parse_random(str(weights)) is not None:
        digest.update(f"{weights} seed {seed}".encode())
        return digest.hexdigest()
    with Path(weights).open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
