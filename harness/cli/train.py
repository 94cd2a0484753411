"""The commands `train` and `recipes`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from baselines.florence2 import choose_device
from harness.cli.finetune import Set, To
from harness.cli.options import Device, key_values
from harness.evaluation.tuning import RUNS

app = App()


@app.command
def train(
    *,
    recipe: Annotated[str, Parameter(help="A recipe that draws its own scenes, such as nano; `recipes` lists all.")],
    start: Annotated[Path | None, Parameter(help="Checkpoint folder to start from [default: random weights]")] = None,
    set_: Set = None,
    device: Device = None,
    to: To = None,
) -> None:
    """Pre-train a model by a recipe on drawn scenes; interrupted at any moment, the same command resumes."""
    from harness.training import recipes
    from harness.training.parallel import process_group
    from harness.training.recipe import changed
    from harness.training.scenes import teach
    from tasks.miniature.pretraining import FIRST_PRETRAINING_SEED, pretraining_scene
    from tasks.miniature.training import every_scene

    chosen = changed(recipes.find(recipe), key_values(set_))
    with process_group(choose_device(device)) as mine:
        folder = teach(
            chosen,
            pretraining_scene,
            FIRST_PRETRAINING_SEED,
            to or RUNS / recipe,
            start=start,
            vocabulary=every_scene,
            device=mine,
        )
    print(f"checkpoint: {folder}")


@app.command(name="recipes")
def list_recipes(
    name: Annotated[str | None, Parameter(help="A recipe to show with all its settings.")] = None, /
) -> None:
    """List training recipes, or show one with every setting and which of them the paper states."""
    from dataclasses import asdict
    from pprint import pformat

    from harness.training import recipes

    if name is None:
        for one in recipes.RECIPES.values():
            print(f"{one.name:14} {one.about}")
        return
    one = recipes.find(name)
    print(pformat(asdict(replace(one, stated=())), width=110, sort_dicts=False))
    print(f"stated by the paper: {', '.join(one.stated) or 'nothing'}; the rest is ours")
