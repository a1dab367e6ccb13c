"""Schema 1 of a record: what one trial left behind, one JSON line.

The names here are a promise: an old file stays readable. Raw samples are kept; whatever can be
derived (medians, intervals) is derived by the reader, except the two headline speeds. A field that
was not measured is None or empty, never 0; `missing` gives the reason where there is one.

Units are in the names: `_s` seconds, `_bytes` bytes, `_per_s` per second.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from harness.records.energy import Energy
from harness.records.latency import AnswerLatency, Latency, Prefill, Seconds
from harness.records.limits import TrialLimits
from harness.records.order import Cooling, Place
from harness.records.phases import PhaseMemory
from harness.records.quality import Gate, Quality
from harness.records.roofline import Roofline
from harness.records.validity import Validity

SCHEMA = 1
Rate = Annotated[float, Meta(ge=0)]

OutcomeKind = Literal[
    "ok",
    "out_of_memory_host",
    "out_of_memory_device",
    "timeout",
    "crashed",
    "unsupported",
    "not_a_number",
    "wrong_answers",
    "wrong_strategy",
    "noisy",
    "skipped",
    "interrupted",
]

# A trial with one of these outcomes is tried again, as another attempt, when the run goes on.
RETRIED: frozenset[str] = frozenset({"skipped", "interrupted", "noisy"})


class Key(Struct, frozen=True, kw_only=True):
    """What makes two records comparable: hashes of content, never of paths."""

    computation: str  # weights, resolved plan, engine, threads, batch, lengths: joins speed
    presentation: str | None = None  # prompt, sampling, questions: joins answers


class CellRef(Struct, frozen=True, kw_only=True):
    """The cell this trial belongs to (see `harness.plan.cell.Cell`)."""

    id: str
    model: str
    engine: str
    strategy: str
    workload: str
    threads: int
    batch: int = 1
    sampling: str | None = None  # names in the study; of the workload `answers`
    prompt: str | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """How the trial ended; `reason` is one line for the tables.

    `detail` is the traceback, where there is one, and the end of what the worker printed.
    """

    kind: OutcomeKind
    reason: str | None = None
    detail: str | None = None
    exit_code: int | None = None  # of a worker that ended by itself, and badly
    signal: str | None = None  # that ended it, such as SIGKILL: the harness's own included
    limit: str | None = None  # the study's limit that it reached, such as `limits.trial_s: 60 s`


class MemoryForecast(Struct, frozen=True, kw_only=True):
    """What was predicted, to be compared with what was measured.

    On the host, growth beyond the imports: it compares with a figure of `Memory` minus its
    `import_rss_bytes`.
    """

    load_rss_bytes: int
    peak_rss_bytes: int
    device_peak_bytes: dict[str, int] = field(default_factory=dict)


class Memory(Struct, frozen=True, kw_only=True):
    """Memory of the worker process; `missing` says why a figure is None."""

    peak_rss_bytes: int | None = None  # high-water mark of the whole trial
    import_rss_bytes: int | None = None  # high-water mark before the model was opened
    load_rss_bytes: int | None = None  # high-water mark after loading
    device_peak_bytes: dict[str, int] = field(default_factory=dict)  # allocator's peak per device
    phases: list[PhaseMemory] = field(default_factory=list)  # empty in older records
    forecast: MemoryForecast | None = None
    missing: dict[str, str] = field(default_factory=dict)


class Answer(Struct, frozen=True, kw_only=True):
    """One answered question."""

    id: str
    text: str
    token_ids: list[int]
    right: bool | None = None  # None: the question has no pattern of a right answer
    category: str | None = None
    question: str | None = None
    stop: str | None = None  # "stop_string", "stop_token", "max_tokens"; "cut" at its deadline
    stop_token: int | None = None  # that was drawn and ended it; it is not in `token_ids`
    prompt_tokens: int | None = None
    prefill_s: float | None = None
    decode_s: list[float] = field(default_factory=list)
    latency: AnswerLatency | None = None  # None in records that are older than the question


class SlotRecord(Struct, frozen=True, kw_only=True):
    """Where one slot really lay and what ran it, read back from the loaded tensors."""

    slot: int
    device: str
    dtype: str
    weight_dtype: str
    streamed: bool
    bytes: int
    kernels: dict[str, str] = field(default_factory=dict)  # operation -> implementation


class ConvertedFile(Struct, frozen=True, kw_only=True):
    """The converted weights that a trial read in place of the original ones."""

    file: str  # its name in the cache of converted weights, wherever that lies
    source_sha256: str  # of the weights it was made from
    plan: str  # which tensors it holds in which formats (`harness.runtime.stored.StoredPlan.key`)
    bytes: int
    made_now: bool  # for this trial, before it; else it was there
    convert_s: float | None = None  # these two only where it was made now
    convert_peak_rss_bytes: int | None = None  # of the process that converted


class Record(Struct, frozen=True, kw_only=True):
    """One trial of one cell."""

    schema: int = SCHEMA
    key: Key
    cell: CellRef
    trial: int  # 0, 1, … within the cell
    attempt: int  # 0, 1, … within the trial; only a retried outcome is followed by another
    outcome: Outcome
    started_at: str  # UTC, ISO 8601
    place: Place | None = None  # in the run's order; None in records older than the question
    cooling: Cooling | None = None  # likewise
    # The worker's whole life, cooling, conversions and references before it not counted.
    took_s: Seconds | None = None
    gate: Gate | None = None  # of the first trial of a strategy
    load_s: Seconds | None = None
    prefill: list[Prefill] = field(default_factory=list)
    decode_s: list[list[Seconds]] = field(default_factory=list)  # per pass, per token
    prefill_tok_per_s: Rate | None = None  # median over passes at the longest length, × batch
    decode_tok_per_s: Rate | None = None  # 1 / median token time over all passes, × batch
    latency: Latency | None = None  # None in records that are older than the question
    memory: Memory = field(default_factory=Memory)
    limits: TrialLimits | None = None  # None in records that are older than the question
    validity: Validity | None = None  # None in records that are older than the question
    answers: list[Answer] = field(default_factory=list)
    quality: Quality | None = None  # of the quality workload
    plan: list[SlotRecord] = field(default_factory=list)
    converted: ConvertedFile | None = None
    converted_missing: str | None = None  # why the original weights were read
    batch: int = 1
    # Each fact is a plain JSON value, or {"unavailable": "why"}.
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    roofline: Roofline | None = None  # of the speed workload
    energy: Energy | None = None  # of the speed workload
