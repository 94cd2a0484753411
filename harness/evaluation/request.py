"""A Request holds every setting of an evaluation; `run`, `gate`, `ablate` and `harness.evaluate` build one."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from baselines import Entry, Setting
from harness.cluster.ray_cluster import Spread
from harness.core import Model, Sample, Task
from harness.errors import UsageError
from harness.metrics.java import LACKING, java
from harness.shards import Shard
from harness.store import RESULTS as RESULTS

PROTOCOLS = ("zero_shot", "few_shot", "fine_tuned")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorers:
    """The code that scores, where several implementations give equal numbers; and the metrics that need Java."""

    caption_scorer: Literal["own", "official"] = "own"
    "Scorer of captions; official: pycocoevalcap's pipeline, which needs Java"
    meteor: bool | None = None
    "METEOR of captions; its program needs Java and 1.4 GB of memory [default: where Java is installed]"
    spice: bool = False
    "SPICE of captions; needs Java, and Stanford's models in pycocoevalcap's folder"
    detection_scorer: Literal["pycocotools", "hotcoco"] = "pycocotools"
    "Scorer of detections; hotcoco gives the same numbers faster on large sets"
    intervals: bool = True
    "Intervals of the metrics; `score RUN` adds those of a run without"

    def of(self, task: Task[Any]) -> Task[Any]:
        """The task with those of these scorers that it has; ResourceError where a scorer is not installed."""
        if not self.intervals:
            task = replace(task, intervals=replace(task.intervals, resamples=0))
        variants: list[str] = [self.caption_scorer, self.detection_scorer]
        variants += [name for name, on in (("meteor", self.meteor), ("spice", self.spice)) if on]
        if self.meteor is None and "meteor" in task.variants:
            if java() is None:
                log.warning("%s: no METEOR, since %s", task.name, LACKING)
            else:
                variants.append("meteor if it runs")
        for name in variants:
            if name in task.variants:
                task = replace(task.variants[name].apply(task), marking=(*task.marking, name.partition(" ")[0]))
        return task


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One evaluation: a model, and one or several splits of one or several tasks.

    `task` is a Task, or names with commas, globs, `package.module:NAME` or "all"; `model` is a name,
    `package.module:NAME`, an Entry or a Model object.  `options` are fields of the model's options class.  None leaves
    a setting to the task or the model.
    """

    task: str | Task[Any]
    model: str | Entry | Model
    split: str | None = None  # with commas, or "all"; None: the task's first
    data: str | None = None  # a data root, a dataset.toml, or "miniature"
    annotations: Path | None = None  # a file or folder in the task's official format; replaces the data root's
    images: Path | None = None  # a folder of images; replaces the task's own
    strict: bool = False  # refuse annotations that need a conversion
    candidates: str | None = None  # the first run of a re-ranking task: its id, the beginning of it, or its folder
    top: int | None = None  # candidates of a query; None: 128
    protocol: str | None = None
    name: str | None = None  # the model's name in results
    limit: int | None = None  # number of images, sampled with `seed`
    seed: int = 0
    shard: Shard | None = None  # the part of the images that is asked; None: all
    spread: Spread | None = None  # over the workers of a Ray cluster; None: one process
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
        """UsageError for a protocol, a limit or a name that is not possible."""
        if self.protocol not in (None, *PROTOCOLS):
            raise UsageError(f"--protocol {self.protocol}: {', '.join(PROTOCOLS[:-1])} or {PROTOCOLS[-1]}")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit {self.limit}: a run needs at least one image")
        if self.top is not None and (self.candidates is None or self.top < 1):
            raise UsageError(f"--top {self.top}: the number of candidates of a query, from 1, with --candidates RUN")
        if self.name is not None:
            refuse_name(self.name)
        if self.shard is not None and self.export is not None:
            raise UsageError("--export: a shard has no predictions; `merge` joins the shards, then `export RUN`")

    def setting(self, root: Path = Path(), samples: Sequence[Sample[Any]] = ()) -> Setting:
        """The setting that the model is built with."""
        return Setting(
            root=root,
            samples=samples,
            weights=self.weights,
            device=self.device,
            dtype=self.dtype,
            batch_size=self.batch_size,
        )

    def called(self, entry: Entry | None) -> str:
        """The model's name in results: `name`, else the name of its weights, else its own; and how many examples."""
        if self.name is not None:
            return self.name
        shots = entry.shots_of(self.options) if entry is not None else 0
        shown = f" ({shots} shot{'s' if shots > 1 else ''})" if shots else ""
        if self.weights is not None:
            return name_of_weights(self.weights)[: 100 - len(shown)] + shown
        return (entry.name if entry is not None else type(self.model).__name__) + shown


def refuse_name(name: str) -> None:
    """UsageError for a name that cannot be a folder name or a table cell."""
    if not re.fullmatch(r"[\w.+@-][\w .+@()-]{0,99}", name):
        raise UsageError(f"--name {name[:60]!r}: up to 100 letters, digits, spaces and . _ + @ ( ) -, no slash")


def name_of_weights(weights: str) -> str:
    """The name of a checkpoint folder or repository; for a folder called `checkpoint`, the name of its parent."""
    parts = [part for part in Path(weights).expanduser().absolute().parts[1:] if part != "checkpoint"]
    return re.sub(r"[^\w .+@()-]", "_", parts[-1] if parts else "")[:100].lstrip(" ()") or "weights"
