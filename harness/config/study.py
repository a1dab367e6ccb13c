"""The types of a study: what one YAML file in `configs/` says.

Knows the shape of a study and its defaults; knows nothing of YAML, files or cells. The JSON Schema
that editors use is generated from these types (`schema.py`), so a field's documentation is the
`description` beside it.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

Positive = Annotated[int, Meta(ge=1)]
Text = Annotated[str, Meta(min_length=1)]


class Model(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Named weights with the tokenizer and the prompt template that go with them."""

    weights: Annotated[
        Text,
        Meta(
            description="A path (relative to the study), `builtin:quickstart`, or `random:SIZE` "
            "(169m, 430m, 1b5, 3b, 7b, 14b): random weights of that shape, for `speed` only."
        ),
    ]
    tokenizer: Annotated[
        str | None, Meta(description="A `tokenizers` JSON file; not needed for `random:`.")
    ] = None
    prompt: Annotated[
        Text, Meta(description="The prompt template; `{question}` stands for the question.")
    ] = "Bob: {question}\n\nAlice:"
    source: Annotated[
        str | None, Meta(description="Where the weights can be downloaded, for people.")
    ] = None
    tokenizer_source: Annotated[
        str | None, Meta(description="Where the tokenizer can be downloaded, for people.")
    ] = None
    seed: Annotated[int, Meta(ge=0, description="Seed of `random:` weights.")] = 0


class Sampling(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the next token is drawn. Temperature 0 or top_p 0 is greedy, lowest id on ties."""

    temperature: Annotated[float, Meta(ge=0)] = 0.0
    top_p: Annotated[float, Meta(ge=0, le=1)] = 1.0
    top_k: Annotated[int, Meta(ge=0, description="0 keeps all.")] = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: Annotated[int, Meta(ge=0)] = 0


class Speed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `speed` workload: prefill and decode of given lengths, without a question."""

    prompt_tokens: Annotated[
        Positive | list[Positive], Meta(description="Prefill lengths; decoding follows the last.")
    ] = 128
    generate_tokens: Positive = 64
    batch: Positive = 1
    passes: Annotated[
        int, Meta(ge=1, description="Measured passes over one loaded model, per trial.")
    ] = 3
    warmup_passes: Annotated[int, Meta(ge=0)] = 1
    trials: Annotated[int, Meta(ge=1, description="Fresh processes per cell.")] = 3


class Answers(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `answers` workload: the question set, each question from a fresh state."""

    questions: Annotated[
        Text, Meta(description="A question file (YAML or .txt), or `builtin:quickstart`.")
    ]
    max_tokens: Positive = 200
    stop: Annotated[list[Text], Meta(description="An answer ends before any of these.")] = field(
        default_factory=lambda: ["\n\n"]
    )
    stop_tokens: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(description="Token ids.")] = (
        field(default_factory=lambda: [0])
    )
    sampling: Sampling = field(default_factory=Sampling)


class Workloads(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done with each loaded model; a workload that is left out is not run."""

    speed: Speed | None = None
    answers: Answers | None = None


class Selector(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the matrix; what is left out matches everything."""

    model: str | None = None
    engine: str | None = None
    strategy: str | None = None
    workload: str | None = None
    threads: Positive | None = None


class Addition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cell beside the matrix; engine and threads default to the study's first."""

    model: Text
    strategy: Text
    workload: Text
    engine: str | None = None
    threads: Positive | None = None


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a trial is given up."""

    trial_s: Annotated[float, Meta(gt=0, description="Deadline of one trial, in seconds.")] = 1800.0


class Study(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One study: models × engines × strategies × threads × workloads."""

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9._-]*$")]
    description: str = ""
    models: Annotated[dict[str, Model], Meta(min_length=1)]
    strategies: Annotated[list[Text], Meta(min_length=1)]
    engines: Annotated[list[Text], Meta(min_length=1)] = field(default_factory=lambda: ["torch"])
    threads: Annotated[
        Positive | list[Positive],
        Meta(description="CPU threads; a list is an axis of the matrix. Never the machine's own."),
    ] = 1
    workloads: Workloads
    reference: Annotated[
        str | None, Meta(description="The strategy that others are compared with.")
    ] = None
    include: Annotated[list[Addition], Meta(description="Cells beside the matrix.")] = field(
        default_factory=list
    )
    exclude: Annotated[list[Selector], Meta(description="Cells left out.")] = field(
        default_factory=list
    )
    seed: Annotated[int, Meta(ge=0, description="Seed of the order of trials.")] = 0
    limits: Limits = field(default_factory=Limits)
