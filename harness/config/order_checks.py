"""What the settings of order, stop and cool-down must mean, beyond their schema."""

from __future__ import annotations

from collections.abc import Iterator

from harness.config.document import Key, Node
from harness.config.order_settings import Until
from harness.config.problem import Problem

_UNTIL: Key = ("workloads", "speed", "until")


def order_problems(root: Node) -> Iterator[Problem]:
    """Settings that contradict each other, each at its line."""
    yield from _until_problems(root)
    yield from _cooldown_problems(root)


def _until_problems(root: Node) -> Iterator[Problem]:
    speed = root.get("workloads").get("speed")
    until = speed.get("until")
    if not isinstance(until.value, dict):
        return
    if speed.get("trials").value is not None:
        text = (
            "trials and until exclude each other. Leave one out; max_trials is until's own limit."
        )
        yield root.problem(_UNTIL, text)
    if root.get("order").value == "sequential":
        text = (
            "stops between blocks, and order: sequential has none. Leave order out, or give trials."
        )
        yield root.problem(_UNTIL, text)
    least = until.get("min_trials").value
    most = until.get("max_trials").value
    least = Until().min_trials if least is None else least
    most = Until().max_trials if most is None else most
    if isinstance(least, int) and isinstance(most, int) and least > most:
        text = f"min_trials ({least}) is more than max_trials ({most})."
        yield root.problem(_UNTIL, text)


def _cooldown_problems(root: Node) -> Iterator[Problem]:
    node = root.get("cooldown")
    if not isinstance(node.value, dict):
        return
    names = [name for name in ("below_c", "back_to_start_k") if node.get(name).value is not None]
    if len(names) != 1:
        what = "names no temperature" if not names else "names two temperatures"
        text = (
            f"{what}; give below_c (°C) or back_to_start_k (kelvin above the start), one of them."
        )
        yield root.problem(("cooldown",), text)
