"""What can be measured: TASKS, name to Task.  Naming one loads nothing.

A task may come from another package: by an entry point of the group `florence2_harness.tasks`, whose value is a Task or
several, or by `package.module:NAME` without one.  Packages are only imported when a task is asked for that is not the
project's own, or when all are listed.
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
from tasks import captions, detection, flickr30k, odinw, refcoco, vqa

GROUP = "florence2_harness.tasks"
_FAMILIES: tuple[tuple[Task[Any], ...], ...] = (
    captions.TASKS,
    detection.TASKS,
    flickr30k.TASKS,
    refcoco.TASKS,
    vqa.TASKS,
    odinw.TASKS,
)
TASKS: dict[str, Task[Any]] = {task.name: task for family in _FAMILIES for task in family}
log = logging.getLogger(__name__)


def select(patterns: str | Iterable[str]) -> list[Task[Any]]:
    """Tasks by name, by glob, `package.module:NAME` or 'all', apart by commas; each once, in the order asked for.

    UsageError, with names that come close, where one matches nothing.
    """
    chosen: dict[str, Task[Any]] = {}
    for given in [patterns] if isinstance(patterns, str) else patterns:
        for pattern in map(str.strip, given.split(",")):
            chosen |= {task.name: task for task in _matching(pattern) if task.name not in chosen}
    if not chosen:
        raise UsageError("no task was named; `python -m harness tasks` lists them, and 'all' means all of them")
    return list(chosen.values())


def every() -> dict[str, Task[Any]]:
    """The project's own tasks and those of installed packages; one that cannot be loaded is logged and left out."""
    return outside.joined(TASKS, GROUP, Task, "tasks")


def origin_of(task: Task[Any], named: str) -> dict[str, Any]:
    """How a record names a task that is not the project's own: what was typed."""
    return {} if TASKS.get(task.name) is task else {"task from": named}


def _matching(pattern: str) -> list[Task[Any]]:
    if pattern in TASKS:
        return [TASKS[pattern]]
    if ":" in pattern:
        return outside.named(pattern, Task, "--task")
    there = every()
    found = [task for name, task in there.items() if pattern == "all" or fnmatchcase(name, pattern)]
    if not found:
        raise UsageError(_unknown(pattern, there))
    return found


def _unknown(pattern: str, there: Iterable[str]) -> str:
    names = list(there)
    close = get_close_matches(pattern, names, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {len(names)}."
    return f"no task is called {pattern!r}; {hint}  `python -m harness tasks` lists them"
