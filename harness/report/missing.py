"""Why a figure of a row is missing: the footnote behind each dash.

Knows where each figure comes from; invents no figure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from harness.records.record import Record
from harness.report.format import in_words
from harness.report.memory import plausible
from harness.report.peaks import USES, Peaks
from harness.report.trials import CellTrials
from harness.report.values import CellOutcome, Row

# Figures that only the speed workload brings, by their names in `Row`.
_SPEED = ("decode_tok_per_s", "prefill_tok_per_s", "token_times")
# Figures of `Row.latency`, and the workload that brings each.
_LATENCY = {
    "first_pass_s": "speed",
    "end_to_end_s": "speed",
    "answers": "answers",
    "depth": "depth",
}
NOT_AS_DEEP = "measured at depth alone, which counts where every strategy was"

# Of figures that stand in another row of the strategy.
_ONCE = {
    "speed": "timed once for all samplings and prompts",
    "depth": "timed once for all batch sizes, samplings and prompts",
    "answers": "answered one row at a time",
    "quality": "scored once for all batch sizes, samplings and prompts",
}


def reasons(
    row: Row,
    cells: Sequence[CellTrials],
    measured: Sequence[Record],
    workloads: Collection[str],
    peaks: Peaks,
) -> dict[str, str]:
    """Figure -> reason, for each figure of the row that is None.

    `measured` are the records that speak for loading, `peaks` those for memory, `cells` all that
    the row is of, `workloads` what the study runs on it, be it in this run or not.
    """
    found: dict[str, str] = {}
    for name in _SPEED:
        if getattr(row, name) is None:
            found[name] = _of_workload(row, "speed", workloads)
    for name, workload in _LATENCY.items():
        if getattr(row.latency, name) is None:
            found[name] = _of_workload(row, workload, workloads)
    first_passes = [one.latency.first_pass for one in measured if one.latency is not None]
    if row.latency.first_pass_s is None and any(one and one.after_gate for one in first_passes):
        found["first_pass_s"] = "its only trial began with the gate, behind which nothing is cold"
    if row.score is None:
        answered = any(record.answers for cell in cells for record in cell.ok)
        found["score"] = (
            "no question has a pattern of a right answer"
            if answered
            else _of_workload(row, "answers", workloads)
        )
    if row.quality is None:
        found["quality"] = _of_workload(row, "quality", workloads)
        found["same_answers"] = found["quality"]
        if "quality" in row.elsewhere and any(o.workload == "answers" for o in row.outcomes):
            found["same_answers"] = (
                "only answers with the first sampling and prompt are held against the reference"
            )
    if row.load_s is None:
        found["load_s"] = "not recorded" if measured else _why_nothing(row, workloads)
    nothing = NOT_AS_DEEP if measured else _why_nothing(row, workloads)
    return found | _of_memory(row, peaks.counted, nothing)


def why(outcome: CellOutcome) -> str:
    """A cell's outcome in words: its kind, and the reason where there is one."""
    words = outcome.state if outcome.kind is None else in_words(outcome.kind)
    return f"{words}: {outcome.reason}" if outcome.reason else words


def _of_workload(row: Row, workload: str, workloads: Collection[str]) -> str:
    outcome = next((o for o in row.outcomes if o.workload == workload), None)
    if outcome is not None:
        return why(outcome) if outcome.ok == 0 else "not recorded"
    if workload in workloads:
        return f"the workload '{workload}' has not been run in this run's folder"
    if workload in row.elsewhere:
        return f"{_ONCE[workload]}: see “{row.elsewhere[workload]}”"
    return f"the study does not run the workload '{workload}' on it"


def _of_memory(row: Row, measured: Sequence[Record], nothing: str) -> dict[str, str]:
    if not measured:
        return {"peak_rss_bytes": nothing, "model_bytes": nothing}
    said = {
        name: text for record in measured for name, text in plausible(record.memory).missing.items()
    }
    peak = said.get("peak_rss_bytes", "not recorded")
    if row.memory.peak_rss_bytes is None:
        return {"peak_rss_bytes": peak, "model_bytes": peak}
    if row.memory.model_bytes is None:
        return {"model_bytes": said.get("import_rss_bytes", "not recorded before loading")}
    return {}


def _why_nothing(row: Row, workloads: Collection[str]) -> str:
    # What is broken was not run any further; that is the reason, in whichever cell it was found.
    outcomes = sorted(row.outcomes, key=lambda outcome: outcome.kind != "wrong_answers")
    failed = (
        why(outcome)
        for outcome in outcomes
        if outcome.ok == 0 and (outcome.kind == "wrong_answers" or outcome.workload in USES)
    )
    return next(failed, None) or _of_workload(row, "speed", workloads)
