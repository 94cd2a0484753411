"""What the training of all rivals shares: the state of a training, random numbers, and the folder of a checkpoint.

The training state holds what training changes, not the frozen weights, which the starting checkpoint has.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from baselines.entry import Setting
from baselines.pretrained import TEXT_FILES, Checkpoint, LoadOptions, Pretrained, load
from harness.errors import UsageError
from harness.florence2.adapters import adapter_files, read_adapter_config
from harness.florence2.files import is_adapter, weight_files
from harness.florence2.tensors import read_file
from harness.training.history import TrainingRun, write_history
from harness.training.lessons import Batch, Loss
from harness.training.loop import Batches, fit
from harness.training.recipe import Plan, RivalRecipe
from harness.training.teaching import put_in_place, refuse_not_finite


class RivalLesson(nn.Module):
    """The loss of a model of transformers on a batch: a subclass gives `loss`.

    Dropout draws from a generator of (seed, step, images), so a resumed training draws what an uninterrupted one does.
    """

    def __init__(self, model: nn.Module, seed: int) -> None:
        super().__init__()
        self.model = model
        self.seed = seed

    def loss(self, batch: Batch, device: torch.device) -> Loss:
        """This batch's contribution to the loss of its step, and to the loss of each kind."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Loss:
        """See `loss`."""
        device = next(self.model.parameters()).device
        images = zlib.crc32("\n".join(batch.names).encode())
        with _drawing(int(np.random.default_rng((self.seed, 5, batch.step, images)).integers(2**62)), device):
            return self.loss(batch, device)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The tensors that are not frozen parameters."""
        frozen = {name for name, p in self.named_parameters(remove_duplicate=False) if not p.requires_grad}
        return {name: tensor for name, tensor in super().state_dict(*args, **kwargs).items() if name not in frozen}

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        """Restores what `state_dict` gave; KeyError for the state of another network."""
        if state_dict.keys() != self.state_dict().keys():
            raise KeyError("the training state has tensors of another network")
        return super().load_state_dict(state_dict, strict=False)


@contextmanager
def _drawing(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers from `seed` within the context; outside it, the sequence goes on as if nothing were drawn."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def start_of(
    checkpoint: Checkpoint, weights: str | None, class_name: str, recipe: RivalRecipe, device: str
) -> Pretrained:
    """The loaded starting checkpoint.  With adapters on a GPU, its weights have the recipe's precision.

    UsageError for an adapter as a start, and for a precision that training on this device does not have.
    """
    precision = recipe.plan.precision
    if precision != "float32" and not device.startswith("cuda"):
        raise UsageError(f"precision={precision} needs a GPU for this model; on a CPU: --set precision=float32")
    if is_adapter(folder := checkpoint.folder(weights)):
        raise UsageError(f"{folder} is an adapter, and the training of {checkpoint.name} starts from whole weights")
    setting = Setting(weights=weights, device=device, dtype=precision if recipe.lora else "float32")
    return load(class_name, checkpoint, setting, LoadOptions())


def name_of(checkpoint: Checkpoint, weights: str | None) -> tuple[str, str | None]:
    """The folder or the repository of starting weights, and the revision, as an adapter's settings name its base."""
    if weights is None:
        return checkpoint.repo, checkpoint.revision
    if (folder := Path(weights).expanduser()).is_dir():
        return str(folder.resolve()), None
    repo, _, revision = weights.partition("@")
    return repo, revision or None


def trained(lesson: RivalLesson, batches: Batches, plan: Plan, out: Path, identity: str) -> None:
    """Trains the lesson's model in place by the plan; afterwards it has the moving average, if the plan has one."""
    trainable = [parameter for parameter in lesson.parameters() if parameter.requires_grad]
    average = None
    if plan.average:
        copies = nn.ParameterList(nn.Parameter(p.detach().clone(), requires_grad=False) for p in trainable)
        average = nn.ParameterList(trainable), copies
    fit(lesson, batches, plan, out, identity=identity, average=average)
    if average is not None:
        with torch.no_grad():
            for parameter, mean in zip(*average, strict=True):
                parameter.copy_(mean)


def save(
    folder: Path,
    state: dict[str, Tensor],
    write: Callable[[Path], object],
    before: list[TrainingRun] | None,
    run: TrainingRun,
) -> Path:
    """Writes a checkpoint folder with its training history; `state` is refused if a tensor of it is not finite."""
    refuse_not_finite(state, folder)

    def complete(partial: Path) -> None:
        partial.mkdir(parents=True)
        write(partial)
        write_history(partial, before, run)

    return put_in_place(folder, complete)


def save_whole(model: Any, start: Path, folder: Path) -> None:
    """Writes all weights to `folder`, with the texts of the folder `start`: tokenizer and image processor."""
    model.save_pretrained(folder)
    for name in TEXT_FILES:
        if (start / name).is_file() and not (folder / name).exists():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(start / name, folder / name)


def check(folder: Path) -> None:
    """CheckpointError for a damaged checkpoint: an adapter or whole weights."""
    if is_adapter(folder):
        read_adapter_config(folder)
        read_file(adapter_files(folder)[1])
    else:
        for path in weight_files(folder):
            read_file(path)
