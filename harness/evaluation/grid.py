"""A grid of runs, models by tasks: each model is loaded once, and a run that fails does not end the others."""

from __future__ import annotations

import gc
import logging
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

import baselines
from harness.errors import HarnessError, IncompleteError, UsageError
from harness.evaluation.evaluate import Evaluated, evaluate_each
from harness.evaluation.request import Request

log = logging.getLogger(__name__)
ALL = "all tasks"  # of a model that could not be built


@dataclass(frozen=True, slots=True)
class Cell:
    """A run that is not there: the reason, and the command that makes it if it failed ("" if it was left out)."""

    model: str
    task: str
    split: str
    reason: str
    command: str = ""


@dataclass(slots=True)
class Grid:
    """The runs of several models on the tasks of a request; `cells` fills with the missing ones while it is iterated.

    Iterating yields the runs that could be made, model by model.  See `cells` then, or call `check`.
    """

    request: Request
    models: Sequence[str]
    cells: list[Cell] = field(default_factory=list)

    def __iter__(self) -> Iterator[Evaluated]:
        for number, name in enumerate(self.models, start=1):
            several = len(self.models) > 1
            row = _Row(self, name, several)
            if several:
                log.warning("model %d of %d: %s", number, len(self.models), name)
            try:
                yield from evaluate_each(replace(self.request, model=name), row)
            except HarnessError as error:
                if not several:
                    raise
                row.failed(ALL, "", error)
            _release()

    def missing(self) -> str:
        """A line for each missing run with its reason, and the command that makes it if it failed; "" for none."""
        lines = []
        for cell in self.cells:
            lines.append(f"  {cell.model}, {cell.task}{f' {cell.split}' if cell.split else ''}: {cell.reason}")
            if cell.command:
                lines.append(f"    {cell.command}")
        return "\n".join(lines)

    def check(self) -> None:
        """IncompleteError where runs failed."""
        if count := sum(bool(cell.command) for cell in self.cells):
            raise IncompleteError(f"{count} failed; the reason and the command that tries again are above")


@dataclass(frozen=True, slots=True)
class _Row:
    """The Watcher of one model's runs."""

    grid: Grid
    model: str
    several: bool

    def failed(self, task: str, split: str, error: Exception) -> None:
        known = isinstance(error, HarnessError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        log.error("failed: %s, %s %s: %s", self.model, task, split, reason, exc_info=None if known else error)
        command = again(self.grid.request.command, self.model, "" if task == ALL else task, split)
        self.grid.cells.append(Cell(self.model, task, split, reason, command))

    def left_out(self, task: str, split: str, reason: str) -> None:
        self.grid.cells.append(Cell(self.model, task, split, reason))


def plan(request: Request) -> Grid:
    """The grid of a request, whose model may be several names, with commas, globs or "all".

    UsageError for a name that no model has, and for settings that not every model takes: before anything is loaded.
    """
    names = models_of(str(request.model))
    if len(names) == 1:
        return Grid(request, names)
    for option, given in (("--weights", request.weights), ("--name", request.name)):
        if given is not None:
            raise UsageError(f"{option} is of one model, and --model names {len(names)}")
    for name in names:
        entry = baselines.find(name)
        entry.check(request.setting(), entry.options())
    return Grid(request, names)


def several(names: str) -> bool:
    """Whether `--model` has the form of several names."""
    return names == "all" or any(letter in names for letter in ",*?[")


def models_of(names: str) -> list[str]:
    """The models that names with commas, globs and "all" select, each once, in the order given.

    UsageError for a name that no model has.
    """
    chosen: list[str] = []
    for name in filter(None, (part.strip() for part in names.split(","))):
        if several(name):
            found = [known for known in baselines.every() if name == "all" or fnmatchcase(known, name)]
        else:
            baselines.find(name)
            found = [name]
        if not found:
            raise UsageError(f"no model is called {name!r}; `python -m harness models` lists them")
        chosen += found
    if not chosen:
        raise UsageError("--model is empty; `python -m harness models` lists the models")
    return list(dict.fromkeys(chosen))


def again(command: Sequence[str], model: str, task: str, split: str) -> str:
    """The command with this model, task and split in place of those that it names; "" keeps the named ones."""
    replaced = {option: value for option, value in (("--model", model), ("--task", task), ("--split", split)) if value}
    kept: list[str] = []
    words = iter(command[1:])
    for word in words:
        option, equals, _ = word.partition("=")
        if option not in replaced:
            kept.append(word)
        elif not equals:
            next(words, None)
    kept += [word for pair in replaced.items() for word in pair]
    return f"{command[0]} {shlex.join(kept)}"


def _release() -> None:
    """Gives back the memory of a model that is no longer used."""
    gc.collect()
    if (torch := sys.modules.get("torch")) and torch.cuda.is_available():
        torch.cuda.empty_cache()
