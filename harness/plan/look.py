"""Look at what a plan depends on beside the study and the machine: files and installed packages.

The only part of `plan/` that touches the disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import yaml

from harness.config.engines import ENGINES, FAKE
from harness.config.load import LoadedStudy
from harness.config.matrix import WITH_TOKENIZER
from harness.errors import CheckpointError, TokenizerError
from harness.language.base import Tokenizer
from harness.plan.matrix import cells
from harness.plan.missing import MissingFile, missing_files, why_absent
from harness.plan.original import Original, original_of, random_original
from harness.runtime.checkpoint import Header, read_header
from harness.runtime.shape import ModelShape

_HALF_ON_CPU = (2, 3)  # the release of torch from which a CPU can compute in half precision


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What was found."""

    shapes: Mapping[str, ModelShape]  # by model; without those that cannot be read
    unreadable: Mapping[str, str]  # by model: why its weights are no checkpoint
    missing: tuple[MissingFile, ...]
    packages: frozenset[str]  # of those that engines need, the installed ones
    # By model that answers questions: why its tokenizer is none.
    no_tokenizer: Mapping[str, str] = field(default_factory=dict)
    converted: Mapping[str, Header] = field(default_factory=dict)  # by model; for one strategy only
    originals: Mapping[str, Original] = field(default_factory=dict)  # by model, like `shapes`
    file_dtypes: Mapping[str, str] = field(default_factory=dict)  # by model: of the head's numbers
    half_on_cpu: bool = True  # the torch here computes in half precision on the CPU


def look(loaded: LoadedStudy) -> Surroundings:
    """Read the headers of the weights that are there, and see which packages are."""
    shapes: dict[str, ModelShape] = {}
    unreadable: dict[str, str] = {}
    converted: dict[str, Header] = {}
    file_dtypes: dict[str, str] = {}
    originals: dict[str, Original] = {}
    scripted = _scripted(loaded)
    for name, model in loaded.files.items():
        weights = model.weights
        if name in scripted:
            shape = _scripted_shape(weights)
            if shape is not None:
                shapes[name] = shape
            continue
        if isinstance(weights, str):
            originals[name] = random_original(weights)
            shapes[name] = originals[name].shape
        elif why_absent(weights) is None:
            try:
                header = read_header(weights)
                shapes[name] = header.shape
                originals[name] = original_of(header)
                file_dtypes[name] = header.tensors["head.weight"].dtype
                if header.converted is not None:
                    converted[name] = header
            except CheckpointError as error:
                unreadable[name] = by_name(str(error), weights)
    needed = {needs.package for needs in ENGINES.values() if needs is not None}
    return Surroundings(
        shapes=shapes,
        unreadable=unreadable,
        missing=missing_files(loaded),
        packages=frozenset(package for package in needed if find_spec(package) is not None),
        no_tokenizer=_no_tokenizer(loaded, shapes),
        converted=converted,
        file_dtypes=file_dtypes,
        originals=originals,
        half_on_cpu=_half_on_cpu(),
    )


def by_name(words: str, file: Path) -> str:
    """`words` with the file's name in place of its path: a plan is kept with the records."""
    return words.replace(str(file), file.name)


def _half_on_cpu() -> bool:
    """By torch's version, because asking torch would load it; without any, as today's does."""
    try:
        numbers = version("torch").split(".")[:2]
        return tuple(int(number) for number in numbers) >= _HALF_ON_CPU
    except (PackageNotFoundError, ValueError):
        return True


def _no_tokenizer(loaded: LoadedStudy, shapes: Mapping[str, ModelShape]) -> dict[str, str]:
    """Why there is no tokenizer, or why one that is there is none for its model, by model."""
    from harness.language.tokenizer import load_tokenizer

    answering = dict.fromkeys(
        cell.model for cell in cells(loaded.study) if cell.workload in WITH_TOKENIZER
    )
    checked: dict[Path, Tokenizer | str] = {}
    for path in (loaded.files[model].tokenizer for model in answering):
        if path is None or path in checked or why_absent(path) is not None:
            continue
        try:
            checked[path] = load_tokenizer(path)
        except TokenizerError as error:
            checked[path] = str(error)
    found: dict[str, str] = {}
    for model in answering:
        of_model = loaded.files[model]
        path = of_model.tokenizer
        there = of_model.no_tokenizer if path is None else checked.get(path)
        why = (
            there if there is None or isinstance(there, str) else _misfit(there, shapes.get(model))
        )
        if why is not None:
            found[model] = why
    return found


def _misfit(tokenizer: Tokenizer, shape: ModelShape | None) -> str | None:
    """Why a tokenizer cannot be the model's, where the model's vocabulary is known."""
    try:
        if shape is not None:
            tokenizer.check_fits(shape.n_vocab)
    except TokenizerError as error:
        return str(error)
    return None


def _scripted(loaded: LoadedStudy) -> set[str]:
    """The models that only the engine `fake` runs: their weights are a script."""
    run_by: dict[str, set[str]] = {}
    for cell in cells(loaded.study):
        run_by.setdefault(cell.model, set()).add(cell.engine)
    return {model for model, engines in run_by.items() if engines == {FAKE}}


def _scripted_shape(script: Path | str) -> ModelShape | None:
    """The shape of the model that a script stands for, as small as can be; None where it does not.

    What is wrong with a script, the engine says that reads it.
    """
    try:
        values = yaml.safe_load(Path(script).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    if not isinstance(values, dict) or "model" not in values:
        return None
    n_vocab = values.get("vocab", 768)  # as the engine has it
    if not isinstance(n_vocab, int):
        return None
    return ModelShape(n_layer=1, n_embd=1, n_vocab=n_vocab, dim_ffn=1)
