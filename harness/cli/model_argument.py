"""MODEL of a command: any form that names weights, for some a size; and why a study is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import BadInput, HarnessError
from harness.invocation import command_line
from harness.runtime.forecast_load import Source
from harness.runtime.shape import RANDOM_SHAPES, ModelShape

if TYPE_CHECKING:
    from harness.runtime.checkpoint import Header

Words = tuple[str | Path, ...]

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


def need_weights(text: str, instead: Callable[[str], Words]) -> None:
    """Raise `BadInput` where `text` is a YAML file, so none of weights, with what to type instead.

    `instead` makes the words of a command that takes the weights it is given.
    """
    path = Path(text)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return
    from harness.config.load import load_study

    try:
        loaded = load_study(path)
    except HarnessError:
        raise BadInput(
            f"{text} is a YAML file, not weights. Those that are here: {command_line('models')}"
        ) from None
    name, model = next(iter(loaded.study.models.items()))
    found = loaded.files[name].found
    # A path is seen from the study's folder there, and from the user's here.
    here = found.path if found.place == "path" else None
    one = command_line(*instead(model.weights if here is None else str(here)))
    raise BadInput(
        f"{text} is a study, not weights. One of its models: {one}. "
        f"All of its cells: {command_line('plan', text)}"
    )


def named_model(text: str | None, size: str | None, command: str) -> NamedModel | None:
    """The model that MODEL or --size of `command` names; None where neither is given.

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

    need_weights(text, lambda weights: (command, weights))
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
