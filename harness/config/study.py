"""The types of a study: what one YAML file in `configs/` says.

Knows the shape of a study and its defaults; knows nothing of YAML, files or cells. The JSON Schema
that editors and `validate.py` use is generated from these types (`schema.py`), so a field's
documentation is the `description` beside it. `extends` is not a field: it is gone once a study is
loaded.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field, structs

from harness.config.depth_settings import Depth
from harness.config.limit_settings import Limits
from harness.config.noise_settings import Noise
from harness.config.order_settings import Cooldown, OrderKind, Until
from harness.config.quality_settings import QualityText

# The upper bounds only keep slips out (a pasted token id, a missing space).
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Seed = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Text = Annotated[str, Meta(min_length=1)]
Sha256 = Annotated[
    str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)", description="64 digits 0-9 and a-f; a sha256.")
]


class Model(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Named weights with the tokenizer and the prompt template that go with them."""

    weights: Annotated[
        Text,
        Meta(
            description="A path (relative to this file; `.pth` may be left out), a name that is "
            "looked up in $HARNESS_MODELS, models.yaml, ./models and the hub's cache, "
            "`hf://owner/repo/file[@revision]`, `https://…`, `builtin:quickstart`, or "
            "`random:SIZE` (169m, 430m, 1b5, 3b, 7b, 14b): random weights of that shape, for "
            "`speed` only."
        ),
    ]
    tokenizer: Annotated[
        Text | None,
        Meta(
            description="A `tokenizers` JSON file or the World vocabulary, in any form that "
            "`weights` takes; needed for `answers`. By default the one that the size of the "
            "vocabulary asks for, looked for beside the weights and where models are."
        ),
    ] = None
    prompt: Annotated[
        Text | Annotated[dict[str, Text], Meta(min_length=1)],
        Meta(
            description="The prompt template; `{question}` stands for the question. Several under "
            "names are an axis of `answers`."
        ),
    ] = "Bob: {question}\n\nAlice:"
    source: Annotated[
        Text | None,
        Meta(description="Where `pull` gets the weights: a URL, or hf://owner/repo/file."),
    ] = None
    tokenizer_source: Annotated[
        Text | None,
        Meta(description="Where `pull` gets the tokenizer: a URL, or hf://owner/repo/file."),
    ] = None
    sha256: Annotated[
        Sha256 | None, Meta(description="What the content of the weights must be.")
    ] = None
    tokenizer_sha256: Annotated[
        Sha256 | None, Meta(description="What the content of the tokenizer must be.")
    ] = None
    seed: Annotated[Seed, Meta(description="Seed of `random:` weights.")] = 0

    def prompt_of(self, name: str | None) -> str:
        """The template of that name; the first one without."""
        if isinstance(self.prompt, str):
            return self.prompt
        return self.prompt[next(iter(self.prompt)) if name is None else name]


class Sampling(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the next token is drawn."""

    temperature: Annotated[
        float, Meta(ge=0, description="0 is greedy: the likeliest token, the lowest id on ties.")
    ] = 0.0
    top_p: Annotated[
        float, Meta(ge=0, le=1, description="Mass of the tokens that are kept: 1 all, 0 greedy.")
    ] = 1.0
    top_k: Annotated[int, Meta(ge=0, description="How many tokens are kept; 0 keeps all.")] = 0
    presence_penalty: Annotated[
        float, Meta(description="Taken from the logit of every token the answer already has.")
    ] = 0.0
    frequency_penalty: Annotated[
        float, Meta(description="Taken once more for every time the answer has that token.")
    ] = 0.0
    penalty_decay: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="What is left, with each token, of the times that were counted before: 1 "
            "all. The official package's is 0.996 since its 0.8.",
        ),
    ] = 1.0
    count_spaces_and_digits: Annotated[
        bool,
        Meta(
            description="Whether spaces, tabs and digits are counted for frequency_penalty; the "
            "official package does not since its 0.8."
        ),
    ] = True
    ban: Annotated[
        list[Annotated[int, Meta(ge=0)]], Meta(description="Token ids that are never drawn.")
    ] = field(default_factory=list)
    compat: Annotated[
        Literal["rwkv"] | None,
        Meta(
            description="rwkv: the order of the official package, which truncates before it "
            "applies the temperature."
        ),
    ] = None
    seed: Annotated[Seed, Meta(description="Seed of the draws.")] = 0


class Speed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `speed` workload: prefill and decode of given lengths, without a question."""

    prompt_tokens: Annotated[
        Count | Annotated[list[Count], Meta(min_length=1)],
        Meta(description="Prefill length, or several; decoding follows the last one."),
    ] = 128
    generate_tokens: Annotated[Count, Meta(description="Tokens decoded per pass.")] = 64
    batch: Annotated[
        Count | Annotated[list[Count], Meta(min_length=1)],
        Meta(description="Rows that are run at once; a list is an axis of the matrix."),
    ] = 1
    passes: Annotated[
        Count, Meta(description="Measured passes over one loaded model, per trial.")
    ] = 3
    warmup_passes: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="Passes before the measured ones; the first is recorded, as the cold one.",
        ),
    ] = 1
    trials: Annotated[Count, Meta(description="Trials per cell, each a fresh process.")] = 3
    until: Annotated[
        Until | None,
        Meta(description="In place of `trials`: until the speeds are known to within a share."),
    ] = None

    @property
    def prompt_lengths(self) -> tuple[int, ...]:
        """`prompt_tokens` as a tuple, in the order of the study."""
        return _as_tuple(self.prompt_tokens)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """`batch` as a tuple, in the order of the study."""
        return _as_tuple(self.batch)


