"""The fine-tuned protocol by name: a model, tasks and a recipe to the folder of a checkpoint."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import baselines
import tasks
from baselines import Entry
from harness.core import Task
from harness.data import manifest
from harness.errors import UsageError
from harness.evaluation.plan import MINIATURE, data_root

if TYPE_CHECKING:
    from harness.evaluation.request import Request
    from harness.protocols.finetune import Taught

RUNS = Path("runs")
log = logging.getLogger(__name__)


def fine_tuned(request: Request, entry: Entry, chosen: Sequence[Task[Any]]) -> Path:
    """The checkpoint that a request's model becomes on its tasks' training splits: made, resumed, or found finished."""
    named = request.task if isinstance(request.task, str) else request.task.name
    taught = [task.name for task in chosen if task.train_splits]
    if not taught:
        raise UsageError(f"--protocol fine_tuned: {named} has no training split; --protocol zero_shot asks as it is")
    return tuned(entry, task=None if named == "all" else ",".join(taught), data=request.data, device=request.device)


def tuned(
    model: str | Entry,
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
    """The checkpoint folder of a fine-tuned model: made, resumed, or found finished.

    UsageError for a model that cannot be fine-tuned here, and for choices that contradict each other.
    """
    from baselines.florence2 import choose_device
    from harness.protocols import finetune as protocol
    from harness.training import recipes
    from harness.training.parallel import process_group
    from harness.training.recipe import changed
    from tasks import miniature

    given: dict[str, str | None] = {
        "--task": task, "--recipe": recipe, "--weights": weights, "--split": split,
        "--to": None if to is None else str(to),
    }  # fmt: skip
    for flag, value in given.items():
        if value is not None and not value.strip(" ."):
            raise UsageError(f"{flag} is empty")
    entry = baselines.find(model) if isinstance(model, str) else model
    if entry.checkpoint is None:
        able = ", ".join(name for name, other in baselines.MODELS.items() if other.checkpoint is not None)
        raise UsageError(f"{entry.name} cannot be fine-tuned here; there are {able}")
    begin = entry.checkpoint(weights)
    chosen = changed(recipes.find(recipe or entry.recipe), changes or {})
    mixing = protocol.mixing_of(chosen)
    wanted = protocol.choose(chosen, tasks.select(task or ",".join(mixing.tasks)), split)
    data_name, root = data_root(data, entry.name, embedded=entry.embedded)
    guarded = root
    if data_name == MINIATURE:
        root = miniature.ensure_training()
    if task is None:
        wanted = _with_data(wanted, root)
    guards = [one for name in mixing.kept_out for one in tasks.select(name)]
    asked = (sorted(wanted), split, data_name, weights, sorted((changes or {}).items()))
    out = to or RUNS / f"{entry.name}-{chosen.name}-{hashlib.sha256(repr(asked).encode()).hexdigest()[:8]}"
    with process_group(choose_device(device)) as mine:
        if workers is None:
            workers = 4 if mine.startswith("cuda") else 0
        return protocol.finetune(
            chosen, wanted, root, begin, out, guards=guards, guarded=guarded, device=mine, workers=workers
        )


def _with_data(wanted: dict[str, Taught], root: Path) -> dict[str, Taught]:
    """The tasks of a recipe whose training files are there; the others are logged."""
    lacking = [name for name, taught in wanted.items() if manifest.missing(taught.task, root, taught.splits)]
    if not lacking or len(lacking) == len(wanted):
        return wanted
    log.warning("no training files of %s, which are left out; see `data check`", ", ".join(lacking))
    return {name: taught for name, taught in wanted.items() if name not in lacking}
