"""What a study must mean, beyond its schema: names that exist, strategies that parse, real cells.

Reads the tree and not the typed study, so that every problem is found even where there are others,
and each knows its line. Models are checked in `model_checks.py`, question files in `load.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from harness.config.axes import (
    DEFAULT_ENGINE,
    DEFAULT_THREADS,
    axis_nodes,
    batch_nodes,
    read_addition,
    read_axes,
    read_cells,
    read_matrix,
    read_selector,
    spell,
    why_unparsable,
)
from harness.config.depth_settings import n_tokens
from harness.config.document import Key, Node, key_text
from harness.config.engines import wrong_engine
from harness.config.matrix import AXIS_OF, ONLY_OF, Axes
from harness.config.model_checks import answering_problems, model_problems, sampling_problems
from harness.config.order_checks import order_problems
from harness.config.problem import Problem, listed, nearest
from harness.config.study import WORKLOADS, Sampling

# The axes whose values may be without names, and how to give them some.
_NAMED = {
    "sampling": "Name them: sampling: {NAME: {temperature: 0}, …}.",
    "prompt": "Name them: prompt: {NAME: 'Bob: {question}', …}.",
}


def meaning_problems(root: Node) -> list[Problem]:
    """Every problem that the schema cannot see, question files apart."""
    axes = read_axes(root)
    return [
        *model_problems(root),
        *_strategy_problems(root),
        *_reference_problems(root, axes),
        *_engine_problems(root),
        *_repeated(root, "engines", DEFAULT_ENGINE),
        *_repeated(root, "threads", DEFAULT_THREADS),
        *_workload_problems(root),
        *_repeated_among(root, batch_nodes(root)),
        *_repeated_lengths(root),
        *_repeated_depths(root),
        *order_problems(root),
        *_include_problems(root, axes),
        *_exclude_problems(root, axes),
        *sampling_problems(root, Sampling.__struct_fields__),
        *answering_problems(root, read_cells(root, axes)),
    ]


def _strategy_problems(root: Node) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, node in enumerate(root.get("strategies").items):
        key: Key = ("strategies", index)
        yield from _unparsable(root, key, node)
        name = spell(node)
        if name is not None and first.setdefault(name, index) != index:
            same = key_text(root.as_written(("strategies", first[name])))
            yield root.problem(key, f"'{name}' is the same as {same}.")


def _reference_problems(root: Node, axes: Axes) -> Iterator[Problem]:
    node = root.get("reference")
    yield from _unparsable(root, ("reference",), node)
    name = spell(node)
    if name is not None and name not in axes.strategies and _complete(root, "strategies"):
        yield root.problem(("reference",), _not_among("strategies", name, axes.strategies))


def _unparsable(root: Node, key: Key, node: Node) -> Iterator[Problem]:
    if node.text is None:
        return
    wrong = why_unparsable(node.text)
    if wrong:
        yield root.problem(key, wrong)


def _engine_problems(root: Node) -> Iterator[Problem]:
    for key, node in axis_nodes(root, "engines", DEFAULT_ENGINE):
        wrong = None if node.text is None else wrong_engine(node.text)
        if wrong:
            yield root.problem(key, wrong)


def _repeated(root: Node, name: str, default: str | int) -> Iterator[Problem]:
    return _repeated_among(root, axis_nodes(root, name, default))


def _repeated_lengths(root: Node) -> Iterator[Problem]:
    key: Key = ("workloads", "speed", "prompt_tokens")
    lengths = root.get("workloads").get("speed").get("prompt_tokens").items
    return _repeated_among(root, [((*key, index), node) for index, node in enumerate(lengths)])


def _repeated_depths(root: Node) -> Iterator[Problem]:
    seen: dict[int, int] = {}
    for index, node in enumerate(root.get("workloads").get("depth").get("at").items):
        try:
            tokens = n_tokens(node.value)  # type: ignore[arg-type]
        except (AttributeError, ValueError):
            continue  # the schema says what it is
        if seen.setdefault(tokens, index) != index:
            text = f"'{node.value}' is the same as at[{seen[tokens]}]."
            yield root.problem(("workloads", "depth", "at", index), text)


def _repeated_among(root: Node, nodes: Iterable[tuple[Key, Node]]) -> Iterator[Problem]:
    seen = set()
    for key, node in nodes:
        if not isinstance(node.value, (str, int)):
            continue
        if node.value in seen:
            yield root.problem(key, f"'{node.value}' is given twice.")
        seen.add(node.value)


def _workload_problems(root: Node) -> Iterator[Problem]:
    workloads = root.get("workloads")
    if workloads.value == {}:
        text = f"names no workload; allowed: {listed(WORKLOADS)}, or several."
        yield root.problem(("workloads",), text)
    for name in WORKLOADS:
        if name in workloads.entries and workloads.entries[name].value is None:
            text = f"is empty. Write '{name}: {{}}' for its defaults, or leave the line out."
            yield root.problem(("workloads", name), text)


def _include_problems(root: Node, axes: Axes) -> Iterator[Problem]:
    seen = set(read_matrix(root, axes))
    for index, entry in enumerate(root.get("include").items):
        said = read_selector(entry)
        for field in ("model", "workload", "sampling", "prompt"):
            unknown = _unknown(root, axes, said, field) if field in said else None
            if unknown:
                yield root.problem(("include", index, field), unknown)
        yield from _unparsable(root, ("include", index, "strategy"), entry.get("strategy"))
        engine = entry.get("engine").text
        wrong = None if engine is None else wrong_engine(engine)
        if wrong:
            yield root.problem(("include", index, "engine"), wrong)
        yield from _misplaced(root, ("include", index), said)
        cell = read_addition(entry, axes)
        if cell is not None and cell in seen:
            yield root.problem(("include", index), "this cell is in the study already.")
        elif cell is not None:
            seen.add(cell)


def _exclude_problems(root: Node, axes: Axes) -> Iterator[Problem]:
    wrong = False
    whole = all(axes.allowed(name) for name in AXIS_OF if name not in _NAMED)
    for index, entry in enumerate(root.get("exclude").items):
        if entry.value == {}:
            wrong = True
            text = f"would leave out everything. Name one of: {listed(AXIS_OF)}."
            yield root.problem(("exclude", index), text)
        said = read_selector(entry)
        for field in said:
            unknown = _unknown(root, axes, said, field)
            if unknown:
                wrong = True
                yield root.problem(("exclude", index, field), unknown)
        yield from _misplaced(root, ("exclude", index), said)
    if "exclude" in root.entries and not wrong and whole and not read_cells(root, axes):
        yield root.problem(("exclude",), "leaves out every cell of the study.")


def _unknown(root: Node, axes: Axes, said: Mapping[str, str | int], field: str) -> str | None:
    """Why what is said under `field` is no value of its axis; None where it is one."""
    model = said.get("model") if field == "prompt" else None
    model = str(model) if model in axes.models else None
    value, allowed = str(said[field]), axes.allowed(field, model)
    whose = "this study" if model is None else f"the model '{model}'"
    if said[field] in allowed or not _complete(root, AXIS_OF[field]):
        return None
    if not allowed and field in _NAMED:
        return f"'{value}': none of the {AXIS_OF[field]} of {whose} has a name. {_NAMED[field]}"
    return _not_among(AXIS_OF[field], value, map(str, allowed), whose)


def _misplaced(root: Node, key: Key, said: Mapping[str, str | int]) -> Iterator[Problem]:
    """What is said of a workload that has no such axis."""
    workload = said.get("workload")
    for field, only in ONLY_OF.items():
        if field in said and workload in WORKLOADS and workload != only:
            text = f"'{said[field]}': the workload '{workload}' has no {AXIS_OF[field]}"
            if field == "batch":
                text = f"{said[field]} rows: the workload '{workload}' runs one at a time"
            yield root.problem((*key, field), f"{text}. Leave it out; it is of '{only}'.")


def _complete(root: Node, axis: str) -> bool:
    """Whether an axis is there in full: else what seems unknown may only be misspelt there."""
    if axis == "strategies":
        items = root.get(axis).items
        return bool(items) and all(spell(node) is not None for node in items)
    return axis not in ("models", "workloads") or bool(root.get(axis).entries)


def _not_among(what: str, name: str, allowed: Iterable[str], whose: str = "this study") -> str:
    names = list(allowed)
    hint = f"{nearest(name, names)} Allowed: {listed(names)}."
    return f"'{name}' is not among the {what} of {whose}.{hint}"
