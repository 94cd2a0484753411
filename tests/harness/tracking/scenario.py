"""The run that the tests of all trackers send: as a script, `scenario.py TRACKER FOLDER` in another environment.

It imports nothing outside `harness.tracking`, so that an environment with the tracker alone can run it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from threading import Thread
from typing import Any

from harness import tracking

SECRET = "a-key-of-this-test-0123456789abcdef0123456789"

BYTES = 5_000_000_000  # a step of `data fetch`, which counts bytes in several threads
FACTS = {"task": "refcoco", "seed": 0, "limit": None, "folder": "a b"}


def send(tracker: str, folder: Path) -> None:
    """A run with numbers at three steps, the last from another thread, and a file; then a run that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "run.json"
    record.write_text('{"a": 1}')
    with tracking.to([tracker], folder):
        with tracking.run("refcoco val", FACTS):
            tracking.log({"Acc@0.5": 50.0, "failed": 1, "loss": float("nan")}, 10)
            tracking.log({"Acc@0.5": 62.5, "Acc@0.5 low": 60.0}, 20)
            other = Thread(target=copy_context().run, args=(tracking.log, {"rate": 2.5}, BYTES))
            other.start()
            other.join()
            tracking.artifact(record)
            tracking.artifact(folder / "none.png")
        try:
            with tracking.run("second", {}):
                raise ValueError("on purpose")
        except ValueError:
            pass


@contextmanager
def without_secret(folder: Path, monkeypatch: Any) -> Iterator[None]:
    """Puts a secret into the environment and the command line, and asserts that no file of the folder has it after."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setattr("sys.argv", ["harness", "run", "--token", SECRET])
    yield
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files and not any(SECRET.encode() in path.read_bytes() for path in files)


if __name__ == "__main__":
    send(sys.argv[1], Path(sys.argv[2]))
