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
    """List models: size, repository, pinned revision, and where their weights lie on this machine."""
    found = [(name, entry, entry.at_hand()) for name, entry in baselines.every().items()]
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
    print(text.table(("model", "parameters", "repository", "revision", "weights here", "description"), rows))
