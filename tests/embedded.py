"""The tasks of the embedded benchmark, by its manifest: collecting tests draws no file."""

from __future__ import annotations

import json
from typing import Any

from harness.core import Task
from harness.data.manifest import is_of_annotations
from tasks import TASKS, miniature

_FILES = json.loads(miniature.MANIFEST.read_text())


def _has(task: Task[Any]) -> bool:
    """Whether it has an annotation file of the task, and needs no first run; several tasks share its images."""
    if task.candidates_of:
        return False
    own = [need.path for need in task.files if is_of_annotations(need)]
    return any(file == path or file.startswith(f"{path}/") for path in own for file in _FILES)


EMBEDDED = [task for task in TASKS.values() if _has(task)]
