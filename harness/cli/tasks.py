"""The command `tasks`."""

from __future__ import annotations

from cyclopts import App

import tasks
from harness import store
from harness.cli.options import Json
from harness.report import text

app = App()


@app.command(name="tasks")
def list_tasks(*, json: Json = False) -> None:
    """List tasks: splits to evaluate and to train on, headline metric, and the format of `score --predictions`."""
    known = list(tasks.every().values())
    if json:
        told = [
            {"name": t.name, "splits": t.splits, "train_splits": t.train_splits, "headline": t.headline} for t in known
        ]
        print(store.as_json(told))
        return
    rows = [
        (t.name, str(t.version), ",".join(t.splits), ",".join(t.train_splits) or "-", t.headline, t.about)
        for t in known
    ]
    print(text.table(("task", "version", "splits", "training splits", "headline", "description"), rows))
    for format_ in dict.fromkeys(t.predictions for t in known):
        named = ", ".join(t.name for t in known if t.predictions is format_)
        print(f"\npredictions of {named}:\n  {format_.description}")
