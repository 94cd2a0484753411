"""The options of a model, as options of the commands that load one."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from collections.abc import Mapping
from dataclasses import fields, make_dataclass
from typing import Annotated, Any

from cyclopts import Group, Parameter

import baselines
from baselines import Entry
from harness.evaluation.grid import several


def model_named(arguments: list[str]) -> Entry | None:
    """The model that a command line names with `--model`; None where it names none, or several."""
    for place, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option == "--model":
            name = value if equals else next(iter(arguments[place + 1 :]), "")
            return baselines.find(name) if name and not name.startswith("--") and not several(name) else None
    return None


def options_type(entry: Entry | None) -> Any:
    """The annotation of a command's `options`: the model's options class, in its own help group.

    Without a model, there are no options and no group.
    """
    if entry is None:
        return Annotated[baselines.NoOptions | None, Parameter(name="*", show=False)]
    return Annotated[entry.options, Parameter(name="*", negative=(), group=Group(f"Options of {entry.name}"))]


def listed_options(entry: Entry | None) -> tuple[Any, Any]:
    """The annotation of the options of `bench`, and its default: each option takes a list with commas, for a sweep."""
    if entry is None:
        return options_type(None), None
    helps = field_help(entry.options)
    listed = [
        (field.name, Annotated[str | None, Parameter(help=f"{helps.get(field.name, '')}; with commas: a sweep")], None)
        for field in fields(entry.options)
    ]
    kind = make_dataclass("Listed", listed, frozen=True, kw_only=True)
    kind.__module__ = __name__  # cyclopts resolves the annotations of the class in this module
    return Annotated[kind, Parameter(name="*", negative=(), group=Group(f"Options of {entry.name}"))], kind()


def field_help(kind: type[Any]) -> dict[str, str]:
    """The help of each field of a dataclass: the string literal below it; {} where the class has no source file."""
    try:
        [definition] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, TypeError, ValueError):
        return {}
    helps: dict[str, str] = {}
    statements = definition.body if isinstance(definition, ast.ClassDef) else []
    for field, below in itertools.pairwise(statements):
        literal = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(literal, str):
            helps[field.target.id] = literal
    return helps


def changed_options(options: Any) -> dict[str, Any]:
    """The options whose values are not the defaults."""
    return {field.name: value for field in fields(options) if (value := getattr(options, field.name)) != field.default}


def settings_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options whose values are not None."""
    return {name: value for name, value in options.items() if value is not None}
