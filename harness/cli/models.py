"""The command `models`."""

from __future__ import annotations

from cyclopts import App

import baselines
from harness import store
from harness.cli.options import Json
from harness.report import text

app = App()


@app.command(name="models")
def list_models(*, json: Json = False) -> None:
    """List models: number of parameters, repository, pinned revision, and the folder of the weights on this machine."""
    entries = baselines.every()
    if json:
        records = [
            {
                "name": name,
                "parameters": entry.parameters,
                "repo": entry.repo,
                "revision": entry.revision,
                "at_hand": entry.at_hand(),
            }
            for name, entry in entries.items()
        ]
        print(store.as_json(records))
        return
    rows = [
        (name, entry.parameters, entry.repo, entry.revision, entry.at_hand() or "no", entry.about)
        for name, entry in entries.items()
    ]
    print(text.table(("model", "parameters", "repository", "revision", "weights here", "description"), rows))
