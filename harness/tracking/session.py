"""The trackers in use, and the run that they follow.  A tracker that fails is dropped with one warning."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from harness.errors import UsageError
from harness.sinks import line
from harness.tracking.events import TRACKERS, Fact, Status, Tracker, plain

FOLDER = Path("tracking")  # in the working directory
T = TypeVar("T")
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Session:
    names: tuple[str, ...]
    folder: Path
    runs: list[dict[str, Tracker]] = field(default_factory=list)  # nested runs, the current one last

    def each(self, event: Callable[[Tracker], None]) -> None:
        """Tells the trackers of the current run."""
        for name, tracker in list(self.runs[-1].items()) if self.runs else ():
            if not self.attempt(name, lambda tracker=tracker: event(tracker)):  # type: ignore[misc]
                self.runs[-1].pop(name)

    def attempt(self, name: str, call: Callable[[], None]) -> bool:
        """Whether a call of a tracker succeeded; a tracker that fails is not used again."""
        try:
            call()
        except (Exception, SystemExit) as error:  # of any kind: the run goes on without a tracker that is broken
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            logger.warning("%s failed, so the run goes on without: %s", name, reason)
            self.names = tuple(each for each in self.names if each != name)
            return False
        return True


_session: ContextVar[_Session | None] = ContextVar("session", default=None)


@contextmanager
def to(names: Sequence[str], folder: Path = FOLDER) -> Iterator[None]:
    """Sends the events of runs within the context to trackers; local files go below `folder`.

    `folder` is none of results, whose records would be found twice.

    UsageError for an unknown tracker, and for one whose package is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise UsageError(f"--log-to {name}: no such tracker; there are {', '.join(TRACKERS)}")
        if importlib.util.find_spec(TRACKERS[name].package) is None:
            raise UsageError(f"--log-to {name}: {TRACKERS[name].package} is not installed: {TRACKERS[name].install}")
    if not names:
        yield
        return
    token = _session.set(_Session(tuple(dict.fromkeys(names)), folder))
    try:
        yield
    finally:
        _session.reset(token)


def sent(items: Iterable[T], names: Sequence[str], folder: Path = FOLDER) -> Iterator[T]:
    """The items; what happens while they are made is sent to trackers, as in `to`."""
    with to(names, folder):
        yield from items


def used(name: str) -> bool:
    """Whether events go to this tracker."""
    session = _session.get()
    return session is not None and name in session.names


@contextmanager
def run(name: str, facts: Mapping[str, Fact]) -> Iterator[None]:
    """A run from its start to its end.  Events within the context belong to it.

    `facts` describe the run; they hold no secret, because trackers publish them.
    """
    session = _session.get()
    if session is None:
        yield
        return
    opened: dict[str, Tracker] = {}
    shown = {key: line(value) if isinstance(value, str) else value for key, value in facts.items()}
    for tracker in session.names:
        module, _, kind = TRACKERS[tracker].implementation.partition(".")

        def start(tracker: str = tracker, module: str = module, kind: str = kind) -> None:
            made = getattr(importlib.import_module(f"harness.tracking.{module}"), kind)
            opened[tracker] = made(line(name), shown, session.folder)

        session.attempt(tracker, start)
    session.runs.append(opened)
    status: Status = "failed"
    try:
        yield
        status = "finished"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        session.each(lambda each: each.finish(status))
        session.runs.pop()


def log(values: Mapping[str, float], step: int) -> None:
    """Numbers of the current run at a step; a number that is not finite is left out."""
    if (session := _session.get()) is not None:
        finite = {plain(name): float(value) for name, value in values.items() if math.isfinite(value)}
        session.each(lambda tracker: tracker.log(finite, step))


def artifact(path: Path) -> None:
    """A file of the current run; nothing where there is no such file."""
    if (session := _session.get()) is not None and path.is_file():
        session.each(lambda tracker: tracker.artifact(path))
