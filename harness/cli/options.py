"""What several commands share: their options, and how a run is printed."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter, validators

import baselines
from baselines import Entry
from harness import store
from harness.core import Run
from harness.errors import UsageError
from harness.evaluation.plan import DATA_VARIABLE
from harness.evaluation.request import RESULTS
from harness.report import text
from harness.store import RunFolder

__all__ = ["RESULTS"]
Data = Annotated[
    str | None,
    Parameter(help=f"Data root, or 'miniature' (embedded) [default: ${DATA_VARIABLE}; embedded models use miniature]"),
]
Annotations = Annotated[
    Path | None,
    Parameter(help="File or folder of your own, in the task's official format, in place of the data root's."),
]
Images = Annotated[
    Path | None,
    Parameter(help="Folder of images, named as in the annotations, in place of the task's own."),
]
Out = Annotated[Path, Parameter(help="Folder of results.")]
Json = Annotated[bool, Parameter(negative=(), help="Print records as JSON.")]
TaskNames = Annotated[str, Parameter(help="Task names, with commas or globs ('refcoco*'), or 'all'.")]
TaskOfRun = Annotated[
    str | None, Parameter(help="package.module:NAME of the run's task, where it is of another package.")
]
Seed = Annotated[
    int, Parameter(help="Random seed for --limit sampling and for the bootstrap.", validator=validators.Number(gte=0))
]
Split = Annotated[str | None, Parameter(help="Splits, with commas, or 'all' [default: the task's first].")]
Device = Annotated[str | None, Parameter(help="cpu, cuda, cuda:1 ... [default: a GPU if there is one]")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ModelSetting:
    """What every model is given."""

    weights: str | None = None
    "Checkpoint folder, or hub repository (owner/name[@revision]), in place of the model's own"
    device: str | None = None
    "cpu, cuda, cuda:1 ... [default: a GPU if there is one]"
    dtype: str | None = None
    "float32, bfloat16, float16, int8 (CPU) or float8 (GPU) [default: float32 on a CPU, bfloat16 on a GPU]"
    batch_size: int | None = None
    "Answers decoded together; changes no answer [default: 32 on a CPU, 64 on a GPU]"


def model_named(arguments: list[str]) -> Entry | None:
    """The model whose options a command line takes: that of `--model`; None where none is named."""
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == "--model":
            found = value if equals else next(iter(arguments[place + 1 :]), "")
            return baselines.find(found) if found and not found.startswith("--") else None
    return None


def options_type(entry: Entry | None) -> Any:
    """The annotation of a command's `options`: the options class of the model, in a help group of its own."""
    kind = entry.options if entry is not None else baselines.NoOptions
    title = f"Options of {entry.name}" if entry is not None else "Options of the model"
    return Annotated[kind, Parameter(name="*", negative=(), group=Group(title))]


def listed_options(entry: Entry | None) -> tuple[Any, Any]:
    """The same with a list with commas for each option, which `bench` sweeps over; and the default."""
    if entry is None:
        return options_type(None), None
    said = field_help(entry.options)
    listed = [
        (field.name, Annotated[str | None, Parameter(help=f"{said.get(field.name, '')}; with commas: a sweep")], None)
        for field in fields(entry.options)
    ]
    kind = make_dataclass("Listed", listed, frozen=True, kw_only=True)
    kind.__module__ = __name__  # where cyclopts looks for the names in its annotations
    return Annotated[kind, Parameter(name="*", negative=(), group=Group(f"Options of {entry.name}"))], kind()


def field_help(kind: type[Any]) -> dict[str, str]:
    """The string below each field of a dataclass; none where its source is not to be had."""
    try:
        [found] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, TypeError, ValueError):
        return {}
    said: dict[str, str] = {}
    before: ast.stmt | None = None
    for line in found.body if isinstance(found, ast.ClassDef) else ():
        text_below = line.value.value if isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) else None
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and isinstance(text_below, str):
            said[before.target.id] = text_below
        before = line
    return said


def changed_options(options: Any) -> dict[str, Any]:
    """The options that are not the defaults."""
    return {field.name: value for field in fields(options) if (value := getattr(options, field.name)) != field.default}


def key_values(pairs: list[str] | None) -> dict[str, str]:
    """`key=value` pairs; UsageError where one is none."""
    found: dict[str, str] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair}: key=value, as --set rate=1e-5")
        found[key.strip()] = value.strip()
    return found


def show_run(record: Run, folder: RunFolder, json: bool) -> None:
    """Prints a run, as text or as its record."""
    print(store.as_json(record) if json else text.describe(record, folder.path), flush=True)


def command_line() -> list[str]:
    """The command line, without the folders of this machine's interpreter."""
    return ["python -m harness", *sys.argv[1:]]


def settings_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is not None."""
    return {name: value for name, value in given.items() if value is not None}
