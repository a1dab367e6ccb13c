"""`train-quickstart`: make the shipped model again, from its corpus to its card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.console import console

if TYPE_CHECKING:
    from harness.quickstart.train import Progress


@click.command(short_help="Train the shipped model again.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("quickstart-model"),
    show_default=True,
    help="Folder for model.pth, tokenizer.json and training.json.",
)
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="CPU threads; two stall on small machines.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), help="Of weights and order.  [default: shipped]"
)
@click.option("--steps", type=click.IntRange(min=1), help="Fewer, for a try.  [default: shipped]")
@click.option("--json", "as_json", is_flag=True, help="Print the training log as JSON at the end.")
def command(*, out: Path, threads: int, seed: int | None, steps: int | None, as_json: bool) -> None:
    """Train the quickstart model on a corpus that is written on the spot.

    Takes about an hour on one core. The same seed gives the same model with the same torch on the
    same kind of machine.
    """
    from harness.errors import MissingExtra
    from harness.quickstart.train import Recipe, train

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
    out_console.print(
        f"Next: python -m harness ask --model {out}/model.pth --tokenizer {out}/tokenizer.json "
        "'What is 47 + 38?'",
        markup=False,
        soft_wrap=True,
    )


def _line(now: Progress) -> str:
    left = now.elapsed_s / now.step * (now.steps - now.step)
    right = "" if now.held_out_right is None else f", held-out sums {now.held_out_right:.0%}"
    return f"step {now.step}/{now.steps}, loss {now.loss:.4f}{right}, {left / 60:.0f} min left"
