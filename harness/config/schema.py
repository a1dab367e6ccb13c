"""The JSON Schema of studies and question files, generated from their types.

`strict_schema` is what `validate.py` holds a file to; `editor_schema` is what `python -m harness
schema` writes out, where a study with `extends:` may leave out what the other file says.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec

from harness.config.study import Study

EXTENDS = "extends"
EXTENDS_DESCRIPTION = (
    "Another study (a path relative to this file, or `builtin:quickstart`) that this one changes: "
    "mappings are merged, lists and values replace, null removes."
)
TITLE = "A study of rwkv-harness"
DRAFT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


def strict_schema(kind: type) -> Schema:
    """The schema of one msgspec type, the same under every release of msgspec."""
    schema: Schema = _settle(msgspec.json.schema(kind))
    answers = schema.get("$defs", {}).get("Answers")
    if answers is not None:
        _name_samplings(answers["properties"])
    return schema


def _name_samplings(properties: dict[str, Schema]) -> None:
    """Let `sampling` be one, or several under names: two kinds of mapping that no type can tell."""
    del properties["samplings"]
    one = {"$ref": "#/$defs/Sampling"}
    about = {k: v for k, v in properties["sampling"].items() if k in ("description", "default")}
    properties["sampling"] = {
        **about,
        "type": "object",
        "if": {"minProperties": 1, "additionalProperties": {"type": "object"}},
        "then": {"additionalProperties": one},
        "else": one,
    }


def editor_schema() -> Schema:
    """The schema of a study file as it is written, with or without `extends`."""
    whole = strict_schema(Study)
    definitions = whole["$defs"]
    parts = {f"{name}Part": _part(definition) for name, definition in definitions.items()}
    extends = {"type": "string", "minLength": 1, "description": EXTENDS_DESCRIPTION}
    parts["StudyPart"]["properties"] = {
        EXTENDS: extends,
        **parts["StudyPart"]["properties"],
    }
    return {
        "$schema": DRAFT,
        "title": TITLE,
        "type": "object",
        "if": {"required": [EXTENDS]},
        "then": {"$ref": "#/$defs/StudyPart"},
        "else": {"$ref": "#/$defs/Study"},
        "$defs": {**definitions, **parts},
    }


def editor_schema_text() -> str:
    """The text of `configs/study.schema.json`."""
    return json.dumps(editor_schema(), indent=2, ensure_ascii=False) + "\n"


def _settle(schema: Any) -> Any:
    """Undo what differs between releases: the order of `anyOf`, and checks of key names."""
    if isinstance(schema, list):
        return [_settle(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    settled = {key: _settle(value) for key, value in schema.items() if key != "propertyNames"}
    if "anyOf" in settled:
        settled["anyOf"].sort(key=lambda branch: branch.get("type") == "null")
    return settled


def _part(definition: Schema) -> Schema:
    """A definition that requires nothing and takes null to remove, all the way down."""
    part = copy.deepcopy(definition)
    part.pop("required", None)
    referring: Schema = _refer_to_parts(part)
    return referring


def _refer_to_parts(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_refer_to_parts(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    part = {key: _refer_to_parts(value) for key, value in schema.items()}
    if "$ref" in part:
        part["$ref"] += "Part"
    if "properties" in part:
        part["properties"] = {key: _or_null(value) for key, value in part["properties"].items()}
    if isinstance(part.get("additionalProperties"), dict):
        part["additionalProperties"] = _or_null(part["additionalProperties"])
    return part


def _or_null(schema: Schema) -> Schema:
    branches = schema.get("anyOf", [schema])
    if {"type": "null"} in branches:
        return schema
    named: Schema = {key: schema[key] for key in ("description", "default") if key in schema}
    inner = [{k: v for k, v in branch.items() if k not in named} for branch in branches]
    return {**named, "anyOf": [*inner, {"type": "null"}]}
