"""The commands `train` and `recipes`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from pprint import pformat
from typing import Annotated

from cyclopts import App, Parameter

from harness import tracking
from harness.cli.finetune import Set, To
from harness.cli.options import Device, LogTo, key_values
from harness.evaluation.tuning import pretrained
from harness.sinks import line

app = App()


@app.command
def train(
    *,
    recipe: Annotated[str, Parameter(help="Recipe for pre-training, such as nano; `recipes` lists recipes")],
    data: Annotated[
        str | None, Parameter(help="Engine folder, for recipes that are taught one, such as base-stage1")
    ] = None,
    start: Annotated[Path | None, Parameter(help="Checkpoint folder to start from [default: random weights]")] = None,
    set_: Set = None,
    device: Device = None,
    to: To = None,
    log_to: LogTo = None,
) -> None:
    """Pre-train a model by a recipe, on drawn scenes or an engine folder; the same command resumes a training.

    python -m harness train --recipe nano --to runs/nano
    """
    with tracking.to(log_to or ()):
        folder = pretrained(recipe, start=start, data=data, changes=key_values(set_), device=device, to=to)
    print(line(f"checkpoint: {folder}"))


@app.command(name="recipes")
def list_recipes(
    name: Annotated[str | None, Parameter(help="Recipe to show with all its settings [default: list all]")] = None, /
) -> None:
    """List training recipes, or show the settings of one and which of them the paper states."""
    from harness.training import recipes

    if name is None:
        for recipe in recipes.RECIPES.values():
            print(f"{recipe.name:14} {recipe.about}")
        return
    recipe = recipes.find(name)
    print(pformat(asdict(replace(recipe, stated=())), width=110, sort_dicts=False))
    print(f"stated by the paper: {', '.join(recipe.stated) or 'nothing'}; the rest is ours")
