"""What `plan --json` prints: the plan, its run, its time, and how far a budget comes."""

from __future__ import annotations

from typing import Any

from harness.cli.foreseeing import Foreseen
from harness.cli.run_options import Selection
from harness.measure.rehearsal import Reach
from harness.plan.document import plan_document
from harness.plan.time_document import time_document


def foreseen_document(selected: Selection, foreseen: Foreseen) -> dict[str, Any]:
    """All that the table says; `time` is of what `left` names, trials in their order.

    Of `budget`, `every_cell_once_s` is null where every cell was visited before, and `any_trial_s`
    where a trial fits.
    """
    chosen, planned = foreseen.chosen, selected.planned
    return {
        **plan_document(planned),
        "run": {
            "goes_on_with": str(chosen.folder) if chosen and not chosen.is_new else None,
            "notes": [] if chosen is None else list(chosen.notes),
            "trials_at_least": sum(foreseen.left.at_least(planned).values()),
            "trials_at_most": len(foreseen.left.turns),
            "trials_again": foreseen.left.n_again,
            "left": [{"cell": cell.id, "trial": trial} for cell, trial in foreseen.left.turns],
        },
        "time": time_document(foreseen.time),
        "budget": None if foreseen.reach is None else _budget(foreseen.reach),
    }


def _budget(reach: Reach) -> dict[str, Any]:
    """Seconds and counts, after the next command; with `until` at most."""
    return {
        "given_s": reach.seconds,
        "trials_begun": reach.n_begun,
        "cells_visited": reach.n_visited,
        "trials_left": reach.n_left,
        "left_s": reach.left_s,
        "every_cell_once_s": reach.once_s,
        "any_trial_s": reach.enough_s,
    }
