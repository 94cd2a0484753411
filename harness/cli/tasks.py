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
    """List tasks: splits, training splits, headline metric, and the format of `score --predictions`."""
    every = list(tasks.every().values())
    if json:
        records = [
            {
                "name": task.name,
                "splits": task.splits,
                "hidden_splits": task.hidden_splits,
                "train_splits": task.train_splits,
                "headline": task.headline,
            }
            for task in every
        ]
        print(store.as_json(records))
        return
    rows = [
        (
            task.name,
            str(task.version),
            ",".join((*task.splits, *task.hidden_splits)),
            ",".join(task.train_splits) or "-",
            task.headline,
            task.about,
        )
        for task in every
    ]
    print(text.table(("task", "version", "splits", "training splits", "headline", "description"), rows))
    for predictions in dict.fromkeys(task.predictions for task in every):
        names = ", ".join(task.name for task in every if task.predictions is predictions)
        print(f"\n{text.line(f'predictions of {names}:')}\n  {text.line(predictions.description)}")
