"""`ask`: one answer from one model, streamed to the terminal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from harness.cli.converting import opened_conversions, reading_of
from harness.cli.model_argument import need_weights
from harness.invocation import command_line
from harness.quickstart.files import BUILTIN

if TYPE_CHECKING:
    from harness.language.generate import Generated
    from harness.measure.conversion import Reading


@click.command(short_help="Ask one model one question.")
@click.argument("question")
@click.option(
    "--model",
    default=BUILTIN,
    show_default=True,
    help="Weights: a path, a name, hf://… or https://….",
)
@click.option(
    "--strategy",
    help="Where and in what to run.  [default: cpu fp32, or what a file was converted for]",
)
@click.option(
    "--tokenizer", help="Its tokenizer, likewise; by default by the size of the vocabulary."
)
@click.option("--prompt", help="Template with {question}.  [default: Bob: {question}⏎⏎Alice:]")
@click.option("--engine", default="torch", show_default=True, help="Implementation to run.")
@click.option(
    "--threads", default=1, show_default=True, type=click.IntRange(1, 1024), help="CPU threads."
)
@click.option(
    "--max-tokens",
    default=200,
    show_default=True,
    type=click.IntRange(min=1),
    help="Longest answer.",
)
@click.option(
    "--temperature",
    default=0.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="0 is greedy.",
)
@click.option(
    "--top-p",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Keep the likeliest tokens up to this share.",
)
@click.option(
    "--top-k",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Keep this many tokens; 0 keeps all.",
)
@click.option(
    "--presence-penalty",
    default=0.0,
    show_default=True,
    type=float,
    help="Taken from the logit of a token once it was said.",
)
@click.option(
    "--frequency-penalty",
    default=0.0,
    show_default=True,
    type=float,
    help="Taken from it each time it was said.",
)
@click.option(
    "--penalty-decay",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="What each further token leaves of those times.",
)
@click.option(
    "--compat",
    type=click.Choice(["rwkv"]),
    help="rwkv: truncate before the temperature, as the official package.",
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the draws."
)
@click.option(
    "--no-cache",
    is_flag=True,
    help="Read the original weights. Otherwise they are converted once, where that pays, and kept "
    "in $HARNESS_CACHE or in ~/.cache/rwkv-harness.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer and its timing as JSON.")
def command(
    question: str,
    *,
    model: str,
    strategy: str | None,
    tokenizer: str | None,
    prompt: str | None,
    engine: str,
    threads: int,
    max_tokens: int,
    temperature: float,
    top_p: float,
    top_k: int,
    presence_penalty: float,
    frequency_penalty: float,
    penalty_decay: float,
    compat: Literal["rwkv"] | None,
    seed: int,
    no_cache: bool,
    as_json: bool,
) -> None:
    """Answer QUESTION with one model under one strategy.

    The answer ends at a blank line or at the end-of-text token. Greedy unless --temperature is
    given; the same seed gives the same answer.
    """
    from harness.config.study import Answers, Model
    from harness.engines.base import ModelSource
    from harness.engines.registry import load_engine
    from harness.language.generate import generate
    from harness.language.sampling import SamplingSettings
    from harness.language.stopping import StopRules
    from harness.language.template import fill_template
    from harness.language.tokenizer import load_tokenizer
    from harness.runtime.checkpoint import read_header
    from harness.runtime.strategy import parse

    if engine != "fake":  # which reads a script, also in YAML
        need_weights(model, lambda weights: ("ask", "--model", weights, question))
    weights, tokenizer_path, own_prompt = _files(model, tokenizer)
    settings = SamplingSettings(
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        presence_penalty=presence_penalty,
        frequency_penalty=frequency_penalty,
        penalty_decay=penalty_decay,
        compat=compat,
        seed=seed,
    )
    # Everything that can be refused is refused before the weights are read.
    if strategy is not None:
        parse(strategy)
    encoder = load_tokenizer(tokenizer_path)
    made_for = None
    if engine != "fake":
        header = read_header(weights)
        encoder.check_fits(header.shape.n_vocab)
        made_for = header.converted and header.converted.strategy
    strategy = strategy or made_for or "cpu fp32"
    template = prompt or own_prompt or Model(weights=model).prompt_of(None)
    asked = encoder.encode(fill_template(template, question))
    usual = Answers(questions=BUILTIN)
    with opened_conversions(no_cache=no_cache) as conversions:
        reading = reading_of(conversions, weights, engine, strategy, threads)
        loaded = load_engine(engine)
        click.echo(f"Loading {model} as '{strategy}' …", err=True)
        started = time.perf_counter()
        session = loaded.open(ModelSource(weights=reading.weights), strategy, threads=threads)
        load_s = time.perf_counter() - started
    for warning in session.warnings():
        click.echo(f"Note: {warning}", err=True)
    encoder.check_fits(session.capabilities.n_vocab)
    answer = generate(
        session,
        asked,
        encoder,
        settings,
        stop=StopRules(strings=tuple(usual.stop), tokens=tuple(usual.stop_tokens)),
        max_tokens=max_tokens,
        on_text=None if as_json else _stream(),
    )
    session.close()
    _finish(answer, load_s, reading, as_json=as_json)


def _files(model: str, tokenizer: str | None) -> tuple[Path, Path, str | None]:
    """The weights, the tokenizer, and the prompt that models.yaml gives them."""
    from harness.config.model_files import tokenizer_of
    from harness.errors import SourceError
    from harness.sources import find

    found = find(model)
    if found.random is not None:
        raise click.UsageError(
            f"--model {model}: random weights know nothing to answer. "
            f"Real ones that are here: {command_line('models')}"
        )
    weights = found.need()
    named, why = tokenizer_of(found, tokenizer)
    if named is None:
        why = (why or "").removesuffix("; name one as 'tokenizer:'")  # which is for a study
        raise SourceError(f"--model {model}: {why}. Name one: --tokenizer FILE")
    if named.path is None and tokenizer is None:
        get_it = command_line("pull", model)
        raise SourceError(f"--model {model}: its tokenizer is not here. Get it: {get_it}")
    return weights, named.need(), None if found.entry is None else found.entry.prompt


class _stream:  # noqa: N801 - a function with a memory
    """Prints text as it comes, without the space that models begin an answer with."""

    def __init__(self) -> None:
        self._begun = False

    def __call__(self, text: str) -> None:
        if not self._begun:
            text = text.lstrip()
            self._begun = bool(text)
        click.echo(text, nl=False)


def _finish(answer: Generated, load_s: float, reading: Reading, *, as_json: bool) -> None:
    import statistics

    per_token = statistics.median(answer.decode_s) if answer.decode_s else None
    if as_json:
        import json

        document = {
            "text": answer.text.strip(),
            "token_ids": list(answer.token_ids),
            "stop": answer.stop,
            "prompt_tokens": answer.prompt_tokens,
            "load_s": load_s,
            "converted": None if reading.converted is None else reading.converted.file,
            "converted_missing": reading.missing,
            "prefill_s": answer.prefill_s,
            "decode_s": list(answer.decode_s),
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    speed = "" if per_token is None else f", {1 / per_token:.1f} tok/s"
    click.echo()
    click.echo(
        f"Load {load_s:.2f} s, prompt of {answer.prompt_tokens} tokens {answer.prefill_s:.3f} s, "
        f"{len(answer.token_ids)} tokens{speed} ({answer.stop.replace('_', ' ')})",
        err=True,
    )
    click.echo(f"Next, to compare strategies: {command_line('plan', BUILTIN)}", err=True)
