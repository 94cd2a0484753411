"""The command `run`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from baselines import Entry
from harness import store, tracking
from harness.cli.model_options import changed_options, options_type
from harness.cli.options import (
    ONE_PROCESS,
    RESULTS,
    Annotations,
    Candidates,
    Data,
    Images,
    Json,
    LogTo,
    ModelSetting,
    Out,
    Seed,
    Split,
    Strict,
    TaskNames,
    Top,
    Workers,
    command_line,
    show_run,
)
from harness.core import Run
from harness.errors import IncompleteError, UsageError
from harness.evaluation import grid
from harness.evaluation.fetching import fetch as fetching_of
from harness.evaluation.request import Request, Scorers
from harness.report import text
from harness.shards import parse as parse_shard
from harness.sinks import line


def command(entry: Entry | None) -> Callable[..., None]:
    """The command `run` with the options of a model."""

    def run(
        *,
        task: TaskNames,
        model: Annotated[
            str,
            Parameter(
                help="Model name (`models` lists them), package.module:NAME, or several names with commas and globs"
            ),
        ],
        split: Split = None,
        data: Data = None,
        annotations: Annotations = None,
        images: Images = None,
        strict: Strict = False,
        candidates: Candidates = None,
        top: Top = None,
        setting: ModelSetting = ModelSetting(),
        protocol: Annotated[
            str | None,
            Parameter(
                help="Protocol: zero_shot, the weights as they are; few_shot, for a model with --shots; or fine_tuned, "
                "after fine-tuning on the task's training splits (nothing is trained for --weights) [default: from "
                "--shots and the training history of the weights]"
            ),
        ] = None,
        name: Annotated[
            str | None,
            Parameter(help="Model name in results and reports [default: the name of --weights, else of --model]"),
        ] = None,
        limit: Annotated[
            int | None,
            Parameter(help="Number of images, sampled with --seed; the run is then partial [default: all images]"),
        ] = None,
        seed: Seed = 0,
        shard: Annotated[
            str | None,
            Parameter(help="Part of the images to ask, such as 3/16, for independent jobs; `merge` joins the parts"),
        ] = None,
        workers: Workers = ONE_PROCESS,
        scorers: Annotated[Scorers, Parameter(name="*")] = Scorers(),
        export: Annotated[
            Path | None,
            Parameter(help="Folder for predictions in the official result format [default: none are written]"),
        ] = None,
        out: Out = RESULTS,
        fresh: Annotated[bool, Parameter(negative=(), help="New queries; kept answers are discarded")] = False,
        fetch: Annotated[
            bool, Parameter(negative=(), help="Missing data is fetched first, as by `data fetch`")
        ] = False,
        json: Json = False,
        log_to: LogTo = None,
        options: Any = None,
    ) -> None:
        """Evaluate a model on tasks: query the model, keep its answers, score them, and print metrics with intervals.

        The same command resumes an interrupted run.  A finished run prints its result without a query.
        `run --model NAME --help` adds the options of that model.

        python -m harness run --task refcoco_res --model florence2-nano

        python -m harness run --task 'refcoco*' --model florence2-b --weights runs/mine --name mine --data /data

        python -m harness run --task coco_detection --model florence2-b --annotations mine.json --images photos/

        python -m harness run --task all --model florence2-nano,whole-image --limit 20

        python -m harness run --task vqav2 --model florence2-b --data /data --shard 3/16

        python -m harness run --task flickr30k_rerank --model blip2-itm --candidates 3f2a --data /data
        """
        request = Request(
            task=task, model=model, split=split, data=data, annotations=annotations, images=images, strict=strict,
            candidates=candidates, top=top, protocol=protocol, name=name, limit=limit, seed=seed,
            shard=parse_shard(shard) if shard is not None else None, spread=workers.spread(),
            options=changed_options(options) if options is not None else {}, scorers=scorers,
            export=export, out=out, fresh=fresh, command=command_line(), **asdict(setting),
        )  # fmt: skip
        planned = grid.plan(request)
        if fetch:
            if annotations is not None or images is not None:
                raise UsageError("--fetch is of published data; --annotations and --images are your own")
            fetching = fetching_of(task, split, data)
            for progress in fetching:
                print(text.block(progress), file=sys.stderr)
            fetching.check()
        runs: list[Run] = []
        for evaluated in tracking.sent(planned, log_to or ()):
            runs.append(evaluated.run)
            if evaluated.finished:
                date = evaluated.run.provenance.get("date", "before")
                print(
                    line(f"nothing was queried: this run was finished on {date}; --fresh queries again"),
                    file=sys.stderr,
                )
            if evaluated.exported is not None:
                print(line(f"predictions: {evaluated.exported}"), file=sys.stderr)
            if not json:
                show_run(evaluated.run, evaluated.folder, json)
        if json:
            print(store.as_json(runs[0] if len(runs) == 1 else runs))
        elif len(planned.models) > 1:
            print(text.matrix(planned.models, runs))
        if planned.cells:
            print(text.block(planned.missing()), file=sys.stderr)
        unfinished = [run.spec for run in runs if run.status == "incomplete"]
        if unfinished:
            names = ", ".join(f"{spec.task} {spec.split}" for spec in unfinished)
            raise IncompleteError(
                f"{names}: some questions failed, so there is no headline; run the same command to query them again"
            )
        planned.check()

    run.__annotations__["options"] = options_type(entry)
    (run.__kwdefaults__ or {})["options"] = entry.options() if entry is not None else None
    return run
