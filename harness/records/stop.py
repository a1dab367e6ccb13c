"""Why a run with `until:` made no more trials: one small file beside its records.

It can be derived from the records and the study, and is kept because the rule may change.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from harness.records.writing import unwritable, write_json

STOP_NAME = "stop.json"


class StopCell(Struct, frozen=True, kw_only=True):
    """Where one cell stood then."""

    trials: int  # of the blocks, those that visited it
    ok: int  # of them, those that count
    # Half the 95 % interval as a share of the value, by figure; None: no interval.
    half_width: dict[str, float | None]


class Stop(Struct, frozen=True, kw_only=True):
    """What ended the trials."""

    # narrow: every cell that has speeds is known well enough; max_trials: some are not;
    # no_speeds: every cell fails.
    kind: Literal["narrow", "max_trials", "no_speeds"]
    blocks: int  # that were made
    relative_ci: float
    min_trials: int
    max_trials: int
    cells: dict[str, StopCell]  # by id


def stop_sentence(stop: Stop) -> str:
    """Why no more trials were made, in words."""
    blocks = "1 block" if stop.blocks == 1 else f"{stop.blocks} blocks"
    share = f"{stop.relative_ci * 100:.3g} %"
    if stop.kind == "narrow":
        return f"Stopped after {blocks}: every interval is within ± {share}."
    if stop.kind == "no_speeds":
        return f"Stopped after {blocks}: no cell has a speed whose interval could narrow."
    wide = [_worst(name, cell) for name, cell in stop.cells.items() if _is_wide(cell, stop)]
    if not wide:  # every trial failed or was noisy
        return f"Stopped after {blocks}, the most that the study allows: no cell has a good trial."
    more = f"; and {len(wide) - 3} more" if len(wide) > 3 else ""
    return (
        f"Stopped after {blocks}, the most that the study allows, with intervals wider than "
        f"± {share}: {'; '.join(wide[:3])}{more}."
    )


def _is_wide(cell: StopCell, stop: Stop) -> bool:
    return cell.ok > 0 and any(
        half is None or half > stop.relative_ci for half in cell.half_width.values()
    )


def _worst(name: str, cell: StopCell) -> str:
    """The figure of a cell that is known least."""
    halves = cell.half_width.items()
    figure, half = max(halves, key=lambda one: float("inf") if one[1] is None else one[1])
    what = f"{name}, {figure.partition('_')[0]}"
    if half is None:
        return f"{what}: no interval"
    # Beyond that a number says only how noisy it was, and %g would write it with an exponent.
    return f"{what}: more than ± 99 %" if half > 0.99 else f"{what}: ± {half * 100:.2g} %"


def write_stop(folder: Path, stop: Stop | None) -> None:
    """Keep why a run ended, or that it has not: then the file of an earlier end goes.

    Raises `RecordsError` where the folder cannot be written to.
    """
    path = folder / STOP_NAME
    if stop is not None:
        write_json(path, msgspec.to_builtins(stop))
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def read_stop(folder: Path) -> Stop | None:
    """Why a run ended; None where it has not, has no `until:`, or the file is not ours."""
    try:
        return msgspec.json.decode((folder / STOP_NAME).read_bytes(), type=Stop)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return None
