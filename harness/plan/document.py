"""A plan as JSON-like values: what `plan --json` prints and a run keeps in `plan.json`."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.plan.cell import PlannedCell
from harness.plan.order import order
from harness.plan.plan import Plan


def plan_document(planned: Plan) -> dict[str, Any]:
    """The cells in the order of the study, the trials in the order of the run, what is missing.

    With `until`, `trials` and `order` are the most that there may be.

    `same_as` is the id of the cell that is measured for one whose computation is the same.

    Sizes are bytes; `weight_bytes` is empty where the weights cannot be seen, and so is
    `forecast_bytes`, the predicted peak per device, and `forecast_phases_bytes`, the same for each
    phase, also for engines that are not ours; `converted_bytes` are null where the weights are read
    as they are, and otherwise those of the file that they are converted to once; `bytes` of a
    missing file are null where no lock knows them.
    """
    return {
        "study": planned.study,
        "set": list(planned.settings),
        "seed": planned.seed,
        "order_kind": planned.order,
        "until": None if planned.until is None else msgspec.to_builtins(planned.until),
        "trials_at_least": planned.n_trials_at_least,
        "trials_at_most": planned.n_trials,
        "longest_trial_s": planned.longest_trial_s,
        "cells": [
            {
                "cell": {
                    "id": one.cell.id,
                    "model": one.cell.model,
                    "engine": one.cell.engine,
                    "strategy": one.cell.strategy,
                    "workload": one.cell.workload,
                    "threads": one.cell.threads,
                    "batch": one.cell.batch,
                    "sampling": one.cell.sampling,
                    "prompt": one.cell.prompt,
                },
                "trials": one.trials,
                "same_as": one.same_as,
                "skip_reason": one.skip_reason,
                "weight_bytes": dict(one.weight_bytes),
                "forecast_bytes": _peaks(one),
                "forecast_phases_bytes": _phases(one),
                "converted_bytes": None if one.converted is None else one.converted.nbytes,
                "warnings": list(one.warnings),
            }
            for one in planned.cells
        ],
        "order": [
            {"cell": cell.id, "trial": trial}
            for cell, trial in order(planned.cells, planned.seed, planned.order)
        ],
        "missing": [
            {
                "kind": file.kind,
                "models": list(file.models),
                "path": str(file.path),
                "source": file.source,
                "bytes": file.size,
                "how": file.how,
            }
            for file in planned.missing
        ],
    }


def _peaks(one: PlannedCell) -> dict[str, int]:
    return {} if one.forecasts is None else one.forecasts.as_given.peak_bytes()


def _phases(one: PlannedCell) -> dict[str, dict[str, int]]:
    """Device -> phase -> predicted bytes."""
    if one.forecasts is None:
        return {}
    return {
        each.device: {
            "load": each.load_bytes,
            "prefill": each.prefill_bytes,
            "decode": each.decode_bytes,
        }
        for each in one.forecasts.as_given.devices
    }
