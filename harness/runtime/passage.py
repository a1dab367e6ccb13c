"""A passage of tokens whose log-probabilities are wanted. No torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Passage:
    """Tokens that are fed from an empty state, and from which on what follows them is wanted.

    Row t of the log-probabilities is of what follows ids[t]; wanted are rows first..len(ids) - 1.
    """

    ids: tuple[int, ...]
    first: int = 0

    @property
    def n_rows(self) -> int:
        """How many rows are wanted."""
        return len(self.ids) - self.first
