"""Every error the harness raises on purpose.

    HarnessError
    ├── BadInput          the user's words are at fault: exit code 2
    │   ├── StudyError        a study or question file (all its problems at once)
    │   ├── StrategyError     a strategy string
    │   ├── CheckpointError   a weights file
    │   ├── TokenizerError    a tokenizer file
    │   └── SourceError       a name or URL of weights that leads to no file, or to the wrong one
    ├── Unsupported       an engine or machine cannot do what was asked
    │   └── MissingExtra      … because an optional dependency is not installed
    ├── NotANumber        a model gave NaN or infinite logits
    ├── WrongAnswers      a strategy computes another function than its reference
    ├── ReferenceUnusable what the exact reference says cannot be had; no strategy is at fault
    ├── DownloadError     a file that could not be fetched: network, disk, server
    └── RecordsError      a results folder that cannot be read or written

A message names the value, what is allowed, and what to do next. Only `harness.cli` prints it.
"""

from __future__ import annotations

from collections.abc import Sequence


class HarnessError(Exception):
    """Base class; `str(error)` is written for the user."""


class BadInput(HarnessError):
    """What the user wrote or pointed at cannot be used."""


class StudyError(BadInput):
    """A study or a question file has one or more problems, each one line."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class StrategyError(BadInput):
    """A strategy string that is not in the grammar, or that cannot be planned."""


class CheckpointError(BadInput):
    """A file that is not a readable RWKV-4 checkpoint; the message says what it is."""


class TokenizerError(BadInput):
    """A tokenizer file that cannot be read, or that does not fit the model."""


class SourceError(BadInput):
    """A name, path or URL of weights or a tokenizer that leads to no file, or to the wrong one."""


class DownloadError(HarnessError):
    """A file that could not be fetched; the message says why and what to do."""


class Unsupported(HarnessError):
    """This engine, on this machine, cannot run what was asked; the reason says why."""


class MissingExtra(Unsupported):
    """An optional dependency is missing; the message names the extra that brings it."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(
            f"{module} is not installed. Install it with: pip install 'rwkv-harness[{extra}]'"
        )


class NotANumber(HarnessError):
    """A model gave NaN or infinite logits; the trial's outcome is `not_a_number`."""


class WrongAnswers(HarnessError):
    """A strategy computes another function; the trial's outcome is `wrong_answers`."""


class ReferenceUnusable(HarnessError):
    """Log-probabilities of the exact reference that are not there, damaged or not finite."""


class RecordsError(HarnessError):
    """A results folder or a records file that cannot be used."""
