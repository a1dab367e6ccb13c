"""A run's time as JSON-like values: what `plan --json` prints of it."""

from __future__ import annotations

from typing import Any

from harness.plan.duration import RunTime


def time_document(found: RunTime) -> dict[str, Any]:
    """Seconds, per cell, of what is done once, and in total; null where nothing is known.

    Trials that are made again because the machine was not quiet are not foreseen. With `until`,
    `trials` and `total_s` are the most that there may be. Sizes of references are in bytes.
    Cells that are not run, or measured under another name (`idle_cells`), and those that a run has
    done (`done_cells`) take no time, and are not listed. A trial that would pass its deadline is
    ended there, which is its time.
    """
    return {
        "total_s": found.total_s,
        "total_at_least_s": found.total_at_least_s,
        "trials_s": found.trials_s,
        "idle_cells": found.n_idle,
        "done_cells": found.n_done,
        "cooling": None
        if found.cooling is None
        else {
            "total_s": None if found.cooling.each_s is None else found.cooling_s,
            "trial_at_most_s": found.cooling.most_s,
        },
        "rests_on": {
            "records": found.n_from("records"),
            "model": found.n_from("model"),
            "unknown": found.n_unknown,
        },
        "retries_foreseen": False,
        "cells": [
            {
                "cell": one.cell.id,
                "trials": one.trials,
                "trial_s": one.trial_s,
                "total_s": one.total_s,
                "rests_on": None if one.trial_s is None else one.source,
                "passes_deadline": one.is_late,
            }
            for one in found.cells
        ],
        "once": [
            {"what": one.what, "s": one.s, "before": sorted(one.before), "at_end": one.at_end}
            for one in found.once
        ],
        "references": [
            {
                "model": one.model,
                "rows": one.rows,
                "vocabulary": one.n_vocab,
                "bytes": one.nbytes,
                "kept": one.is_kept,
                "s": one.s,
                "stays": one.will_stay,
            }
            for one in found.references
        ],
    }
