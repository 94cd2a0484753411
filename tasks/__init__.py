"""What can be measured: TASKS, name to Task.  Naming one loads nothing."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from harness.core import Task
from harness.errors import UsageError
from tasks import refcoco

_FAMILIES: tuple[tuple[Task[Any], ...], ...] = (refcoco.TASKS,)
TASKS: dict[str, Task[Any]] = {task.name: task for family in _FAMILIES for task in family}


def select(patterns: str | Iterable[str]) -> list[Task[Any]]:
    """Tasks by name, by glob, or 'all', apart by commas; each once, in the order asked for.

    UsageError, with names that come close, where one matches nothing.
    """
    chosen: dict[str, Task[Any]] = {}
    for given in [patterns] if isinstance(patterns, str) else patterns:
        for pattern in given.split(","):
            names = [name for name in TASKS if pattern.strip() == "all" or fnmatchcase(name, pattern.strip())]
            if not names:
                raise UsageError(_unknown(pattern.strip()))
            chosen |= {name: TASKS[name] for name in names if name not in chosen}
    if not chosen:
        raise UsageError("no task was named; `python -m harness tasks` lists them, and 'all' means all of them")
    return list(chosen.values())


def _unknown(pattern: str) -> str:
    close = get_close_matches(pattern, TASKS, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {len(TASKS)}."
    return f"no task is called {pattern!r}; {hint}  `python -m harness tasks` lists them"
