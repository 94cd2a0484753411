"""The command `finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from harness.cli.options import Data, Device, key_values
from harness.evaluation.tuning import tuned

app = App()
To = Annotated[Path | None, Parameter(help="Folder for training states, log and checkpoint [default: runs/...]")]
Set = Annotated[
    list[str] | None,
    Parameter(name="--set", help="Changed settings of the recipe: --set rate=1e-5 --set steps=500; see `recipes`"),
]


@app.command
def finetune(
    *,
    model: Annotated[str, Parameter(help="Model name, as `models` lists them.")],
    task: Annotated[
        str | None, Parameter(help="Task names, with commas or globs [default: every task of the recipe]")
    ] = None,
    recipe: Annotated[str | None, Parameter(help="A recipe for fine-tuning [default: the model's]")] = None,
    weights: Annotated[
        str | None, Parameter(help="Checkpoint folder, or hub repository, in place of the model's own.")
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

    `run --weights` takes the checkpoint that it writes.  Interrupted at any moment, the same command resumes.
    On several GPUs: torchrun --nproc-per-node N -m harness finetune ...
    """
    folder = tuned(
        model, task=task, recipe=recipe, weights=weights, split=split, data=data, changes=key_values(set_),
        workers=workers, device=device, to=to,
    )  # fmt: skip
    print(f"checkpoint: {folder}")
