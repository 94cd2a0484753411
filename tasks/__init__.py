"""The tasks by name: TASKS.  Importing this package loads no data.

Another package may add tasks with an entry point in the group `florence2_harness.tasks`, whose value is a Task or
several.  A task without an entry point is named `package.module:NAME`.  Other packages are imported only when a name is
not one of the project's own tasks, or when all tasks are listed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from harness import outside
from harness.core import Task
from harness.errors import UsageError
from tasks import (
    captions,
    detection,
    docvqa,
    flickr30k,
    grefcoco,
    icdar2015,
    lvis,
    odinw,
    refcoco,
    refcocog_caption,
    rerank,
    retrieval,
    vqa,
)

GROUP = "florence2_harness.tasks"
_FAMILIES: tuple[tuple[Task[Any], ...], ...] = (
    captions.TASKS,
    detection.TASKS,
    flickr30k.TASKS,
    refcoco.TASKS,
    vqa.TASKS,
    odinw.TASKS,
    grefcoco.TASKS,
    retrieval.TASKS,
    docvqa.TASKS,
    refcocog_caption.TASKS,
    icdar2015.TASKS,
    lvis.TASKS,
    rerank.TASKS,
)
TASKS: dict[str, Task[Any]] = {task.name: task for family in _FAMILIES for task in family}
log = logging.getLogger(__name__)


def select(patterns: str | Iterable[str]) -> list[Task[Any]]:
    """The tasks that match names, globs, `package.module:NAME` or 'all', separated by commas.

    Each task is returned once, in the order of the patterns.  UsageError, with similar names, where a pattern matches
    no task.
    """
    chosen: dict[str, Task[Any]] = {}
    for text in [patterns] if isinstance(patterns, str) else patterns:
        for pattern in map(str.strip, text.split(",")):
            chosen |= {task.name: task for task in _matching(pattern) if task.name not in chosen}
    if not chosen:
        raise UsageError("no task was named; `python -m harness tasks` lists them, and 'all' means all of them")
    return list(chosen.values())


def every() -> dict[str, Task[Any]]:
    """The project's own tasks and those of installed packages, by name.

    A task that cannot be loaded is logged and left out.
    """
    return outside.joined(TASKS, GROUP, Task, "tasks")


def origin_of(task: Task[Any], named: str) -> dict[str, Any]:
    """The provenance entry of a task that is not the project's own: the name that the user typed."""
    return {} if TASKS.get(task.name) is task else {"task from": named}


def _matching(pattern: str) -> list[Task[Any]]:
    if pattern in TASKS:
        return [TASKS[pattern]]
    if ":" in pattern:
        return outside.named(pattern, Task, "--task")
    available = every()
    matching = [task for name, task in available.items() if pattern == "all" or fnmatchcase(name, pattern)]
    if not matching:
        raise UsageError(_unknown(pattern, list(available)))
    return matching


def _unknown(pattern: str, names: list[str]) -> str:
    close = get_close_matches(pattern, names, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {len(names)}."
    return f"no task is called {pattern!r}; {hint}  `python -m harness tasks` lists them"
