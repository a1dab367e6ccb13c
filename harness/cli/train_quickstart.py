"""`train-quickstart`: make the shipped model again, from its corpus to its card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.console import console
from harness.cli.output_path import need_room_for, overwrite_option
from harness.errors import HarnessError, MissingExtra
from harness.invocation import command_line

if TYPE_CHECKING:
    from harness.quickstart.train import Progress


@click.command(short_help="Train the shipped model again.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("quickstart-model"),
    show_default=True,
    help="Folder for the model, its tokenizer, log and card.",
)
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="CPU threads; two stall on small machines.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), help="Of weights and order.  [default: shipped]"
)
@click.option("--steps", type=click.IntRange(min=1), help="Fewer, for a try.  [default: shipped]")
@overwrite_option
@click.option("--json", "as_json", is_flag=True, help="Print the training log as JSON at the end.")
def command(
    *,
    out: Path,
    threads: int,
    seed: int | None,
    steps: int | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Train the quickstart model on a corpus that is written on the spot.

    Takes about an hour on one core. The same seed gives the same model with the same torch on the
    same kind of machine.
    """
    from harness.quickstart.card import write_card
    from harness.quickstart.files import OF_A_TRAINING
    from harness.quickstart.train import Recipe, train, write_log

    for name in OF_A_TRAINING:
        need_room_for(out / name, overwrite=overwrite)
    chosen = {"threads": threads, "seed": seed, "steps": steps}
    recipe = Recipe(**{name: value for name, value in chosen.items() if value is not None})
    progress = console(stderr=True)
    progress.print(f"Writing the corpus and training {recipe.steps} steps …", markup=False)
    try:
        log = train(out, recipe, lambda now: progress.print(_line(now), markup=False))
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise MissingExtra("torch", "torch") from error
        raise
    progress.print("Answering the questions …")
    log["questions"] = score_questions(out)
    write_log(out, log)
    write_card(out)
    if as_json:
        import json

        click.echo(json.dumps(log, indent=1))
        return
    score = log["held_out_sums"]
    out_console = console()
    out_console.print(
        f"{score['right']:.1%} of {score['n']} held-out sums right, "
        f"{log['elapsed_s'] / 60:.0f} min",
        markup=False,
    )
    files = ("--model", out / "model.pth", "--tokenizer", out / "tokenizer.json")
    ask = command_line("ask", *files, "What is 47 + 38?")
    out_console.print(f"Next: {ask}", markup=False, soft_wrap=True)


def score_questions(folder: Path) -> dict[str, Any]:
    """How many of its questions the model in `folder` answers rightly under `cpu fp32`."""
    from harness.config.load import load_study
    from harness.engines.base import ModelSource
    from harness.engines.registry import load_engine
    from harness.language.tokenizer import load_tokenizer
    from harness.measure.answers import measure_answers
    from harness.measure.job import Answered, Job
    from harness.quickstart import files

    loaded = load_study(files.BUILTIN)
    answers = loaded.study.workloads.answers
    if answers is None:
        raise HarnessError("the quickstart study asks no questions")
    job = Job(
        engine="torch",
        strategy="cpu fp32",
        weights=str(folder / files.WEIGHTS_NAME),
        weights_seed=0,
        threads=1,
        seed=0,
        prompt=next(iter(loaded.files.values())).prompt,
        questions=list(loaded.questions),
    )
    engine = load_engine(job.engine)
    session = engine.open(ModelSource(weights=Path(job.weights)), job.strategy, threads=1)
    tokenizer = load_tokenizer(folder / files.TOKENIZER_NAME)
    got: list[Answered] = []
    measure_answers(session, tokenizer, job, answers, engine.clock, got.append)
    sums = [a.answer for a in got if a.answer.category in ("addition", "subtraction")]
    return {
        "n": len(got),
        "right": sum(a.answer.right is True for a in got),
        "sums": {"n": len(sums), "right": sum(a.right is True for a in sums)},
    }


def _line(now: Progress) -> str:
    left = now.elapsed_s / now.step * (now.steps - now.step)
    share = now.held_out_right
    right = "" if share is None else f", held-out sums {100 * share:.0f} %"
    return f"step {now.step}/{now.steps}, loss {now.loss:.4f}{right}, {left / 60:.0f} min left"
