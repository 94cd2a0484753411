"""Commands that say what there is: tasks, models, data list, data check."""

from __future__ import annotations

from cyclopts import App

import baselines
import tasks
from harness import store
from harness.cli.common import Data, Json, TaskNames, root_of
from harness.data import manifest
from harness.errors import DataError
from harness.report import text

app = App()
data_app = App(name="data", help="What tasks need on disk: which of it is there, and where the rest comes from.")
app.command(data_app)


@app.command(name="tasks")
def list_tasks(*, json: Json = False) -> None:
    """List tasks: their splits, headline metric, and the file that `score --predictions` takes."""
    if json:
        print(
            store.as_json([{"name": t.name, "splits": t.splits, "headline": t.headline} for t in tasks.TASKS.values()])
        )
        return
    rows = [(t.name, str(t.version), ",".join(t.splits), t.headline, t.about) for t in tasks.TASKS.values()]
    print(text.table(("task", "version", "splits", "headline", "what it is"), rows))
    for format_ in dict.fromkeys(t.predictions for t in tasks.TASKS.values()):
        named = ", ".join(t.name for t in tasks.TASKS.values() if t.predictions is format_)
        print(f"\npredictions of {named}:\n  {format_.description}")


@app.command(name="models")
def list_models(*, json: Json = False) -> None:
    """List models: size, repository, pinned revision, and whether their weights are on this machine."""
    found = [(name, entry, entry.at_hand()) for name, entry in baselines.MODELS.items()]
    if json:
        print(
            store.as_json(
                [
                    {"name": n, "parameters": e.parameters, "repo": e.repo, "revision": e.revision, "at_hand": where}
                    for n, e, where in found
                ]
            )
        )
        return
    rows = [(n, e.parameters, e.repo, e.revision, where or "no", e.about) for n, e, where in found]
    print(text.table(("model", "parameters", "repository", "revision", "weights at hand", "what it is"), rows))


@data_app.command(name="list")
def data_list(*, task: TaskNames = "all") -> None:
    """List the files and folders that tasks need under a data root, and where they come from."""
    for one in tasks.select(task):
        print(f"{one.name}: {one.about}")
        for need in one.files:
            print(f"  ROOT/{need.path}\n      from {need.origin}")


@data_app.command(name="check")
def data_check(*, task: TaskNames = "all", data: Data = None) -> None:
    """Say which of a task's files are under the data root; exit status 3 where one is missing."""
    name, root = root_of(data, "data check", embedded=False)
    missing = 0
    for one in tasks.select(task):
        lacking = {need.path for need in manifest.missing(one, root)}
        missing += len(lacking)
        print(f"{one.name}: {'complete' if not lacking else f'{len(lacking)} of {len(one.files)} missing'}")
        for need in one.files:
            state = "missing" if need.path in lacking else "there  "
            print(
                f"  {state}  {root / need.path}" + (f"\n           from {need.origin}" if need.path in lacking else "")
            )
    if missing:
        raise DataError(f"{name}: {missing} files or folders are missing; the list above says where they come from")
