"""What a study says of cells that it took away: entries of `include`, `exclude` that fit nothing.

A study that extends another, or is changed by `--set`, may do without a model, strategy or workload
of it. What was said of their cells is then no slip, and goes with them; so does the number of
documents of a LAMBADA that is not asked for. All else stays, for `checks.py` to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from harness.config.axes import read_addition, read_axes, read_matrix, read_selector
from harness.config.document import Key, Node
from harness.config.expand import expand
from harness.config.matrix import AXIS_OF, Axes
from harness.config.problem import Problem, listed
from harness.config.settings import OPTION

_LISTS = ("include", "exclude")
_OF_ADDITIONS = ("model", "workload", "sampling", "prompt")  # that must be of the study's axes


def without_idle(root: Node) -> Node:
    """The tree of a study without what it inherits and has no use for.

    What stands in the study's own file stays.
    """
    return _sifted(root, lambda node: node.source != root.source)


def without_taken_away(root: Node, before: Node) -> Node:
    """The tree without what had its use `before` something was set, and has none now."""
    useful = [node for name in _LISTS for node in _useful(before, name)]
    useful += _documents(before)[:1] if _has_lambada(before) else []
    return _sifted(root, lambda node: node in useful)


def nothing_left(root: Node, before: Node) -> Iterator[Problem]:
    """The axes of which all was taken away by what was set."""
    for axis in ("models", "strategies", "workloads"):
        if not root.get(axis).value and before.get(axis).value:
            text = f"{OPTION} leaves none of the study's {axis}, so there is nothing to run."
            yield root.problem((axis,), f"{text} Keep one of: {listed(_names(before.get(axis)))}.")


def _names(axis: Node) -> list[str]:
    return [*axis.entries, *(item.text or "" for item in axis.items)]


def _sifted(root: Node, may_go: Callable[[Node], bool]) -> Node:
    """The tree without what `may_go` and is of no use."""
    entries = dict(root.entries)
    for name in _LISTS:
        node = root.get(name)
        useful = _useful(root, name)
        kept = [
            replace(entry, origin=_origin(name, index, entry))
            for index, entry in enumerate(node.items)
            if entry in useful or not may_go(entry)
        ]
        if len(kept) < len(node.items):
            entries[name] = replace(node, value=kept)
    root = replace(root, value=entries)
    if not _has_lambada(root) and any(map(may_go, _documents(root))):
        root = _without_documents(root)
    return root


def _useful(root: Node, name: str) -> list[Node]:
    """The entries of a list that leave out or add a cell, whatever stands for several."""
    entries = root.get(name).items
    if not entries:
        return []
    whole = expand(root, [])
    axes = read_axes(whole)
    matrix = set(read_matrix(whole, axes))
    fitting = {
        one.origin
        for one in whole.get(name).items
        if (
            _fits(one, axes, tuple(AXIS_OF))
            if name == "exclude"
            else _fits(one, axes, _OF_ADDITIONS) and read_addition(one, axes) not in matrix
        )
    }
    return [entry for index, entry in enumerate(entries) if _origin(name, index, entry) in fitting]


def _origin(name: str, index: int, entry: Node) -> Key:
    """Where an entry was written: others before it may have gone."""
    return entry.origin or (name, index)


def _fits(entry: Node, axes: Axes, fields: tuple[str, ...]) -> bool:
    said = read_selector(entry)
    model = str(said["model"]) if "model" in said else None
    return all(said[name] in axes.allowed(name, model) for name in fields if name in said)


def _has_lambada(root: Node) -> bool:
    return root.get("workloads").get("quality").get("lambada").value is not None


def _documents(root: Node) -> list[Node]:
    found = root.get("workloads").get("quality").entries.get("lambada_documents")
    return [] if found is None else [found]


def _without_documents(root: Node) -> Node:
    workloads = root.get("workloads")
    quality = workloads.get("quality")
    left = {name: one for name, one in quality.entries.items() if name != "lambada_documents"}
    of_workloads = {**workloads.entries, "quality": replace(quality, value=left)}
    return replace(
        root, value={**root.entries, "workloads": replace(workloads, value=of_workloads)}
    )
