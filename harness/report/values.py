"""The types of a summary: what a run's records say, in numbers and words, before it is shown.

Every figure that may be missing is None, and `missing` beside it says why. Units are in the names.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from harness.records.quality import Difference, Gate
from harness.records.record import OutcomeKind
from harness.records.roofline import LimitSet
from harness.report.latency_values import RowLatency, TokenTimes
from harness.report.order_values import RunOrder, TrialPlace
from harness.report.phases import PhaseUse
from harness.report.quality import RowQuality
from harness.report.quiet import Quiet
from harness.report.roofline import RowEnergy, RowRoofline
from harness.stats import Estimate, Ratio

# "disturbed": it has figures, but every trial that gave some was noisy.
State = Literal["ok", "partial", "disturbed", "failed", "not finished", "skipped", "not run"]
# What a strategy may be chosen for; "nearest": to the exact model.
Wish = Literal["fastest", "smallest", "nearest", "best answers"]


class Problem(Struct, frozen=True, kw_only=True):
    """A trial that did not end well: its last attempt."""

    trial: int
    attempt: int
    kind: OutcomeKind
    reason: str | None
    detail: str | None


class CellOutcome(Struct, frozen=True, kw_only=True):
    """How the trials of one cell ended, as a whole."""

    id: str
    workload: str
    state: State
    ok: int  # trials that ended well
    trials: int  # trials that were planned, or found if more
    reason: str | None = None  # of the first trial that failed or did not end, or of skipping
    kind: OutcomeKind | None = None  # the same trial's
    problems: tuple[Problem, ...] = ()


class PrefillSpeed(Struct, frozen=True, kw_only=True):
    """Prefill speed at one prompt length, over trials."""

    tokens: int
    tok_per_s: Estimate


class MemoryUse(Struct, frozen=True, kw_only=True):
    """Peaks of one strategy: the largest of its trials."""

    trials: int = 0  # that had a peak, of the host or of a device
    peak_rss_bytes: int | None = None
    import_rss_bytes: int | None = None  # before the model was opened: the libraries
    model_bytes: int | None = None  # peak minus import, of the trial where that is largest
    device_peak_bytes: dict[str, int] = field(default_factory=dict)
    # What was predicted: of the host like `model_bytes`, of the devices like `device_peak_bytes`.
    forecast_bytes: int | None = None
    device_forecast_bytes: dict[str, int] = field(default_factory=dict)
    # The most of each device by any method, of allocator or driver; 0: none of them tells.
    device_held_bytes: dict[str, int] = field(default_factory=dict)

    @property
    def total_peak_bytes(self) -> int | None:
        """Host and devices together; None where the host's share is not known."""
        if self.peak_rss_bytes is None:
            return None
        return self.peak_rss_bytes + sum(self.device_peak_bytes.values())


class Score(Struct, frozen=True, kw_only=True):
    """Answers that match the pattern of a right one, of those that have a pattern."""

    right: int
    of: int  # at least 1
    low: float  # Wilson's 95 % interval of the share, 0 to 1
    high: float
    unfinished: int = 0  # of the others, cut at the deadline of a question: they may have become so


class Agreement(Struct, frozen=True, kw_only=True):
    """Answers that are the same, token for token, as the reference's.

    Of the exact reference where any answer was held against it, else of the reference strategy.
    """

    same: int
    of: int


class Placement(Struct, frozen=True, kw_only=True):
    """Neighbouring slots that lie and run alike, as read back from what was loaded."""

    first_slot: int
    last_slot: int
    device: str
    dtype: str
    weight_dtype: str
    streamed: bool
    bytes: int
    kernels: dict[str, str]


