"""What makes two records comparable: hashes of content, never of paths."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from harness.config.load import LoadedStudy
from harness.config.matrix import WITH_TOKENIZER
from harness.config.model_files import ModelFiles
from harness.errors import SourceError
from harness.plan.cell import Cell
from harness.records.record import Key, SlotRecord
from harness.runtime.strategy import LayerPlan, device_key, rescale_layer
from harness.sources import Found, file_sha256
from harness.sources.hashes import OnBytes, known_sha256
from harness.sources.verify import why_damaged, why_wrong

_Sha256Of = Callable[[Path], str | None]


@dataclass(frozen=True, kw_only=True)
class ModelIdentity:
    """Content hashes of a model's files; None for a file that is not there or not needed."""

    weights_sha256: str | None
    tokenizer_sha256: str | None


def identify_model(
    loaded: LoadedStudy, model: str, on_bytes: OnBytes | None = None, *, reads: bool = True
) -> ModelIdentity:
    """Hash a model's files, and hold them to what the study and its lock say.

    Reads all of weights that were not hashed before, a minute for 28 GB from a fast disk;
    `on_bytes` hears how far that is. Where it `reads` nothing, a hash that nobody computed yet is
    None. Raises `SourceError` for content that is not what it is said to be.
    """
    sha256_of = partial(file_sha256, on_bytes=on_bytes) if reads else known_sha256
    files = loaded.files[model]
    return ModelIdentity(
        weights_sha256=_weights_sha256(files, loaded.study.models[model].seed, sha256_of),
        tokenizer_sha256=(
            None
            if files.tokenizer is None or files.found_tokenizer is None
            else _file_sha256(files.tokenizer, files.found_tokenizer, sha256_of)
        ),
    )


def record_key(
    loaded: LoadedStudy,
    cell: Cell,
    model: ModelIdentity,
    plans: Sequence[LayerPlan] | None,
    effective: Sequence[SlotRecord],
) -> Key:
    """The two keys of a record: *computation* joins speeds, *presentation* joins answers."""
    workload = getattr(loaded.study.workloads, cell.workload)
    settings = _settings(workload)
    lengths = settings.get("prompt_tokens")
    if isinstance(lengths, int):
        settings["prompt_tokens"] = [lengths]
    if cell.workload == "speed":
        settings["batch"] = cell.batch
    if cell.workload == "depth":
        settings["at"] = workload.depths
    computation: dict[str, Any] = {
        "weights": model.weights_sha256,
        "engine": cell.engine,
        "threads": cell.threads,
        "plan": cell.strategy if plans is None else [_placed(plan) for plan in plans],
        "rescale": rescale_layer(cell.strategy),  # follows from the words, not from the plan
        "kernels": [slot.kernels for slot in effective],
    }
    if cell.workload not in WITH_TOKENIZER:
        return Key(computation=_hash({**computation, "lengths": settings}))
    answering = loaded.study.workloads.answers
    answers = _settings(None if answering is None else answering.under(cell.sampling))
    answers.pop("samplings", None)
    presentation: dict[str, Any] = {
        "prompt": loaded.study.models[cell.model].prompt_of(cell.prompt),
        "tokenizer": model.tokenizer_sha256,
        "answers": answers and {**answers, "questions": loaded.questions_sha256},
    }
    if cell.workload == "quality":
        text = loaded.quality_text
        presentation["quality"] = settings | {
            "text": None if text is None else _hash(text),
            "lambada": loaded.lambada_content,
        }
    return Key(computation=_hash(computation), presentation=_hash(presentation))


def _settings(workload: Any) -> dict[str, Any]:
    """What a workload's settings say but for how often it is done; nothing without the workload."""
    settings: dict[str, Any] = {} if workload is None else msgspec.to_builtins(workload)
    for more_of_the_same in ("trials", "until", "passes", "warmup_passes", "strategies"):
        settings.pop(more_of_the_same, None)
    return settings


def _placed(plan: LayerPlan) -> dict[str, Any]:
    return {**asdict(plan), "device": device_key(plan.device)}


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _weights_sha256(files: ModelFiles, seed: int, sha256_of: _Sha256Of) -> str | None:
    if isinstance(files.weights, str):  # random:SIZE is what it is made from
        return _hash([files.weights, seed])
    return _file_sha256(files.weights, files.found, sha256_of)


def _file_sha256(path: Path, found: Found, sha256_of: _Sha256Of) -> str | None:
    sha256 = sha256_of(path) if path.is_file() else None
    if sha256 is None:
        return None
    wrong = why_damaged(path, sha256) or why_wrong(found, sha256)
    if wrong:
        raise SourceError(f"{path}: {wrong}")
    return sha256
