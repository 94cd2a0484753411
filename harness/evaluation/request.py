"""What is to be evaluated: a Request holds every choice that `run`, `gate`, `ablate` and `harness.evaluate` make."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from baselines import Entry, Setting
from harness.core import Model, Sample, Task
from harness.errors import UsageError
from harness.metrics.java import LACKING, java

RESULTS = Path("results")
PROTOCOLS = ("zero_shot", "fine_tuned")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorers:
    """Which code scores, where several give the same number, and which metrics need Java."""

    caption_scorer: Literal["own", "official"] = "own"
    "official: pycocoevalcap's pipeline, which needs Java"
    meteor: bool | None = None
    "METEOR of captions as well; its program needs Java and 1.4 GB [default: where there is a Java]"
    spice: bool = False
    "SPICE of captions as well; needs Java, and Stanford's models in pycocoevalcap's folder"
    detection_scorer: Literal["pycocotools", "hotcoco"] = "pycocotools"
    "hotcoco gives the same numbers and is much faster on large sets"

    def of(self, task: Task[Any]) -> Task[Any]:
        """The task with these scorers, as far as it has them; ResourceError where one is not installed."""
        chosen = [self.caption_scorer, self.detection_scorer, *["meteor"] * bool(self.meteor), *["spice"] * self.spice]
        if self.meteor is None and "meteor" in task.variants:
            if java() is None:
                log.warning("%s: no METEOR, since %s", task.name, LACKING)
            else:
                chosen.append("meteor if it runs")
        for name in chosen:
            if name in task.variants:
                task = replace(task.variants[name].apply(task), marking=(*task.marking, name.partition(" ")[0]))
        return task


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One evaluation: a model, and one or several splits of one or several tasks.

    `task` is a Task, or names with commas, globs, `package.module:NAME` or "all"; `model` is a name,
    `package.module:NAME`, an Entry or a Model of one's own.  `options` are the fields of the model's options class.
    None leaves a choice to the task or the model.
    """

    task: str | Task[Any]
    model: str | Entry | Model
    split: str | None = None  # with commas, or "all"; None: the task's first
    data: str | None = None  # a data root, or "miniature"
    annotations: Path | None = None  # a file or folder in the task's official format, in place of the data root's
    images: Path | None = None  # a folder of images, in place of the task's own
    protocol: str | None = None
    name: str | None = None  # what the model is called in results
    limit: int | None = None  # images, drawn with `seed`
    seed: int = 0
    weights: str | None = None
    device: str | None = None
    dtype: str | None = None
    batch_size: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    scorers: Scorers = Scorers()
    export: Path | None = None  # a folder for predictions in the official formats
    out: Path = RESULTS
    fresh: bool = False
    command: Sequence[str] = ("harness.evaluate",)  # for the record

    def __post_init__(self) -> None:
        """UsageError for a choice that nothing can be evaluated by."""
        if self.protocol not in (None, *PROTOCOLS):
            raise UsageError(f"--protocol {self.protocol}: {' or '.join(PROTOCOLS)}")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit {self.limit}: a run asks about at least one image")
        if self.name is not None:
            refuse_name(self.name)

    def setting(self, root: Path = Path(), samples: Sequence[Sample[Any]] = ()) -> Setting:
        """What the model is built by."""
        return Setting(
            root=root,
            samples=samples,
            weights=self.weights,
            device=self.device,
            dtype=self.dtype,
            batch_size=self.batch_size,
        )

    def called(self, entry: Entry | None) -> str:
        """The model's name in results: as given, else that of its weights, else its own."""
        if self.name is not None:
            return self.name
        if self.weights is not None:
            return name_of_weights(self.weights)
        return entry.name if entry is not None else type(self.model).__name__


def refuse_name(name: str) -> None:
    """UsageError for a name that could not stand in a table, or be a folder."""
    if not re.fullmatch(r"[\w.+@-][\w .+@()-]{0,99}", name):
        raise UsageError(f"--name {name[:60]!r}: up to 100 letters, digits, spaces and . _ + @ ( ) -, no slash")


def name_of_weights(weights: str) -> str:
    """A folder's or a repository's name; of a folder called `checkpoint`, the name of the folder above it."""
    parts = [part for part in Path(weights).expanduser().absolute().parts[1:] if part != "checkpoint"]
    return re.sub(r"[^\w .+@()-]", "_", parts[-1] if parts else "")[:100].lstrip(" ()") or "weights"
