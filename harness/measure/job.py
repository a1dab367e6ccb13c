"""What a worker is told, and what it says while it works.

One job goes in as a JSON file; messages come out as JSON lines on a pipe of their own, so that
nothing a library prints can be taken for a result. A message is sent as soon as there is something
to keep: a worker that dies loses only what it was measuring.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from harness.config.depth_settings import Depth
from harness.config.questions import Question
from harness.config.study import Answers, Speed
from harness.machine.memory import MemoryReading
from harness.records.energy import PassEnergy
from harness.records.latency import AtDepth, Fed, FirstPass, Prefill
from harness.records.phases import PhaseMemory
from harness.records.quality import Gate, Quality, QualityReference
from harness.records.record import Answer, SlotRecord
from harness.records.roofline import Limit
from harness.runtime.limits import LimitQuestion

# The phases of memory that a trial of each workload goes through, in their order.
WORKLOAD_PHASES: dict[str, tuple[str, ...]] = {
    "speed": ("load", "passes", "prefill", "decode"),
    "depth": ("load", "depth"),
    "answers": ("load", "answering"),
}
# Of the quality workload, whose memory nothing is said of: it holds rows of the reference beside.
_SCORING_PHASES = ("load", "scoring")


class Conversion(Struct, frozen=True, kw_only=True):
    """Weights to be written to a file in the formats of the job's strategy."""

    out: str  # a path
    source_sha256: str  # of the weights, as records have it


class PassageJob(Struct, frozen=True, kw_only=True):
    """Tokens that are fed from an empty state, and what is wanted of them."""

    key: str  # a hash of the weights, of all that follows, and of how a reference is computed
    ids: list[int]
    first: int  # the first row that is wanted: of what follows ids[first]
    targets: list[int]  # the token that did follow, one per row

    @property
    def n_rows(self) -> int:
        """How many rows are wanted."""
        return len(self.ids) - self.first


class ReferenceJob(Struct, frozen=True, kw_only=True):
    """Log-probabilities of the exact reference, to be written to a file."""

    out: str  # a path
    weights_sha256: str
    passages: list[PassageJob]


class ScoredPassage(Struct, frozen=True, kw_only=True):
    """A passage, and where the reference's rows of it lie."""

    passage: PassageJob
    file: str  # a path
    small: bool = False  # the file has their small form
    answer: str | None = None  # the question that it answers; None: it is of the fixed text


class DocumentJob(Struct, frozen=True, kw_only=True):
    """A document whose last word is asked for."""

    ids: list[int]
    n_word: int  # tokens of the last word


class LambadaJob(Struct, frozen=True, kw_only=True):
    """All documents of a file."""

    sha256: str  # of the file
    documents: list[DocumentJob]


class Scoring(Struct, frozen=True, kw_only=True):
    """The quality workload: what is to be compared with what."""

    reference: QualityReference | None = None  # None: there are no passages
    passages: list[ScoredPassage] = field(default_factory=list)
    lambada: LambadaJob | None = None


class Job(Struct, frozen=True, kw_only=True):
    """One trial, conversion or reference, complete: a worker reads no study."""

    engine: str
    strategy: str
    weights: str  # a path, or random:SIZE
    weights_seed: int
    from_cache: bool = False  # the weights are converted ones that the cache keeps
    threads: int
    seed: int = 0  # of the tokens that are fed where no question is asked
    batch: int = 1  # of the speed workload: the study may have several
    tokenizer: str | None = None
    prompt: str = "{question}"
    # Exactly one of speed, depth, questions, scoring, conversion, reference and limits is given.
    speed: Speed | None = None
    depth: Depth | None = None
    answers: Answers | None = None  # with questions, or with the passages that answer them
    scoring: Scoring | None = None
    gate: ScoredPassage | None = None  # given: looked at before anything is measured
    question_s: float | None = None  # the deadline of one question
    address_space_bytes: int | None = None
    conversion: Conversion | None = None
    reference: ReferenceJob | None = None
    limits: list[LimitQuestion] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)

    @property
    def phases(self) -> tuple[str, ...]:
        """Of memory; none for what is no trial."""
        if self.scoring is not None:  # and then `answers` says how those were drawn
            return _SCORING_PHASES
        return next((WORKLOAD_PHASES[name] for name in WORKLOAD_PHASES if getattr(self, name)), ())


