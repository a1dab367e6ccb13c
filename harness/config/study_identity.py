"""What makes two studies the same: what is asked, not where files lie or how often it is done."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec

from harness.config.expand import SETS
from harness.config.study import Study
from harness.sources.random_weights import RANDOM


def study_identity(study: Study, contents: dict[str, str | None]) -> str:
    """Equal for two studies that ask the same, wherever the weights, tokenizer and texts lie.

    `contents` are the hashes of what stands in files: "questions", "text" and "lambada". The
    content of weights and tokenizer belongs to each record's key. More trials, a longer deadline or
    more patience are more of the same: a run goes on with them. A key that a release brings is left
    out where it has its default, so that earlier runs go on.
    """
    asked: dict[str, Any] = msgspec.to_builtins(study)
    del asked["description"], asked["limits"], asked["cooldown"], asked[SETS]
    if asked["order"] == "randomised":
        del asked["order"]
    if asked["gate"]:
        del asked["gate"]
    for entry in (*asked["include"], *asked["exclude"]):
        for name in ("batch", "sampling", "prompt"):
            if entry[name] is None:
                del entry[name]
    for model in asked["models"].values():
        if not model["weights"].startswith(RANDOM):
            model["weights"] = "file"
        for name in ("tokenizer", "source", "tokenizer_source", "sha256", "tokenizer_sha256"):
            del model[name]
    _of_workloads(asked["workloads"], study, contents)
    return sha256_of(asked)


def _of_workloads(asked: dict[str, Any], study: Study, contents: dict[str, str | None]) -> None:
    if asked["speed"] is not None:
        del asked["speed"]["trials"], asked["speed"]["until"]
    if study.workloads.depth is None:
        del asked["depth"]
    else:
        del asked["depth"]["trials"]
        if asked["depth"]["strategies"] == "all":
            del asked["depth"]["strategies"]
        asked["depth"]["at"] = study.workloads.depth.depths
    if asked["answers"] is not None:
        del asked["answers"]["trials"]
        if not asked["answers"]["samplings"]:
            del asked["answers"]["samplings"]
        asked["answers"]["questions"] = contents["questions"]
    if asked["quality"] is None:
        del asked["quality"]
    else:
        asked["quality"] |= {name: contents[name] for name in ("text", "lambada")}


def sha256_of(value: Any) -> str:
    """Of a value's JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
