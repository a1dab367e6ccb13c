"""Original tensors -> stored ones, one at a time: fold, rescale, cast or quantise.

In this order, as in the official package:

1. the embedding is normalised by ln0 once and for all;
2. under a plan with fp16, `att.output` and `ffn.value` of block i are divided by 2^(i // 6);
3. decay becomes -exp(time_decay) in float32, the bonus float32;
4. other vectors take the activations' dtype, matrices the weights' dtype or int8.

What a converted file holds already is only read. Knows nothing of devices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import torch
from torch.nn import functional

from harness.errors import CheckpointError
from harness.runtime.checkpoint import Header, read_header
from harness.runtime.converted import Converted
from harness.runtime.dtypes import TORCH_DTYPES
from harness.runtime.quantise import Mm8, quantise_
from harness.runtime.shape import ModelShape
from harness.runtime.stored import (
    SCALES,
    WKV_VECTORS,
    Fold,
    StoredPlan,
    slot_of,
    stored_plan,
)
from harness.runtime.synthetic import RandomSource, parse_random
from harness.runtime.tensors import FileSource, Span, TensorFile, TensorSource

_FOLD_ROWS = 4096  # of the embedding at a time: bounds the float32 copy


class StoredModel(Protocol):
    """The stored tensors of one model under one plan, made or read when they are asked for."""

    shape: ModelShape
    plan: StoredPlan

    def embedding(self) -> torch.Tensor:
        """`emb.weight` [V, C] with ln0 folded in, in the first slot's dtype."""

    def embedding_rows(self, spans: Iterable[Span]) -> Iterator[torch.Tensor]:
        """Some rows of it, for each span in turn: in ascending order, none twice."""

    def vector(self, name: str) -> torch.Tensor:
        """A vector [C]: in its slot's dtype, decay and bonus in float32."""

    def dense(self, name: str) -> torch.Tensor:
        """A matrix [out, in], in the source's dtype: the caller casts it to its slot's."""

    def dense_rows(self, name: str, spans: Iterable[Span]) -> Iterator[torch.Tensor]:
        """Some rows of it, for each span in turn, as of `embedding_rows`."""

    def mm8(self, name: str) -> Mm8:
        """A quantised matrix."""

    def close(self) -> None:
        """Release what is held open."""


def open_stored(
    weights: str | Path, strategy: str, *, fold: Fold = "float32", seed: int = 0
) -> StoredModel:
    """The stored tensors that `strategy` needs of a checkpoint, or of `random:SIZE`.

    Raises `CheckpointError`, also for a file that was converted to another plan, `StrategyError` or
    `BadInput`.
    """
    random_shape = parse_random(str(weights))
    if random_shape is not None:
        plan = stored_plan(strategy, random_shape.n_layer, fold)
        return Transformed(RandomSource(random_shape, seed), plan)
    return open_checkpoint(read_header(weights), strategy, fold)


def open_checkpoint(header: Header, strategy: str, fold: Fold) -> StoredModel:
    """The same of a checkpoint whose header is read already."""
    plan = stored_plan(strategy, header.shape.n_layer, fold)
    if header.converted is None:
        return Transformed(FileSource(header), plan)
    why = header.why_unfit(strategy)
    if why is not None:
        raise CheckpointError(why)
    return ConvertedModel(header, header.converted)


class Transformed:
    """A `StoredModel` made from original tensors."""

    def __init__(self, source: TensorSource, plan: StoredPlan) -> None:
        self.shape = source.shape
        self._source = source
        self.plan = plan

    def embedding(self) -> torch.Tensor:
        """LayerNorm of every row by ln0, in float32 or in the file's own dtype."""
        emb = self._source.read("emb.weight")
        norm = self._ln0()
        folded = torch.empty(emb.shape, dtype=self._dtype("emb.weight"))
        for start in range(0, emb.shape[0], _FOLD_ROWS):
            rows = emb[start : start + _FOLD_ROWS]
            folded[start : start + _FOLD_ROWS] = _layer_norm(rows, *norm, self.plan.fold)
        return folded

    def embedding_rows(self, spans: Iterable[Span]) -> Iterator[torch.Tensor]:
        """The same of some rows."""
        norm, dtype = self._ln0(), self._dtype("emb.weight")
        for rows in self._source.rows("emb.weight", spans):
            yield _layer_norm(rows, *norm, self.plan.fold).to(dtype)

    def vector(self, name: str) -> torch.Tensor:
        """[1, 1, C] made [C]; time_decay as -exp of it."""
        tensor = self._source.read(name).flatten()
        if not name.endswith(WKV_VECTORS):
            return tensor.to(self._dtype(name))
        return -torch.exp(tensor.float()) if name.endswith("time_decay") else tensor.float()

    def dense(self, name: str) -> torch.Tensor:
        """The original matrix, divided where the plan rescales."""
        weight = self._source.read(name)
        divisor = self.plan.divisor(name)
        return weight if divisor == 1 else weight.div_(divisor)

    def dense_rows(self, name: str, spans: Iterable[Span]) -> Iterator[torch.Tensor]:
        """The same of some rows."""
        divisor = self.plan.divisor(name)
        for rows in self._source.rows(name, spans):
            yield rows if divisor == 1 else rows / divisor

    def mm8(self, name: str) -> Mm8:
        """The same, quantised."""
        return quantise_(self.dense(name).float(), self._dtype(name))

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def _ln0(self) -> tuple[torch.Tensor, torch.Tensor]:
        weight, bias = (self._source.read(f"blocks.0.ln0.{part}") for part in ("weight", "bias"))
        return weight.flatten(), bias.flatten()

    def _dtype(self, name: str) -> torch.dtype:
        return TORCH_DTYPES[self.plan.slots[slot_of(name, self.shape.n_layer)].dtype]


class ConvertedModel:
    """A `StoredModel` read from a converted file."""

    def __init__(self, header: Header, converted: Converted) -> None:
        self.shape = header.shape
        self.plan = converted.plan
        self._file = TensorFile(header)
        self._transposed = converted.layout == "official"

    def embedding(self) -> torch.Tensor:
        """As stored."""
        return self._file.read("emb.weight")

    def embedding_rows(self, spans: Iterable[Span]) -> Iterator[torch.Tensor]:
        """As stored."""
        return self._file.rows("emb.weight", spans)

    def vector(self, name: str) -> torch.Tensor:
        """As stored."""
        return self._file.read(name).flatten()

    def dense(self, name: str) -> torch.Tensor:
        """As stored."""
        return self._file.read(name, transposed=self._transposed)

    def dense_rows(self, name: str, spans: Iterable[Span]) -> Iterator[torch.Tensor]:
        """As stored."""
        if not self._transposed:
            return self._file.rows(name, spans)
        whole = self.dense(name)
        return (whole[start:stop] for start, stop in spans)

    def mm8(self, name: str) -> Mm8:
        """As stored."""
        return Mm8(self.dense(name), *(self.vector(name + suffix) for suffix in SCALES))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _layer_norm(
    rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, fold: Fold
) -> torch.Tensor:
    size = rows.shape[-1:]
    if fold == "file":
        try:
            return functional.layer_norm(rows, size, weight, bias, 1e-5)
        except RuntimeError:  # old torch has no half LayerNorm on the CPU; the official way out
            pass
    return functional.layer_norm(rows.float(), size, weight.float(), bias.float(), 1e-5)
