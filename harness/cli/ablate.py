"""The command `ablate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter, validators

from harness.cli.options import RESULTS, Device, Out, command_line
from harness.errors import UsageError
from harness.evaluation.study import render, run_cells

app = App()
REPORTS = Path("reports/studies")


@app.command
def ablate(
    *,
    study: Annotated[str, Parameter(help="granularity, prompts, init, resolution, scale, or all.")],
    arm: Annotated[
        list[str] | None,
        Parameter(help="An arm to run, of those of the study; may be repeated [default: all]", negative=()),
    ] = None,
    seeds: Annotated[int, Parameter(help="Number of seeds for each arm.")] = 3,
    world: Annotated[
        Literal["small", "full"],
        Parameter(help="small: minutes for a cell on one core; full: the miniature, for a GPU."),
    ] = "small",
    jobs: Annotated[
        int | None,
        Parameter(
            help="Cells in parallel [default: one per core, at most 4; on a GPU 4]", validator=validators.Number(gte=1)
        ),
    ] = None,
    device: Device = None,
    minutes: Annotated[
        float | None, Parameter(help="Minutes after which no cell is started [default: no limit]")
    ] = None,
    report: Annotated[bool, Parameter(help="Write the table and figure of finished cells.")] = True,
    only_report: Annotated[bool, Parameter(negative=(), help="Write the table and figure, and run nothing.")] = False,
    to: Annotated[Path, Parameter(help="Folder for tables and figures.")] = REPORTS,
    out: Out = RESULTS,
) -> None:
    """Run a study of the paper on small models, cell by cell (an arm with a seed), and write its table and figure.

    Interrupted at any moment, the same command resumes.  The record of a finished cell is kept in OUT/ablations; arms
    that are the same model are trained once for all studies.

    python -m harness ablate --study granularity --seeds 3
    """
    from harness.protocols import studies

    chosen = list(studies.STUDIES.values()) if study == "all" else [studies.find(study)]
    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: at least 1")
    for name in arm or ():
        if not any(name in one.arms for one in chosen):
            there = ", ".join(arm for one in chosen for arm in one.arms)
            raise UsageError(f"--arm {name}: there is none; there are {there}")
    if not only_report:
        run_cells(chosen, arm, range(seeds), world, jobs, device, minutes, out, command_line())
    if report or only_report:
        for one in chosen:
            path = render(one, range(seeds), world, out, to)
            print(f"study: {path}")
