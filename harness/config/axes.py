"""Read the axes and the cells out of a study's tree, as far as they are in order.

The tree may still have problems; what cannot be read is left out, because the schema or a check
says so elsewhere.
"""

from __future__ import annotations

from harness.config.document import Key, Node
from harness.config.matrix import (
    ANSWERS,
    AXIS_OF,
    DEPTH,
    SPEED,
    Axes,
    Combination,
    combinations,
    without_one_row,
)
from harness.config.study import WORKLOADS
from harness.errors import StrategyError
from harness.runtime.strategy import canonical, resolve

DEFAULT_ENGINE = "torch"
DEFAULT_THREADS = 1
DEFAULT_BATCH = 1
_NUMBERS = ("threads", "batch")


def read_axes(root: Node) -> Axes:
    """The values of each axis, each once."""
    workloads = root.get("workloads")
    engines = (node.text for _, node in axis_nodes(root, "engines", DEFAULT_ENGINE))
    spelt = (spell(node) for node in root.get("strategies").items)
    strategies = tuple(dict.fromkeys(name for name in spelt if name is not None))
    threads = (node.value for _, node in axis_nodes(root, "threads", DEFAULT_THREADS))
    batches = (node.value for _, node in batch_nodes(root))
    reference = spell(root.get("reference")) or next(iter(strategies), None)
    only_reference = workloads.get(DEPTH).get("strategies").text == "reference"
    return Axes(
        models=tuple(root.get("models").entries),
        engines=tuple(dict.fromkeys(name for name in engines if name is not None)),
        strategies=strategies,
        threads=tuple(dict.fromkeys(count for count in threads if isinstance(count, int))),
        workloads=tuple(name for name in WORKLOADS if workloads.get(name).value is not None),
        batches=tuple(dict.fromkeys(count for count in batches if isinstance(count, int))),
        depth_of=reference if only_reference else None,
        samplings=tuple(named_samplings(workloads.get(ANSWERS).get("sampling"))) or (None,),
        prompts={
            name: tuple(model.get("prompt").entries)
            for name, model in root.get("models").entries.items()
            if model.get("prompt").entries
        },
    )


def named_samplings(node: Node) -> dict[str, Node]:
    """The samplings that have names; none where there is one without."""
    named = all(isinstance(entry.value, dict) for entry in node.entries.values())
    return node.entries if named else {}


def axis_nodes(root: Node, name: str, default: str | int) -> list[tuple[Key, Node]]:
    """The values of an axis that may be one value, a list or left out, with their keys."""
    return _one_or_several(root.entries.get(name), (name,), Node(default, root.source, root.line))


def batch_nodes(root: Node) -> list[tuple[Key, Node]]:
    """The batch sizes of the workload `speed`, with their keys."""
    node = root.get("workloads").get(SPEED).entries.get("batch")
    default = Node(DEFAULT_BATCH, root.source, root.line)
    return _one_or_several(node, ("workloads", SPEED, "batch"), default)


def _one_or_several(node: Node | None, key: Key, default: Node) -> list[tuple[Key, Node]]:
    if node is None:
        return [(key, default)]
    if isinstance(node.value, list):
        return [((*key, index), item) for index, item in enumerate(node.value)]
    return [(key, node)]


def spell(node: Node) -> str | None:
    """The canonical spelling of a strategy, or None where it is none."""
    try:
        return None if node.text is None else canonical(node.text)
    except StrategyError:
        return None


def why_unparsable(strategy: str) -> str | None:
    """What is wrong with a strategy, whatever the model; None where nothing is."""
    try:
        resolve(strategy, n_layer=1)  # '*0' alone parses, and takes no slot of any model
    except StrategyError as error:
        return str(error)
    return None


def read_cells(root: Node, axes: Axes) -> tuple[Combination, ...]:
    """The matrix without what is excluded, and then what is included."""
    included = (read_addition(entry, axes) for entry in root.get("include").items)
    return (*read_matrix(root, axes), *(cell for cell in included if cell is not None))


def read_matrix(root: Node, axes: Axes) -> tuple[Combination, ...]:
    """The matrix without what is excluded; a selector that says nothing is refused elsewhere."""
    selectors = (read_selector(entry) for entry in root.get("exclude").items)
    return combinations(axes, [selector for selector in selectors if selector])


def read_selector(entry: Node) -> dict[str, str | int]:
    """What a selector (or an addition) says, with its strategy in canonical spelling.

    Without a batch that says nothing.
    """
    said: dict[str, str | int] = {}
    for name, node in entry.entries.items():
        kind = int if name in _NUMBERS else str
        if name in AXIS_OF and isinstance(node.value, kind) and not isinstance(node.value, bool):
            said[name] = (spell(node) or node.value) if name == "strategy" else node.value
    return without_one_row(said)


def read_addition(entry: Node, axes: Axes) -> Combination | None:
    """The cell that an entry of `include` names; None where it does not name a whole one."""
    said: dict[str, str | int] = {}
    if axes.engines and axes.threads:
        said = {"engine": axes.engines[0], "threads": axes.threads[0]}
    said.update(read_selector(entry))
    if said.get("workload") == SPEED and axes.batches:
        said.setdefault("batch", axes.batches[0])
    said.setdefault("batch", DEFAULT_BATCH)
    if set(AXIS_OF) - set(said) - {"sampling", "prompt"}:
        return None
    sampling, prompt = axes.variants(str(said["model"]), str(said["workload"]))[0]
    return Combination(
        sampling=str(said["sampling"]) if "sampling" in said else sampling,
        prompt=str(said["prompt"]) if "prompt" in said else prompt,
        model=str(said["model"]),
        engine=str(said["engine"]),
        strategy=str(said["strategy"]),
        threads=int(said["threads"]),
        workload=str(said["workload"]),
        batch=int(said["batch"]),
    )
