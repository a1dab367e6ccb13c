"""Hold a tree to the JSON Schema of its type, and say every problem in plain words.

Knows schemas and trees; nothing of what a study means (that is `checks.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import jsonschema

from harness.config.document import Key, Node, plain
from harness.config.problem import Problem, closest, listed, nearest, shown
from harness.config.schema import Schema, strict_schema

_JSON_TYPES: dict[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


def schema_problems(node: Node, kind: type) -> list[Problem]:
    """Everything in which `node` is not a `kind`, in no particular order."""
    schema, validator = _validator(kind)
    problems: list[Problem] = []
    for error in validator.iter_errors(plain(node)):
        problems.extend(_explain(error, (), schema, node))
    return problems


@cache
def _validator(kind: type) -> tuple[Schema, Any]:
    base = jsonschema.Draft202012Validator
    # JSON Schema takes 3.0 for an integer; the types do not.
    checker = base.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    schema = strict_schema(kind)
    return schema, jsonschema.validators.extend(base, type_checker=checker)(schema)


def _explain(error: Any, above: Key, schema: Schema, node: Node) -> Iterator[Problem]:
    key = (*above, *error.path)
    value = error.instance
    if error.validator == "additionalProperties":
        allowed = list(error.schema["properties"])
        for name in value:
            if name not in allowed:
                yield _unknown_key(node, (*key, name), allowed)
    elif error.validator == "required":
        present = {*value, *_meant(value, error.schema)}
        for name in error.validator_value:
            if name not in present:
                text = f"is missing; {_describe(error.schema['properties'][name], schema)} is due."
                yield node.problem((*key, name), text)
    elif error.validator == "anyOf":
        inner = list(_errors_of_meant_branch(error, schema))
        for problem in inner:
            yield from _explain(problem, key, schema, node)
        if not inner:
            yield node.problem(key, _not_allowed(value, error.schema, schema))
    else:
        yield node.problem(key, _not_allowed(value, error.schema, schema))


def _unknown_key(node: Node, key: Key, allowed: Iterable[str]) -> Problem:
    name = str(key[-1])
    return node.problem(
        key, f"is not a key here.{nearest(name, allowed)} Allowed: {listed(allowed)}."
    )


def _meant(value: Iterable[str], schema: Schema) -> Iterator[str | None]:
    """The keys that misspelt ones are near to: what is said of those says enough."""
    if schema.get("additionalProperties") is False:
        allowed = schema["properties"]
        yield from (closest(name, allowed) for name in value if name not in allowed)


def _errors_of_meant_branch(error: Any, schema: Schema) -> Iterator[Any]:
    """Of an `anyOf`, the errors of the branch that has the value's type."""
    name = _JSON_TYPES[type(error.instance)]
    for inner in error.context:
        branch = _resolve(error.validator_value[inner.schema_path[0]], schema)
        if branch.get("type") == name:
            yield inner


def _resolve(schema: Schema, root: Schema) -> Schema:
    if "$ref" not in schema:
        return schema
    name = schema["$ref"].rsplit("/", 1)[-1]
    resolved: Schema = root["$defs"][name]
    return resolved


def _not_allowed(value: Any, wanted: Schema, root: Schema) -> str:
    hint = ""
    if isinstance(value, str) and re.match(r"[-+.\d]+(e[-+]?\d+)?$", value, re.IGNORECASE):
        hint = " (text: a number has no quotes, and 1e6 is written 1.0e+6)"
    return f"{shown(value)}{hint} is not allowed; allowed: {_describe(wanted, root)}."


def _describe(schema: Schema, root: Schema) -> str:
    """What a schema allows, in words."""
    schema = _resolve(schema, root)
    if "anyOf" in schema:
        return " or ".join(_describe(branch, root) for branch in schema["anyOf"])
    if "enum" in schema:
        return listed(schema["enum"])
    kind = schema.get("type")
    if kind == "string":
        if "pattern" in schema:
            about: str = schema["description"].split(";")[0].rstrip(".")
            return about[0].lower() + about[1:]
        return "text"
    if kind == "boolean":
        return "on or off"
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _bounds(schema)
    if kind == "array":
        at_least = "at least one: " if schema.get("minItems") else ""
        return f"a list of {at_least}{_describe(schema['items'], root)}"
    if kind == "object":
        if "properties" in schema:
            return f"a mapping of {listed(schema['properties'])}"
        return "a mapping of at least one name to its settings"
    return "nothing"


def _bounds(schema: Schema) -> str:
    words = {
        "minimum": "of at least",
        "exclusiveMinimum": "above",
        "maximum": "of at most",
        "exclusiveMaximum": "below",
    }
    if "minimum" in schema and "maximum" in schema:
        return f" from {schema['minimum']} to {schema['maximum']}"
    found = [f"{word} {schema[key]}" for key, word in words.items() if key in schema]
    return f" {' and '.join(found)}" if found else ""