class Imported(Struct, frozen=True, kw_only=True, tag="imported"):
    """The engine's libraries are loaded, the model is not."""

    versions: dict[str, str]
    peak_rss: MemoryReading
    provenance: dict[str, Any] = field(default_factory=dict)  # facts, as the worker sees them


class Opened(Struct, frozen=True, kw_only=True, tag="opened"):
    """The model is loaded."""

    load_s: float
    peak_rss: MemoryReading
    n_vocab: int
    plan: list[SlotRecord]
    warnings: list[str]
    phases: list[PhaseMemory] = field(default_factory=list)  # of memory: loading
    facts: dict[str, Any] = field(default_factory=dict)  # of the engine, as they are in force


class Gated(Struct, frozen=True, kw_only=True, tag="gated"):
    """What the first tokens showed; a strategy that fails is given up behind it."""

    gate: Gate


class FirstPassed(Struct, frozen=True, kw_only=True, tag="first_passed"):
    """The first pass of the speed workload, which is not measured unless it says so."""

    first_pass: FirstPass


class Passed(Struct, frozen=True, kw_only=True, tag="passed"):
    """One measured pass of the speed workload."""

    prefill: list[Prefill]
    decode_s: list[float]
    end_to_end_s: float | None = None  # as in `Latency`
    energy: PassEnergy | None = None


class FedContext(Struct, frozen=True, kw_only=True, tag="fed_context"):
    """A part of the context of the depth workload."""

    fed: Fed


class VisitedDepth(Struct, frozen=True, kw_only=True, tag="visited_depth"):
    """One visit of one depth of the depth workload."""

    visit: AtDepth


class Answered(Struct, frozen=True, kw_only=True, tag="answered"):
    """One answered question."""

    answer: Answer


class Scored(Struct, frozen=True, kw_only=True, tag="scored"):
    """How far the quality workload is: one more passage."""

    done: int
    total: int


class Judged(Struct, frozen=True, kw_only=True, tag="judged"):
    """The figures of the quality workload."""

    quality: Quality


class Referred(Struct, frozen=True, kw_only=True, tag="referred"):
    """How far a reference is: layers of the model."""

    done: int
    total: int


class NoNumbers(Struct, frozen=True, kw_only=True, tag="no_numbers"):
    """The weights give NaN or infinity for a passage, so that it has no reference."""

    passage: str  # its key


class PhaseEnded(Struct, frozen=True, kw_only=True, tag="phase_ended"):
    """The memory of a phase after loading."""

    memory: PhaseMemory


class Written(Struct, frozen=True, kw_only=True, tag="written"):
    """How far a conversion is."""

    done_bytes: int
    total_bytes: int


class Converted(Struct, frozen=True, kw_only=True, tag="converted"):
    """The converted file is whole."""

    convert_s: float


class LimitFound(Struct, frozen=True, kw_only=True, tag="limit_found"):
    """One answer of what the machine can do at best."""

    limit: Limit


class Finished(Struct, frozen=True, kw_only=True, tag="finished"):
    """All is done; the figures of the whole trial."""

    peak_rss: MemoryReading
    device_peak_bytes: dict[str, int]


class Failed(Struct, frozen=True, kw_only=True, tag="failed"):
    """The worker gave up by itself; `kind` is an outcome's kind."""

    kind: str
    reason: str
    detail: str
    peak_rss: MemoryReading
    device_peak_bytes: dict[str, int] = field(default_factory=dict)
    phases: list[PhaseMemory] = field(default_factory=list)  # of memory: the one that it failed in


Message = (
    Imported
    | Opened
    | Gated
    | FirstPassed
    | Passed
    | FedContext
    | VisitedDepth
    | Answered
    | Scored
    | Judged
    | Referred
    | NoNumbers
    | PhaseEnded
    | Written
    | Converted
    | LimitFound
    | Finished
    | Failed
)
