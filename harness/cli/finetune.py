"""The command `finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from harness import tracking
from harness.cli.options import Data, Device, LogTo, key_values
from harness.evaluation.tuning import tuned
from harness.sinks import line

app = App()
To = Annotated[
    Path | None, Parameter(help="Folder for training states, log and checkpoint [default: a folder under runs/]")
]
Set = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        negative=(),
        help="Setting of the recipe to change, as in --set rate=1e-5; may be repeated; `recipes NAME` lists them",
    ),
]


@app.command
def finetune(
    *,
    model: Annotated[str, Parameter(help="Model name (`models` lists them)")],
    task: Annotated[
        str | None, Parameter(help="Task names with commas, or a glob [default: every task of the recipe]")
    ] = None,
    recipe: Annotated[str | None, Parameter(help="Recipe for fine-tuning [default: the model's]")] = None,
    weights: Annotated[
        str | None, Parameter(help="Checkpoint folder or hub repository to start from [default: the model's own]")
    ] = None,
    split: Annotated[str | None, Parameter(help="Training splits with commas [default: all of each task]")] = None,
    data: Data = None,
    set_: Set = None,
    workers: Annotated[
        int | None,
        Parameter(
            help="Number of processes that read images [default: 4 on a GPU, else 0]",
            validator=validators.Number(gte=0),
        ),
    ] = None,
    skip_bad_images: Annotated[
        float | None,
        Parameter(
            help="Largest share of the training images, such as 0.01, that may be skipped because they cannot be read "
            "[default: stop at the first]",
            validator=validators.Number(gt=0, lt=1),
        ),
    ] = None,
    device: Device = None,
    to: To = None,
    log_to: LogTo = None,
) -> None:
    """Fine-tune a checkpoint on the training splits of one task, of several tasks, or of the paper's mixture of tasks.

    The command prints the folder of the checkpoint, which `run --weights` evaluates.  The same command resumes an
    interrupted training.
    On several GPUs: torchrun --nproc-per-node N -m harness finetune ...

    python -m harness finetune --model florence2-b --task refcoco --data /data
    """
    with tracking.to(log_to or ()):
        folder = tuned(
            model, task=task, recipe=recipe, weights=weights, split=split, data=data, changes=key_values(set_),
            workers=workers, device=device, to=to, skip_bad_images=skip_bad_images,
        )  # fmt: skip
    print(line(f"checkpoint: {folder}"))