class Row(Struct, frozen=True, kw_only=True):
    """One strategy of a model, with one engine, thread count and batch size."""

    label: str  # unique within its model
    model: str
    engine: str
    strategy: str
    threads: int
    batch: int
    reference: str  # the label of the row it is compared with; its own, if it is that row
    variant: str = ""  # of sampling and prompt, what tells its answers from other rows'
    also: tuple[str, ...] = ()  # strategies of the study that are the same computation
    outcomes: tuple[CellOutcome, ...]  # one per workload
    elsewhere: dict[str, str] = field(default_factory=dict)  # workload -> label of the row it is in
    decode_tok_per_s: Estimate | None = None
    decode_trials: tuple[float, ...] = ()  # the values behind it, one per trial
    places: tuple[TrialPlace, ...] = ()  # the same with when each ran; none in older records
    decode_ratio: Ratio | None = None
    prefill_tok_per_s: Estimate | None = None
    prefill_trials: tuple[float, ...] = ()  # likewise
    prefill_lengths: tuple[PrefillSpeed, ...] = ()
    load_s: Estimate | None = None
    weights_read: tuple[str, ...] = ()  # which file was loaded, or why the original was
    memory: MemoryUse = field(default_factory=MemoryUse)
    memory_without_depth: MemoryUse | None = None  # None: that is of no depth itself
    phases: tuple[PhaseUse, ...] = ()  # of memory; none in older records
    token_times: TokenTimes | None = None
    latency: RowLatency = field(default_factory=RowLatency)
    roofline: RowRoofline = field(default_factory=RowRoofline)
    energy: RowEnergy = field(default_factory=RowEnergy)
    curve_s: tuple[float, ...] = ()  # time of the token at each position, median over passes
    score: Score | None = None
    presented: str | None = None  # hash of prompt, sampling and questions behind the score
    categories: dict[str, Score] = field(default_factory=dict)
    agreement: Agreement | None = None
    quality: RowQuality | None = None  # None: it was not scored, or no trial of it was made
    gate: Gate | None = None  # its first tokens beside the reference's; None: not looked at
    # Questions that its trials answered with different tokens; None: answered once, or never.
    unsteady: tuple[str, ...] | None = None
    placement: tuple[Placement, ...] = ()
    planned_bytes: dict[str, int] = field(default_factory=dict)
    planned_peak_bytes: dict[str, int] = field(default_factory=dict)
    quiet: Quiet | None = None  # None: its trials were not watched
    warnings: tuple[str, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)  # field name -> why it is None

    @property
    def is_reference(self) -> bool:
        """Whether others are compared with this row."""
        return self.reference == self.label

    @property
    def was_tried(self) -> bool:
        """Whether a trial of it was started."""
        return any(outcome.state not in ("skipped", "not run") for outcome in self.outcomes)

    @property
    def is_timed(self) -> bool:
        """The same, but not of a row whose speed stands in another one."""
        return self.was_tried and "speed" not in self.elsewhere


class Given(Struct, frozen=True, kw_only=True):
    """One strategy's answer to a question."""

    label: str
    text: str
    right: bool | None
    # Index of the first token that is not the reference's; None where all are the same, or where
    # there is no answer of the reference to compare with (`compared` tells).
    first_difference: int | None = None
    compared: bool = False
    same_characters: int = 0  # length of the beginning that both texts share, or would
    difference: Difference | None = None  # from the exact reference, with both tokens
    is_end: bool = False  # the first token that differs is the one that ended it
    is_cut: bool = False  # at the deadline of a question
    reference_is_cut: bool = False  # there: it is the same as far as that one goes, and goes on


class Question(Struct, frozen=True, kw_only=True):
    """A question and the answers to it, in the order of the model's rows."""

    id: str
    category: str | None
    question: str | None
    answers: tuple[Given, ...]

    @property
    def differs(self) -> bool:
        """Whether any strategy answers otherwise than its reference."""
        return any(given.first_difference is not None for given in self.answers)


class Choice(Struct, frozen=True, kw_only=True):
    """The strategy that is best in one respect."""

    wish: Wish
    label: str
    tied: tuple[str, ...] = ()  # cannot be told apart from it in this respect


class ModelSummary(Struct, frozen=True, kw_only=True):
    """All strategies of one model."""

    name: str
    weights: str  # as the study names them; of a path, the file's name only
    rows: tuple[Row, ...]
    questions: tuple[Question, ...] = ()
    by_exact: bool = False  # answers are held against the exact reference, not a strategy's
    choices: tuple[Choice, ...] = ()


class Fact(Struct, frozen=True, kw_only=True):
    """One fact, by its dotted name, as text."""

    name: str
    value: str | None  # None: unavailable
    why_missing: str | None = None
    listed: dict[str, str] = {}  # what the value sums up: distributions and their versions
    shown: str | None = None  # the value as its declaration prints it, where that differs
    declared_as: str | None = None  # where that is not its name: `weights_sha256` of one model


class FactDifference(Struct, frozen=True, kw_only=True):
    """A fact that is not the same in all records of the run."""

    name: str
    values: dict[str, int]  # text of the value -> number of records
    follows: str | None = None  # the axis of the study that explains it, such as "model"
    says: str | None = None  # what differs, where the values are too long to compare by eye
    # For which comparisons it must be the same ("speed", "answers"); None: it is not declared.
    must_match: tuple[str, ...] | None = None


class Summary(Struct, frozen=True, kw_only=True):
    """What a run says."""

    run: str  # the folder's name
    study: str
    description: str
    started_at: str | None  # of the first and of the last trial, UTC
    last_started_at: str | None
    trials_planned: int
    trials_recorded: int  # without those that were interrupted
    models: tuple[ModelSummary, ...]
    facts: tuple[Fact, ...]
    differences: tuple[FactDifference, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    limits: tuple[LimitSet, ...] = ()  # of the machine, each time they were measured
    order: RunOrder | None = None  # of its trials; None in older records

    @property
    def is_finished(self) -> bool:
        """Whether every planned trial has come to an end."""
        return self.trials_recorded >= self.trials_planned
