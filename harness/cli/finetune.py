"""Commands that make weights: train, finetune, recipes."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter, validators

import baselines
import tasks
from harness.cli.options import MINIATURE, Data, root_of
from harness.data import manifest
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.protocols.finetune import Taught

app = App()
RUNS = Path("runs")

To = Annotated[Path | None, Parameter(help="Where states, log and checkpoint go [default: runs/...]")]
Device = Annotated[str | None, Parameter(help="cpu, cuda, cuda:1 ... [default: a GPU if there is one]")]
Set = Annotated[
    list[str] | None,
    Parameter(name="--set", help="Change a setting of the recipe: --set rate=1e-5 --set steps=500; see `recipes`"),
]


@app.command
def finetune(
    *,
    model: Annotated[str, Parameter(help="A Florence-2 by name, as `models` lists them.")],
    task: Annotated[
        str | None, Parameter(help="Task names, with commas or globs [default: every task of the recipe]")
    ] = None,
    recipe: Annotated[
        str | None, Parameter(help="A recipe for fine-tuning [default: unified, nano-unified for the nano]")
    ] = None,
    weights: Annotated[
        str | None, Parameter(help="Checkpoint folder, or hub repository, instead of the model's own.")
    ] = None,
    split: Annotated[str | None, Parameter(help="Training splits, with commas [default: all of each task's]")] = None,
    data: Data = None,
    set_: Set = None,
    workers: Annotated[
        int | None,
        Parameter(
            help="Processes that read images [default: 4 on a GPU, else none]", validator=validators.Number(gte=0)
        ),
    ] = None,
    device: Device = None,
    to: To = None,
) -> None:
    """Fine-tune a checkpoint on tasks' training splits: one task, several, or the paper's mixture of all.

    The checkpoint it gives is what `run --weights` takes; killed at any moment, the same command goes on from there.
    On several GPUs: torchrun --nproc-per-node N -m harness finetune ...
    """
    folder = tuned(
        model, task=task, recipe=recipe, weights=weights, split=split, data=data, changes=settings(set_),
        workers=workers, device=device, to=to,
    )  # fmt: skip
    print(f"checkpoint: {folder}")


def tuned(
    model: str,
    *,
    task: str | None,
    recipe: str | None = None,
    weights: str | None = None,
    split: str | None = None,
    data: str | None = None,
    changes: dict[str, str] | None = None,
    workers: int | None = None,
    device: str | None = None,
    to: Path | None = None,
) -> Path:
    """The checkpoint folder of a fine-tuned model: made, gone on with, or found finished."""
    from harness.protocols import finetune as protocol
    from harness.training import recipes
    from harness.training.parallel import process_group
    from tasks import miniature

    given: dict[str, str | None] = {
        "--task": task,
        "--recipe": recipe,
        "--weights": weights,
        "--split": split,
        "--to": None if to is None else str(to),
    }
    for flag, value in given.items():
        if value is not None and not value.strip(" ."):
            raise UsageError(f"{flag} is empty")
    entry = baselines.find(model)
    begin = baselines.florence2.checkpoint_folder(model, weights)
    chosen = recipes.changed(recipes.find(recipe or ("nano-unified" if entry.embedded else "unified")), changes or {})
    mixing = protocol.mixing_of(chosen)
    wanted = protocol.choose(chosen, tasks.select(task or ",".join(mixing.tasks)), split)
    data_name, root = root_of(data, model, entry.embedded)
    guarded = root
    if data_name == MINIATURE:
        root = miniature.ensure_training()
    if task is None:
        wanted = _at_hand(wanted, root)
    guards = [one for name in mixing.kept_out for one in tasks.select(name)]
    told = (sorted(wanted), split, data_name, weights, sorted((changes or {}).items()))
    out = to or RUNS / f"{model}-{chosen.name}-{hashlib.sha256(repr(told).encode()).hexdigest()[:8]}"
    with process_group(baselines.florence2.choose_device(device)) as mine:
        if workers is None:
            workers = 4 if mine.startswith("cuda") else 0
        return protocol.finetune(
            chosen,
            wanted,
            root,
            begin,
            out,
            guards=guards,
            guarded=guarded,
            device=mine,
            workers=workers,
        )


def _at_hand(wanted: dict[str, Taught], root: Path) -> dict[str, Taught]:
    """The tasks whose training files are there, of a recipe's; it is said which are left out."""
    lacking = [name for name, taught in wanted.items() if manifest.missing(taught.task, root, taught.splits)]
    if not lacking or len(lacking) == len(wanted):
        return wanted
    print(f"no training files of {', '.join(lacking)}, which are left out; see `data check`", file=sys.stderr)
    return {name: taught for name, taught in wanted.items() if name not in lacking}


def settings(pairs: list[str] | None) -> dict[str, str]:
    """`key=value` pairs; UsageError where one is none."""
    found = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair}: key=value, as --set rate=1e-5")
        found[key.strip()] = value.strip()
    return found
