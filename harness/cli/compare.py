"""Commands that hold runs against each other."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter, validators

from harness import comparison, runner, store
from harness.cli.options import RESULTS, Data, Json, Out, samples_of
from harness.comparison import Comparison, Side, refuse
from harness.core import Run, Task
from harness.errors import DataError, HarnessError, UsageError
from harness.report import compared
from harness.store import RunFolder

app = App()
COUNT = Parameter(validator=validators.Number(gte=0))
Found = tuple[RunFolder, Run]
Key = tuple[str, str, str]


@app.command
def compare(
    a: Annotated[str, Parameter(help="A run (id, its beginning, or folder), a results folder, or a model's name.")],
    b: Annotated[str, Parameter(help="The same; what of both is of one task, split and data is paired.")],
    /,
    *,
    data: Data = None,
    out: Out = RESULTS,
    to: Annotated[
        Path | None, Parameter(help="Write a page with pictures of the largest changes into this folder.")
    ] = None,
    changes: Annotated[int, COUNT, Parameter(help="Largest changes listed, each way.")] = compared.SHOWN,
    pictures: Annotated[int, COUNT, Parameter(help="Most pictures of a pair of runs.")] = 24,
    json: Json = False,
) -> None:
    """Compare two runs, sample by sample: every difference with its interval and p-value, and which answers changed.

    python -m harness compare florence2-nano florence2-nano-ft         # every task that both have

    python -m harness compare 3f2a 9bc1 --to changes                   # two runs, with pictures
    """
    pairs = _paired(_runs(a, out), _runs(b, out), a, b)
    found, roots = [], []
    for one, other in pairs:
        try:
            held, root = _compared(one, other, data)
        except HarnessError as error:
            if len(pairs) == 1:
                raise
            print(f"left out: {one[1].spec.task} {one[1].spec.split}: {error}", file=sys.stderr)
            continue
        found.append(held)
        roots.append(root)
    if not found:
        raise DataError(f"none of the {len(pairs)} pairs of runs can be compared")
    print(store.as_json(compared.as_json(found)) if json else compared.describe(found, changes))
    if to is not None:
        print(f"page: {compared.write(found, roots, to, pictures)}", file=sys.stderr)


def _runs(name: str, results: Path) -> list[Found]:
    """The runs that are meant: one, all finished ones under a folder, or all finished ones of a model."""
    if not name.strip():
        raise UsageError("a run, a model or a folder of results: an empty name is none")
    folder = Path(name)
    if folder.is_dir() and not (folder / "run.json").is_file():
        under = [(kept, run) for kept, run in store.runs(folder) if run.finished]
        if not under:
            raise UsageError(f"there are no finished runs in the folder {name}")
        return under
    of_model = [(kept, run) for kept, run in store.runs(results) if run.spec.model == name and run.finished]
    return of_model or [store.find(results, name)]


def _paired(one: Sequence[Found], other: Sequence[Found], a: str, b: str) -> list[tuple[Found, Found]]:
    """Those of both sides that are of the same task, split and data; of two single runs, these, whatever they are of.

    UsageError where nothing pairs, or more than one of a side would.
    """
    if len(one) == len(other) == 1:
        return [(one[0], other[0])]
    sides: list[dict[Key, Found]] = []
    for name, runs in ((a, one), (b, other)):
        by_key: dict[Key, Found] = {}
        for kept, run in runs:
            key = (run.spec.data, run.spec.task, run.spec.split)
            if key in by_key:
                raise UsageError(
                    f"{name} has several runs of {run.spec.task} {run.spec.split} ({by_key[key][1].id}, {run.id}): "
                    "name one of them"
                )
            by_key[key] = kept, run
        sides.append(by_key)
    pairs = [(sides[0][key], sides[1][key]) for key in sides[0] if key in sides[1]]
    if not pairs:
        raise UsageError(f"{a} and {b} have no task, split and data in common; `ls` lists what there is")
    return pairs


def _compared(one: Found, other: Found, data: str | None) -> tuple[Comparison, Path]:
    """Two runs, and the root of their data."""
    refuse(one[1], other[1])
    task, side, root = side_of(one, data)
    _, against, _ = side_of(other, data)
    return comparison.compare(task, side, against, partial(runner.mark, task)), root


def side_of(found: Found, data: str | None) -> tuple[Task[Any], Side, Path]:
    """A run as it is to be compared."""
    folder, run = found
    task, samples, root = samples_of(run, data)
    if task.version != run.spec.version:
        raise DataError(
            f"{run.id} was marked by version {run.spec.version} of {task.name}, which is {task.version} now: "
            f"`score {run.id}` marks its answers again"
        )
    answers = runner.kept_answers(samples, folder, run.spec.fingerprint)
    images = {name: kept.asked.partition(":")[2] for name, kept in folder.answers().items()}
    there = {name: image for name, image in images.items() if image not in ("", runner.MISSING)}
    return task, Side(run, samples, answers, there, folder.scores() if task.kept else {}), root
