"""What this release plans but does not run yet: the one place that says so.

A slot that can run is taken out here, and the plan follows.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.config.engines import TORCH
from harness.runtime.strategy import LayerPlan, Stage


def not_in_this_release(engine: str, slots: Iterable[LayerPlan | Stage]) -> str | None:
    """Why our engine cannot run these slots in this release; None where it can."""
    if engine != TORCH:
        return None
    slots = list(slots)
    if any(slot.streamed for slot in slots):
        return "not in this release: streaming"
    others = sorted({slot.device for slot in slots if slot.device != "cpu"})
    if others:
        return f"not in this release: weights on {', '.join(others)}"
    return None
