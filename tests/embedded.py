"""The tasks of the embedded benchmark, by its manifest: collecting tests draws no file."""

from __future__ import annotations

import json
from typing import Any

from harness.core import Task
from tasks import TASKS, miniature

_FILES = json.loads(miniature.MANIFEST.read_text())


def _has(task: Task[Any]) -> bool:
    return any(file == need.path or file.startswith(f"{need.path}/") for need in task.files for file in _FILES)


EMBEDDED = [task for task in TASKS.values() if _has(task)]
