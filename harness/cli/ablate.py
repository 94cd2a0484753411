"""The command `ablate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter, validators

from harness import tracking
from harness.cli.options import ONE_PROCESS, RESULTS, Device, LogTo, Out, Workers, command_line, key_values
from harness.errors import UsageError
from harness.evaluation.study import render, run_cells
from harness.protocols import engine_study
from harness.sinks import line

app = App()
REPORTS = Path("reports/studies")


@app.command
def ablate(
    *,
    study: Annotated[
        str,
        Parameter(
            help="Study: granularity, prompts, init, resolution, scale, optimiser, decoding, locations, or all; or "
            "engine, the rounds of the data engine"
        ),
    ],
    arm: Annotated[
        list[str] | None,
        Parameter(help="Arm of the study to run; may be repeated [default: all arms]", negative=()),
    ] = None,
    seeds: Annotated[int, Parameter(help="Number of seeds per arm")] = 3,
    world: Annotated[
        Literal["small", "full"],
        Parameter(help="Scenes: small (minutes per cell on one core) or full (the miniature; for a GPU)"),
    ] = "small",
    jobs: Annotated[
        int | None,
        Parameter(
            help="Number of cells in parallel [default: one per core, at most 4; 4 on a GPU]",
            validator=validators.Number(gte=1),
        ),
    ] = None,
    device: Device = None,
    workers: Workers = ONE_PROCESS,
    minutes: Annotated[
        float | None, Parameter(help="Minutes after which no new cell starts [default: no limit]")
    ] = None,
    report: Annotated[bool, Parameter(help="Table and figure of the finished cells")] = True,
    choosing: Annotated[
        bool, Parameter(negative=(), help="Of the study engine: the seeds on which settings are chosen")
    ] = False,
    level: Annotated[
        list[float] | None,
        Parameter(help="Of the study engine: a level of noise; may be repeated [default: 0.5, 1 and 1.5]", negative=()),
    ] = None,
    set_: Annotated[
        list[str] | None,
        Parameter(name="--set", help="Of the study engine: a size, such as steps=400; may be repeated", negative=()),
    ] = None,
    only_report: Annotated[bool, Parameter(negative=(), help="Table and figure only; no cell is run")] = False,
    to: Annotated[Path, Parameter(help="Folder for tables and figures")] = REPORTS,
    out: Out = RESULTS,
    log_to: LogTo = None,
) -> None:
    """Run an ablation study of the paper on small models, and write its table and figure.

    A cell is one arm of the study with one seed.  The record of a finished cell is kept in OUT/ablations, so the same
    command resumes an interrupted study.  A cell that several studies share is trained once.

    python -m harness ablate --study granularity --seeds 3
    """
    from harness.protocols import studies

    spread = workers.spread()
    if spread is not None and jobs is not None:
        raise UsageError("--jobs is of one machine; --executor ray has --workers")
    if study == engine_study.NAME:
        if spread is not None or jobs is not None or world != "small":
            raise UsageError("the study engine makes its cells one after the other: no --jobs, --executor or --world")
        numbers = range(engine_study.CHOOSING, engine_study.CHOOSING + seeds) if choosing else range(seeds)
        levels = tuple(level or engine_study.LEVELS)
        shown = report or only_report
        with tracking.to(log_to or ()):
            _engine(arm, numbers, levels, key_values(set_), device, minutes, shown, only_report, to, out)
        return
    if choosing or set_ or level:
        raise UsageError("--choosing, --level and --set are of the study engine")
    named = list(studies.STUDIES.values()) if study == "all" else [studies.find(study)]
    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: at least 1")
    arms = [name for each in named for name in each.arms]
    for name in arm or ():
        if name not in arms:
            raise UsageError(f"--arm {name}: no such arm; there are {', '.join(arms)}")
    if not only_report:
        with tracking.to(log_to or ()):
            run_cells(named, arm, range(seeds), world, jobs, device, minutes, out, command_line(), spread)
    if report or only_report:
        for each in named:
            print(line(f"study: {render(each, range(seeds), world, out, to)}"))


def _engine(
    arms: list[str] | None, seeds: range, levels: tuple[float, ...], changes: dict[str, str], device: str | None,
    minutes: float | None, report: bool, only_report: bool, to: Path, out: Path,
) -> None:  # fmt: skip
    """The study of the data engine's rounds."""
    from harness.evaluation import engine_study as made

    if not seeds or min(levels) <= 0:
        raise UsageError(f"--seeds {len(seeds)}, --level {min(levels):g}: at least 1, and above 0")
    sizes = made.sizes_of(changes)
    engine_study.cells_of(seeds, sizes, arms=arms)  # refuses an unknown arm before anything is written
    try:
        if not only_report:
            made.run(
                seeds, sizes, arms=arms, levels=levels, out=out, command=command_line(), device=device,
                minutes=minutes,
            )  # fmt: skip
    finally:
        if report:
            print(line(f"study: {made.render(seeds, sizes, levels=levels, out=out, to=to)}"))