class Answers(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `answers` workload: the question set, each question from a fresh state."""

    questions: Annotated[
        Text,
        Meta(
            description="A question file (.yaml or .txt; a path relative to this file), or "
            "`builtin:quickstart`."
        ),
    ]
    max_tokens: Annotated[Count, Meta(description="Longest answer, in tokens.")] = 200
    stop: Annotated[list[Text], Meta(description="An answer ends before any of these texts.")] = (
        field(default_factory=lambda: ["\n\n"])
    )
    stop_tokens: Annotated[
        list[Annotated[int, Meta(ge=0)]],
        Meta(description="An answer ends before any of these token ids."),
    ] = field(default_factory=lambda: [0])
    sampling: Annotated[
        Sampling,
        Meta(
            description="How tokens are drawn; greedy unless it says otherwise. Several under "
            "names are an axis of `answers`."
        ),
    ] = field(default_factory=Sampling)
    samplings: dict[str, Sampling] = field(default_factory=dict)  # written as `sampling`
    trials: Annotated[
        Count,
        Meta(
            description="Trials per cell, each a fresh process. The first one's answers are shown "
            "and scored; a second tells whether they are the same each time."
        ),
    ] = 2

    def under(self, name: str | None) -> Answers:
        """The same with the sampling of that name alone; with the first one without."""
        sampling = self.sampling if name is None else self.samplings[name]
        return structs.replace(self, sampling=sampling, samplings={})


class Workloads(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done with each loaded model; a workload that is left out is not run."""

    speed: Speed | None = None
    depth: Depth | None = None
    answers: Answers | None = None
    quality: QualityText | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The workloads that are run, `speed` first."""
        return tuple(name for name in WORKLOADS if getattr(self, name) is not None)


WORKLOADS = tuple(Workloads.__struct_fields__)


class Selector(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the matrix; what is left out matches everything."""

    model: Text | None = None
    engine: Text | None = None
    strategy: Text | None = None  # once loaded a single one: a range or set is several selectors
    workload: Text | None = None
    threads: Count | None = None
    batch: Count | None = None  # of the workload `speed`: it leaves others out
    sampling: Text | None = None  # names, of `answers`: they leave others out
    prompt: Text | None = None


class Addition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cell beside the matrix; all but the first three keys default to the study's first."""

    model: Text
    strategy: Text
    workload: Text
    engine: Text | None = None
    threads: Count | None = None
    batch: Count | None = None
    sampling: Text | None = None
    prompt: Text | None = None


class Study(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One study: models × engines × strategies × threads × workloads."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9][a-z0-9._-]*$(?!\n)",
            max_length=60,
            description="A name of lower-case letters, digits, `.`, `_` and `-`, at most 60, that "
            "begins with a letter or digit; the run's folder bears it.",
        ),
    ]
    description: Annotated[str, Meta(description="What the study asks, for people.")] = ""
    models: Annotated[
        dict[str, Model], Meta(min_length=1, description="The models, each under a name.")
    ]
    strategies: Annotated[
        list[Text],
        Meta(
            min_length=1,
            description="For example `cuda fp16i8 *20 -> cpu fp32`. `{0..32..4}` in one stands for "
            "each of 0, 4, …, 32; `@NAME` for the strategies of `sets.NAME`.",
        ),
    ]
    sets: Annotated[
        dict[str, Annotated[list[Text], Meta(min_length=1)]],
        Meta(description="Named strategies; `@NAME` in `strategies` and in a set stands for them."),
    ] = field(default_factory=dict)
    engines: Annotated[
        list[Text], Meta(min_length=1, description="torch (the default), rwkv or fake.")
    ] = field(default_factory=lambda: ["torch"])
    threads: Annotated[
        Count | Annotated[list[Count], Meta(min_length=1)],
        Meta(
            description="CPU threads, the same on every machine; a list is an axis of the matrix."
        ),
    ] = 1
    workloads: Annotated[
        Workloads,
        Meta(description="Any of `speed`, `depth`, `answers` and `quality`."),
    ]
    reference: Annotated[
        Text | None,
        Meta(description="The strategy others are compared with; by default the first."),
    ] = None
    include: Annotated[
        list[Addition], Meta(description="Cells beside the matrix; `exclude` spares them.")
    ] = field(default_factory=list)
    exclude: Annotated[list[Selector], Meta(description="Parts of the matrix left out.")] = field(
        default_factory=list
    )
    seed: Annotated[Seed, Meta(description="Seed of the order of trials.")] = 0
    order: Annotated[
        OrderKind,
        Meta(
            description="randomised: in shuffled blocks, each of which visits every cell once, so "
            "that whatever drifts meets all cells alike. sequential: cell after cell."
        ),
    ] = "randomised"
    cooldown: Annotated[
        Cooldown | None,
        Meta(description="What each trial waits for; by default it does not wait."),
    ] = None
    limits: Annotated[Limits, Meta(description="When a trial is given up.")] = field(
        default_factory=Limits
    )
    roofline: Annotated[
        bool,
        Meta(
            description="Measure what the machine can do at best (a few seconds before the first "
            "trial and behind the last), so that speeds are also given in percent of it."
        ),
    ] = True
    gate: Annotated[
        bool,
        Meta(
            description="Hold the first tokens of each strategy against the exact reference: what "
            "is broken ends as `wrong_answers` before anything else of it is measured."
        ),
    ] = True
    noise: Annotated[
        Noise | bool,
        Meta(description="How quiet the machine must be; `off` neither looks nor judges."),
    ] = field(default_factory=Noise)

    @property
    def thread_counts(self) -> tuple[int, ...]:
        """`threads` as a tuple, in the order of the study."""
        return _as_tuple(self.threads)


def _as_tuple(value: int | list[int]) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)
