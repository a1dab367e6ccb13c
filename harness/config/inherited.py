"""What a study inherits and has no use for: `include` and `exclude` of cells that it took away.

A study that extends another may do without one of its models, strategies or workloads. What the
other one says of their cells is then no slip of this one, and goes with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from harness.config.axes import AXIS_OF, read_addition, read_axes, read_matrix, read_selector
from harness.config.document import Node
from harness.config.matrix import Axes


def without_idle(root: Node) -> Node:
    """The tree without inherited entries of `exclude` and `include` that fit its axes no more.

    Nor with those of `include` whose cell is in the matrix by now. What stands in the study's own
    file stays, for `checks.py` to judge.
    """
    axes = read_axes(root)
    root = _sifted(root, "exclude", lambda entry: _fits(entry, axes, AXIS_OF))
    matrix = set(read_matrix(root, axes))
    return _sifted(
        root,
        "include",
        lambda entry: (
            _fits(entry, axes, ("model", "workload")) and read_addition(entry, axes) not in matrix
        ),
    )


def _sifted(root: Node, name: str, fits: Callable[[Node], bool]) -> Node:
    node = root.entries.get(name)
    if node is None:
        return root
    kept = [entry for entry in node.items if entry.source == root.source or fits(entry)]
    if len(kept) == len(node.items):
        return root
    return replace(root, value={**root.entries, name: replace(node, value=kept)})


def _fits(entry: Node, axes: Axes, fields: Iterable[str]) -> bool:
    said = read_selector(entry)
    return all(said[name] in getattr(axes, AXIS_OF[name]) for name in fields if name in said)
