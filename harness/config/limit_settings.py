"""When a trial, or an answer, is given up: the part `limits` of a study.

Knows the words and their defaults; what the memory of a machine is, and how a limit is held, is
known in `measure/`.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

AUTO, NONE = "auto", "none"
_SIZE = r"[0-9]+(\.[0-9]+)? ?([KkMmGgTt]([Ii]?[Bb]?)|[Bb])"  # as `harness.sizes.parse_size` reads
Size = Annotated[
    str,
    Meta(pattern=rf"^{_SIZE}$(?!\n)", description="A size such as 64GiB; IEC or SI units."),
]


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a trial is given up. There is always a deadline."""

    trial_s: Annotated[
        float, Meta(gt=0, le=10_000_000, description="Deadline of one trial, in seconds.")
    ] = 1800.0
    question_s: Annotated[
        float,
        Meta(
            gt=0,
            le=10_000_000,
            description="Deadline of one question, in seconds: its answer is cut there, kept and "
            "marked, and the next question follows.",
        ),
    ] = 600.0
    memory: Annotated[
        str,
        Meta(
            pattern=rf"^(auto|none|{_SIZE})$(?!\n)",
            description="A size such as 12GiB, auto or none; what the processes of a trial may "
            "hold in main memory. auto, the default, is what is available when the trial begins, "
            "less a reserve, so that the machine survives.",
        ),
    ] = AUTO
    address_space: Annotated[
        Size | None,
        Meta(
            description="What a trial may have mapped, held or not; a size. Mapped files and CUDA "
            "count too, so this is for special cases; without it, no limit.",
        ),
    ] = None
