"""What tests of workers share: a clock of the parent, and a job that answers questions."""

from __future__ import annotations

from harness.config.questions import Question
from harness.measure.job import Job

LATE_S = 10_000.0  # beyond every deadline of a test


class Clock:
    """In place of `time`: stands still until a message of a type lets every deadline pass."""

    def __init__(self, until):
        self._until = until
        self._now = 0.0

    def monotonic(self):
        return self._now

    def thread_time(self):
        return 0.0

    def hear(self, message):
        if isinstance(message, self._until):
            self._now = LATE_S


def answering(*questions, **settings):
    """A job that asks questions, each given by its text."""
    return Job(
        engine="fake",
        weights="w",
        weights_seed=0,
        strategy="cpu fp32",
        threads=1,
        questions=[
            Question(id=chr(ord("a") + number), text=text) for number, text in enumerate(questions)
        ],
        **settings,
    )
