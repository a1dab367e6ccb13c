"""What `plan` says of the run that would go on, and of how far a budget comes. Words only."""

from __future__ import annotations

from collections.abc import Iterator

from harness.cli.durations import about
from harness.cli.foreseeing import Foreseen
from harness.cli.run_folder import to_do
from harness.plan.plan import Plan
from harness.report.format import count


def run_line(planned: Plan, foreseen: Foreseen) -> str:
    """Which run the trials would be of, and how many they are."""
    if foreseen.chosen is None or foreseen.chosen.is_new:
        return "A new run begins."
    left, n_again = to_do(planned, len(foreseen.left.turns)), foreseen.left.n_again
    again = f", {n_again} of them again" if n_again else ""
    return f"Going on with {foreseen.chosen.folder}: {left}{again}."


def reach_lines(planned: Plan, foreseen: Foreseen) -> Iterator[str]:
    """What fits into the budget and what does not; nothing where none is given."""
    reach = foreseen.reach
    if reach is None or not foreseen.left.turns:
        return
    given, n_cells = about(reach.seconds), len(planned.running)
    rest = f"{count(reach.n_left, 'trial')}, about {about(reach.left_s)}"
    most = "at most " if planned.until is not None else ""
    if reach.enough_s is not None:
        yield (
            f"No trial fits into {given}: {most}{rest}, would be left. The first needs about "
            f"{about(reach.enough_s)}."
        )
    elif not reach.n_left:
        yield f"All of it fits into {given}."
    else:
        visited = f"{reach.n_visited} of {n_cells} cells have been visited then"
        if reach.once_s is None:
            visited = "every cell was visited before"
        yield (
            f"{count(reach.n_begun, 'trial')} {'fits' if reach.n_begun == 1 else 'fit'} "
            f"into {given}; {visited}. Left for the next command: {most}{rest}."
        )
    if reach.once_s is not None:
        yield f"To visit every cell once takes about {about(reach.once_s)}."
