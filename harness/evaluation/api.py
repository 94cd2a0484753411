"""The functions of the public Python interface: each takes plain values and returns a value."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines import Entry
from harness import store
from harness.cluster.ray_cluster import Spread
from harness.comparison import Comparison
from harness.core import Model, Run, Task
from harness.errors import UsageError
from harness.evaluation import comparing, scoring
from harness.evaluation.evaluate import evaluate as evaluate_request
from harness.evaluation.interface import LoadedModel
from harness.evaluation.request import Request, Scorers
from harness.report import frames
from harness.shards import parse as parse_shard

if TYPE_CHECKING:
    from pandas import DataFrame


def evaluate(
    task: str | Task[Any],
    model: str | LoadedModel | Entry | Model,
    *,
    data: str | Path | None = None,
    annotations: str | Path | None = None,
    images: str | Path | None = None,
    strict: bool = False,
    candidates: str | Run | None = None,
    top: int | None = None,
    split: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    shard: str | None = None,
    executor: str = "local",
    spread: Spread | None = None,
    protocol: str | None = None,
    name: str | None = None,
    out: str | Path = "results",
    fresh: bool = False,
    export: str | Path | None = None,
    weights: str | Path | None = None,
    device: str | None = None,
    dtype: str | None = None,
    batch_size: int | None = None,
    scorers: Scorers | None = None,
    **options: Any,
) -> Run:
    """The run of a model on one split of a task; `python -m harness run` does the same.

    `task` is a name or a Task.  `model` is a name, a LoadedModel, an Entry, or any object with the three members of
    `harness.core.Model`.  `data` is a data root, "miniature", a dataset.toml, or a copy in parquet
    ("hf://OWNER/NAME" or a folder).  `annotations` (a file or folder in the task's official format) and `images` (a
    folder) replace those of the data root.  `strict` refuses annotations that need a conversion, which are else
    converted and noted in the record.  `limit` is a number of images, sampled with `seed`.  `shard`, such as
    "3/16", asks a part of the images, without scoring; `python -m harness merge` joins the parts.
    `executor="ray"` puts the model on the workers of a local Ray cluster; `spread`
    (`harness.cluster.ray_cluster.Spread`) says of which cluster, and how many.  `candidates` is the first
    run of a re-ranking task, and `top` the number of candidates of each query (None: 128).  `name` is the model's
    name in results.  `export` is a folder for predictions in the official format.  `options` are the model's own,
    such as `beams=1`.

    Answers are written under `out` as they arrive.  So the same call resumes an interrupted run, and returns a finished
    run without a query; `fresh` discards the kept answers first.

    `Run.metrics` has every metric in the units papers print (percent; CIDEr x 100), each an Estimate with its 95 %
    interval.  Raises a HarnessError (`harness.errors`) for a mistake that the caller can correct.
    """
    if executor not in ("local", "ray"):
        raise UsageError(f"executor={executor!r}: 'local', in this process, or 'ray', on the workers of a Ray cluster")
    settings: dict[str, Any] = {"weights": weights, "device": device, "dtype": dtype, "batch_size": batch_size}
    if isinstance(model, LoadedModel):
        loaded = model.setting
        settings = {name: value if value is not None else getattr(loaded, name) for name, value in settings.items()}
        options = {**model.options, **options}
        model = model.entry
    settings["weights"] = None if settings["weights"] is None else str(settings["weights"])
    return evaluate_request(
        Request(
            task=task,
            model=model,
            split=split,
            data=None if data is None else str(data),
            annotations=None if annotations is None else Path(annotations),
            images=None if images is None else Path(images),
            strict=strict,
            candidates=candidates.id if isinstance(candidates, Run) else candidates,
            top=top,
            protocol=protocol,
            name=name,
            limit=limit,
            seed=seed,
            shard=None if shard is None else parse_shard(shard),
            spread=spread or (Spread() if executor == "ray" else None),
            options=options,
            scorers=scorers or Scorers(),
            export=None if export is None else Path(export),
            out=Path(out),
            fresh=fresh,
            **settings,
        )
    )


def score(
    task: str | Task[Any],
    predictions: str | Path,
    *,
    data: str | Path | None = None,
    annotations: str | Path | None = None,
    strict: bool = False,
    candidates: str | Run | None = None,
    top: int | None = None,
    split: str | None = None,
    name: str | None = None,
    seed: int = 0,
    out: str | Path = "results",
    scorers: Scorers | None = None,
) -> Run:
    """The run of predictions made elsewhere, a file in the benchmark's official result format.

    Needs no model and no torch.  `annotations` is a file or folder that replaces those of the data root.  `strict`
    refuses files that need a conversion.  `candidates` and `top` are those of `evaluate`, for a re-ranking task.
    `name` is the name of the model that made the predictions; None: the file's name.
    """
    run, _ = scoring.score(
        task,
        Path(predictions),
        annotations=None if annotations is None else Path(annotations),
        candidates=candidates.id if isinstance(candidates, Run) else candidates,
        top=top,
        name=name,
        split=split,
        data=None if data is None else str(data),
        seed=seed,
        scorers=scorers,
        strict=strict,
        out=Path(out),
    )
    return run


def compare(
    a: str | Run, b: str | Run, *, data: str | Path | None = None, task: str | None = None, out: str | Path = "results"
) -> list[Comparison]:
    """A Comparison, sample by sample, for each pair of runs of two runs, two models or two folders of results.

    `a` and `b` are Runs, run ids (or their beginnings), folders, or names of models.  `task` is `package.module:NAME`
    for runs of another package's task.
    """
    names = [side.id if isinstance(side, Run) else side for side in (a, b)]
    pairs = comparing.compare_each(*names, data=None if data is None else str(data), task=task, out=Path(out))
    return [comparison for comparison, _ in pairs]


def read_runs(results: str | Path = "results") -> DataFrame:
    """A table with a row for each metric of each run under `results`, unrounded; columns: `harness.report.frames`."""
    return frames.table(record for _, record in store.runs(Path(results)))
