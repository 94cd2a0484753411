"""The command `run`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from baselines import Entry
from harness import store
from harness.cli.options import (
    RESULTS,
    Annotations,
    Data,
    Images,
    Json,
    ModelSetting,
    Out,
    Seed,
    Split,
    TaskNames,
    changed_options,
    command_line,
    options_type,
    show_run,
)
from harness.core import Run
from harness.errors import IncompleteError
from harness.evaluation.evaluate import evaluate_each
from harness.evaluation.request import Request, Scorers


def command(entry: Entry | None) -> Callable[..., None]:
    """The command with the options of a model."""

    def run(
        *,
        task: TaskNames,
        model: Annotated[str, Parameter(help="Model name (`models` lists them), or package.module:NAME.")],
        split: Split = None,
        data: Data = None,
        annotations: Annotations = None,
        images: Images = None,
        setting: ModelSetting = ModelSetting(),
        protocol: Annotated[
            str | None,
            Parameter(
                help="zero_shot: the weights as they are.  fine_tuned: fine-tuned on the task's training splits first; "
                "with --weights, nothing is trained and the given weights are filed as fine-tuned [default: what the "
                "weights say of their training]"
            ),
        ] = None,
        name: Annotated[
            str | None,
            Parameter(help="Name of the model in results and reports [default: that of --weights, else of --model]"),
        ] = None,
        limit: Annotated[
            int | None, Parameter(help="Number of images, drawn with --seed; the run is marked partial.")
        ] = None,
        seed: Seed = 0,
        scorers: Annotated[Scorers, Parameter(name="*")] = Scorers(),
        export: Annotated[Path | None, Parameter(help="Folder for predictions in the official result formats.")] = None,
        out: Out = RESULTS,
        fresh: Annotated[bool, Parameter(negative=(), help="Discard kept answers and query again.")] = False,
        json: Json = False,
        options: Any = None,
    ) -> None:
        """Evaluate a model on tasks: query it, keep the answers, score them, print the result with its intervals.

        The same command again resumes an interrupted run; a finished run prints its result and queries nothing.
        `run --model NAME --help` adds the options of that model.

        python -m harness run --task refcoco_res --model florence2-nano

        python -m harness run --task 'refcoco*' --model florence2-b --weights runs/mine --name mine --data /data

        python -m harness run --task coco_detection --model florence2-b --annotations mine.json --images photos/
        """
        request = Request(
            task=task, model=model, split=split, data=data, annotations=annotations, images=images, protocol=protocol,
            name=name, limit=limit, seed=seed, options=changed_options(options) if options is not None else {},
            scorers=scorers, export=export, out=out, fresh=fresh, command=command_line(), **asdict(setting),
        )  # fmt: skip
        runs: list[Run] = []
        for one in evaluate_each(request):
            runs.append(one.run)
            if one.finished:
                date = one.run.provenance.get("date", "before")
                print(f"nothing was queried: this run was finished on {date}; --fresh queries again", file=sys.stderr)
            if one.exported is not None:
                print(f"predictions: {one.exported}", file=sys.stderr)
            if not json:
                show_run(one.run, one.folder, json)
        if json:
            print(store.as_json(runs[0] if len(runs) == 1 else runs))
        incomplete = [f"{run.spec.task} {run.spec.split}" for run in runs if run.status == "incomplete"]
        if incomplete:
            raise IncompleteError(
                f"{', '.join(incomplete)}: some questions failed, so there is no headline; the same command queries "
                "them again"
            )

    run.__annotations__["options"] = options_type(entry)
    (run.__kwdefaults__ or {})["options"] = entry.options() if entry is not None else None
    return run
