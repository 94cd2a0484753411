"""The command `ablate`: the paper's experiments, and those it does not have, as grids of small models."""

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
    study: Annotated[str, Parameter(help="granularity, prompts, init, resolution or scale; or all.")],
    arm: Annotated[list[str] | None, Parameter(help="Only these arms; may be repeated.", negative=())] = None,
    seeds: Annotated[int, Parameter(help="So many seeds an arm.")] = 3,
    world: Annotated[
        Literal["small", "full"], Parameter(help="small: minutes a cell on one core; full: the miniature, for a GPU.")
    ] = "small",
    jobs: Annotated[
        int | None,
        Parameter(
            help="Cells at once [default: one a core, at most 4; on a GPU 4]", validator=validators.Number(gte=1)
        ),
    ] = None,
    device: Device = None,
    minutes: Annotated[float | None, Parameter(help="Begin no cell after so many minutes.")] = None,
    report: Annotated[bool, Parameter(help="Write the table and figure of what is done.")] = True,
    only_report: Annotated[bool, Parameter(negative=(), help="Run nothing.")] = False,
    to: Annotated[Path, Parameter(help="Where tables and figures go.")] = REPORTS,
    out: Out = RESULTS,
) -> None:
    """Run a study cell by cell (an arm with a seed) and render it; killed at any moment, the same command goes on.

    A cell's record is kept as it ends, in OUT/ablations; arms that are the same model are trained once for all studies.
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
