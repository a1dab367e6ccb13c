"""MODEL of a command that asks for a model's shape only: any form that names weights, or a size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import BadInput
from harness.runtime.forecast_load import Source
from harness.runtime.shape import RANDOM_SHAPES, ModelShape

if TYPE_CHECKING:
    from harness.runtime.checkpoint import Header

SIZES = tuple(RANDOM_SHAPES)


@dataclass(frozen=True, kw_only=True)
class NamedModel:
    """What a forecast needs to know of a model."""

    name: str
    shape: ModelShape
    source: Source = "original"
    file_dtype: str = "bf16"
    header: Header | None = None  # of the file, where it is one

    @property
    def converted_for(self) -> str | None:
        """The strategy that the file was converted for; None for an original, or no file."""
        converted = None if self.header is None else self.header.converted
        return None if converted is None else converted.strategy

    def need_fit(self, strategy: str) -> None:
        """Raise `BadInput`, with what to do, where a converted file cannot serve `strategy`."""
        why = None if self.header is None else self.header.why_unfit(strategy)
        if why is not None:
            raise BadInput(why)

    def __str__(self) -> str:
        shape = self.shape
        return (
            f"{self.name}: {shape.n_layer} layers of width {shape.n_embd}, vocabulary "
            f"{shape.n_vocab:,}"
        )


def named_model(text: str | None, size: str | None) -> NamedModel | None:
    """The model that MODEL or --size names; None where neither is given.

    Raises `BadInput` for both at once, and the errors of finding and reading a file.
    """
    if text is not None and size is not None:
        raise BadInput(f"both MODEL ({text}) and --size {size} are given. Leave one out.")
    if text is None:
        return None if size is None else _of_size(size)
    if text.lower() in RANDOM_SHAPES:
        return _of_size(text.lower())
    from harness.runtime.checkpoint import read_header
    from harness.sources.finding import find

    found = find(text)
    if found.random is not None:
        size = found.random.split(":", 1)[1]
        return NamedModel(name=found.random, shape=RANDOM_SHAPES[size], source="random")
    header = read_header(found.need())
    return NamedModel(
        name=text,
        shape=header.shape,
        source="original" if header.converted is None else "converted",
        file_dtype=header.tensors["head.weight"].dtype,
        header=header,
    )


def _of_size(size: str) -> NamedModel:
    return NamedModel(name=f"RWKV-4 {size}", shape=RANDOM_SHAPES[size])
