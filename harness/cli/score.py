"""The command `score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from harness.cli.options import RESULTS, Candidates, Data, Json, Out, Split, Strict, Top, command_line, show_run
from harness.errors import UsageError
from harness.evaluation.request import Scorers
from harness.evaluation.scoring import score as score_predictions
from harness.evaluation.scoring import score_again

app = App()


@app.command
def score(
    run: Annotated[
        str | None, Parameter(help="Run id (or its beginning) or folder, whose kept answers are scored again")
    ] = None,
    /,
    *,
    task: Annotated[
        str | None,
        Parameter(help="Task of --predictions; with RUN, package.module:NAME of another package's task"),
    ] = None,
    predictions: Annotated[
        Path | None, Parameter(help="File of predictions in the benchmark's result format (`tasks` describes it)")
    ] = None,
    annotations: Annotated[Path | None, Parameter(help="Annotation file or folder [default: the data root's]")] = None,
    name: Annotated[
        str | None,
        Parameter(name=["--name", "--model"], help="Name of the predicting model [default: the file's name]"),
    ] = None,
    candidates: Candidates = None,
    top: Top = None,
    split: Split = None,
    data: Data = None,
    strict: Strict = False,
    seed: Annotated[int, Parameter(help="Random seed for the bootstrap", validator=validators.Number(gte=0))] = 0,
    scorers: Annotated[Scorers, Parameter(name="*")] = Scorers(),
    calibrate_on: Annotated[
        str | None,
        Parameter(
            help="With RUN: a run of the same model on other images, whose boxes calibrate the scores; adds AP by "
            "calibrated scores, and the calibration error before and after"
        ),
    ] = None,
    calibration_data: Annotated[
        str | None, Parameter(help="Data root of the run of --calibrate-on [default: as for --data]")
    ] = None,
    out: Out = RESULTS,
    json: Json = False,
) -> None:
    """Score kept answers again, or predictions made elsewhere; needs no model, no torch and no GPU.

    python -m harness score --task vqav2 --predictions results.json --data /data

    python -m harness score --task flickr30k_rerank --predictions pairs.npz --candidates 3f2a --data /data

    python -m harness score 3f2a

    python -m harness score 3f2a --calibrate-on 9c01
    """
    if run is not None:
        if predictions or annotations or candidates or top is not None:
            raise UsageError("give either a RUN, or --task with --predictions")
        scored = score_again(
            run, task=task, data=data, scorers=scorers, calibrate_on=calibrate_on,
            calibration_data=data if calibration_data is None else calibration_data, out=out, command=command_line(),
        )  # fmt: skip
        show_run(*scored, json)
        return
    if calibrate_on is not None:
        raise UsageError("--calibrate-on is for a RUN, whose boxes have scores of the model")
    if task is None or predictions is None:
        raise UsageError("score needs a RUN, or --task T with --predictions FILE; see `score --help`")
    scored = score_predictions(
        task, predictions, annotations=annotations, candidates=candidates, top=top, name=name, split=split, data=data,
        seed=seed, scorers=scorers, strict=strict, out=out, command=command_line(),
    )  # fmt: skip
    show_run(*scored, json)
