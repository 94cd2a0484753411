"""The command `models`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, get_args

from cyclopts import App, Parameter

import baselines
import tasks
from baselines import Entry
from baselines.licences import NOT_ESTABLISHED
from harness import store
from harness.cli.options import Json
from harness.core import Kind, Task
from harness.report import text

app = App()


@app.command(name="models")
def list_models(
    *,
    kinds: Annotated[
        bool,
        Parameter(
            negative=(),
            help="The kinds of question that each model answers, and the tasks that ask them, as tables in Markdown",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """List models: number of parameters, repository, pinned revision, weights on this machine, and their licence."""
    entries = baselines.every()
    if kinds:
        print(matrix(entries.values()))
        print(f"\n{askers(tasks.every().values())}")
        return
    if json:
        records = [
            {
                "name": name,
                "parameters": entry.parameters,
                "repo": entry.repo,
                "revision": entry.revision,
                "at_hand": entry.at_hand(),
                "licence": entry.licence,
            }
            for name, entry in entries.items()
        ]
        print(store.as_json(records))
        return
    rows = [
        (
            name, entry.parameters, entry.repo, entry.revision, entry.at_hand() or "no",
            entry.licence or (NOT_ESTABLISHED if entry.at_hand() != "needs none" else "-"), entry.about,
        )
        for name, entry in entries.items()
    ]  # fmt: skip
    print(text.table(("model", "parameters", "repository", "revision", "weights here", "licence", "description"), rows))


def matrix(entries: Iterable[Entry]) -> str:
    """A table in Markdown of the kinds of question that each model answers; a row for a family."""
    every = get_args(Kind)
    rows: dict[tuple[str, frozenset[Kind]], list[str]] = {}
    for entry in entries:
        answered = entry.answers({})
        rows.setdefault((entry.name.partition("-")[0], answered), []).append(f"`{entry.name}`")
    lines = [f"| models | {' | '.join(kind.replace('_', ' ') for kind in every)} |", f"|---{'|:-:' * len(every)}|"]
    for (_, answered), names in rows.items():
        marks = ("●" if kind in answered else "" for kind in every)
        lines.append(f"| {', '.join(names)} | {' | '.join(marks)} |")
    return "\n".join(lines)


def askers(every: Iterable[Task[Any]]) -> str:
    """A table in Markdown of the tasks that ask each kind of question; those that state no kind are in the last row."""
    asked: dict[Kind | None, list[str]] = {}
    for task in every:
        asked.setdefault(task.kind, []).append(f"`{task.name}`")
    lines = ["| kind | tasks that ask it |", "|---|---|"]
    lines += [f"| {kind.replace('_', ' ')} | {', '.join(asked.get(kind, ()))} |" for kind in get_args(Kind)]
    return "\n".join([*lines, *(f"| not stated | {', '.join(asked[kind])} |" for kind in asked if kind is None)])
