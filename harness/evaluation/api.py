"""The functions of the public Python interface: each takes plain values and gives values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines import Entry
from harness import store
from harness.comparison import Comparison
from harness.core import Model, Run, Task
from harness.evaluation import comparing, scoring
from harness.evaluation.evaluate import evaluate as evaluate_request
from harness.evaluation.interface import LoadedModel
from harness.evaluation.request import Request, Scorers
from harness.report import frames

if TYPE_CHECKING:
    from pandas import DataFrame


def evaluate(
    task: str | Task[Any],
    model: str | LoadedModel | Entry | Model,
    *,
    data: str | Path | None = None,
    annotations: str | Path | None = None,
    images: str | Path | None = None,
    split: str | None = None,
    limit: int | None = None,
    seed: int = 0,
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
    """Evaluates a model on one split of a task: what `python -m harness run` does, as a value.

    Answers are kept under `out` as they come: the same call resumes an interrupted run, and returns a finished one
    without querying anything (`fresh` discards it).  `task` is a name or a Task; `model` is a name, a LoadedModel, an
    Entry, or any object with the three members of `harness.core.Model`.  `data` is a data root or "miniature";
    `annotations` (a file or folder in the task's official format) and `images` (a folder) are read in its place; `name`
    is what the model is called in results; `limit` is a number of images drawn with `seed`; `export` is a folder for
    predictions in the official format; `options` are the model's own, such as `beams=1`.

    `Run.metrics` has every metric in the units papers print (percent; CIDEr x 100), each an Estimate with its 95 %
    interval.  Raises a HarnessError (`harness.errors`) for what the caller can mend.
    """
    given: dict[str, Any] = {"weights": weights, "device": device, "dtype": dtype, "batch_size": batch_size}
    if isinstance(model, LoadedModel):
        loaded = {setting: getattr(model.setting, setting) for setting in given}
        given = {setting: value if value is not None else loaded[setting] for setting, value in given.items()}
        options = {**model.options, **options}
        model = model.entry
    given["weights"] = None if given["weights"] is None else str(given["weights"])
    return evaluate_request(
        Request(
            task=task,
            model=model,
            split=split,
            data=None if data is None else str(data),
            annotations=None if annotations is None else Path(annotations),
            images=None if images is None else Path(images),
            protocol=protocol,
            name=name,
            limit=limit,
            seed=seed,
            options=options,
            scorers=scorers or Scorers(),
            export=None if export is None else Path(export),
            out=Path(out),
            fresh=fresh,
            **given,
        )
    )


def score(
    task: str | Task[Any],
    predictions: str | Path,
    *,
    data: str | Path | None = None,
    annotations: str | Path | None = None,
    split: str | None = None,
    name: str | None = None,
    seed: int = 0,
    out: str | Path = "results",
    scorers: Scorers | None = None,
) -> Run:
    """Scores predictions made elsewhere, in the benchmark's official result format: needs no model and no torch.

    `annotations` is a file or folder in place of the data root's; `name` is what made the predictions.
    """
    run, _ = scoring.score(
        task,
        Path(predictions),
        annotations=None if annotations is None else Path(annotations),
        name=name,
        split=split,
        data=None if data is None else str(data),
        seed=seed,
        scorers=scorers,
        out=Path(out),
    )
    return run


def compare(
    a: str | Run, b: str | Run, *, data: str | Path | None = None, task: str | None = None, out: str | Path = "results"
) -> list[Comparison]:
    """Compares two runs, two models or two folders of results, sample by sample: a Comparison for each pair of runs.

    `a` and `b` are Runs, ids (or their beginnings), folders, or models' names; `task` names a task of another package.
    """
    names = [side.id if isinstance(side, Run) else side for side in (a, b)]
    pairs = comparing.compare_each(*names, data=None if data is None else str(data), task=task, out=Path(out))
    return [found for found, _ in pairs]


def read_runs(results: str | Path = "results") -> DataFrame:
    """Every metric of every run under a folder, a row each: `harness.report.frames.COLUMNS`, values unrounded."""
    return frames.table(record for _, record in store.runs(Path(results)))
