"""Lengths of time, as options and as words."""

from __future__ import annotations

import math
import re

import click

_UNITS = {"h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_WRITTEN = re.compile(rf"(?:({_NUMBER})h)?(?:({_NUMBER})m(?:in)?)?(?:({_NUMBER})s)?")
_MOST_S = 365 * 24 * 3600.0


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on
    """Seconds: `60s`, `20m` (or `20min`), `1h30m`."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """A number of seconds; more than none."""
        if isinstance(value, float):
            return value
        written = str(value).strip()
        found = _WRITTEN.fullmatch(written.replace(" ", ""))
        if found is None or not any(found.groups()):
            unit = " A number needs its unit." if re.fullmatch(_NUMBER, written) else ""
            self.fail(f"'{value}' is no time.{unit} Write 20m, 60s or 1h30m.", param, ctx)
        hours, minutes, seconds = (float(part or 0) for part in found.groups())
        n_seconds = 3600 * hours + 60 * minutes + seconds
        if n_seconds <= 0:
            self.fail(f"'{value}' is no time at all. Write 20m, 60s or 1h30m.", param, ctx)
        if n_seconds > _MOST_S:
            self.fail(
                f"'{value}' is more than a year; without --budget there is no end", param, ctx
            )
        return n_seconds


def about(seconds: float) -> str:
    """Two units of what suits, as `2 min 40 s`: what is foreseen, or over, has no more to say."""
    if seconds < 9.95:
        return f"{max(seconds, 0.1):.1f} s" if seconds else "0 s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 3570:
        minutes, tens = divmod(round(seconds / 10), 6)
        return f"{minutes} min {tens}0 s" if tens and minutes < 10 else f"{seconds / 60:.0f} min"
    hours, minutes = divmod(round(seconds / 600) * 10, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{math.ceil(seconds / 86400)} days"


def counting(seconds: float) -> str:
    """Time that goes on, as `2 min 41 s`: each second shows, where `about` would stand still."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
