"""What a command has to do of a plan: all of it, or what a run that goes on lacks. Pure.

Which trials these are, `measure/schedule.py` says; here they are counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from harness.plan.cell import Cell
from harness.plan.order import Turn
from harness.plan.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Left:
    """Trials that are still to be done; with `until` at most these."""

    turns: tuple[Turn, ...]
    n_again: int = 0  # of them, that were begun before: they were disturbed, or broke off
    tried: frozenset[str] = frozenset()  # ids of the cells of which this run tried any trial

    @cached_property
    def by_cell(self) -> Counter[Cell]:
        """How many of each cell; 0 of one that is done."""
        return Counter(cell for cell, _ in self.turns)

    @property
    def ids(self) -> frozenset[str]:
        """Of the cells of which any is left."""
        return frozenset(cell.id for cell in self.by_cell)

    def at_least(self, planned: Plan) -> Counter[Cell]:
        """How many of each cell, where all is known as soon as `until` allows."""
        if planned.until is None:
            return self.by_cell
        blocks = [trial for cell, trial in self.turns if cell.workload == "speed"]
        # The rule is asked after a whole block, and the one that was begun is ended first.
        end = max(planned.until.min_trials, 1 + min(blocks, default=0))
        return Counter(
            cell for cell, trial in self.turns if cell.workload != "speed" or trial < end
        )
