"""Reference pages in Markdown: commands from the application, Python from docstrings, tables from tasks and models."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from cyclopts import App

import baselines
import harness
import tasks
from harness import tracking
from harness.cli import EXAMPLES, application
from harness.cli.model_options import field_help
from harness.cli.models import matrix
from harness.cli.options import ModelSetting, Workers
from harness.evaluation.request import Scorers
from harness.sinks import cell


def commands() -> str:
    """Every command with its help and its options, and the options of every model."""
    app = application()
    parts = [f"Version {harness.__version__}. `python -m harness COMMAND --help` prints the same.\n"]
    for name, command in _commands(app, ""):
        parts.append(f"## {name}\n\n{_help(command.help)}")
        rows = [
            f"| {', '.join(f'`{each}`' for each in argument.names)} | {_marked(_meaning(argument))} |"
            for argument in command.assemble_argument_collection()
            if argument.show and argument.names != ("*",)
        ]
        if rows:
            parts.append("\n".join(["| argument or option | meaning |", "|---|---|", *rows]))
    parts.append("## Options of models\n\n`run`, `bench` and `serve` take them with `--model`.")
    for names, options in _options_of_models():
        rows = [f"| `--{field.replace('_', '-')}` | {_marked(text)} |" for field, text in field_help(options).items()]
        if rows:
            parts.append("\n".join([f"### {names}", "", "| option | meaning |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def python() -> str:
    """Every public name of `harness` with its signature and docstring."""
    parts = [f"## harness\n\n{_docstring(harness)}"]
    for name in harness.__all__:
        if name != "__version__":
            parts.append(_described(f"harness.{name}", getattr(harness, name)))
    parts.append(f"## harness.tracking\n\n{_docstring(tracking)}")
    parts += [
        _described(f"harness.tracking.{name}", getattr(tracking, name)) for name in ("to", "run", "log", "artifact")
    ]
    return "\n\n".join(parts)


def tables() -> str:
    """The tasks with their metrics, and the models with the kinds of question that they answer."""
    parts = ["## Tasks\n\n| task | version | splits | training splits | headline | about |\n|---|---|---|---|---|---|"]
    every = tasks.every().values()
    for task in every:
        splits = ", ".join((*task.splits, *task.hidden_splits))
        cells = (str(task.version), splits, ", ".join(task.train_splits) or "–", task.headline, task.about)
        parts.append(f"| `{task.name}` | {' | '.join(map(cell, cells))} |")
    parts.append("\n## Metrics\n\n| metrics | tasks |\n|---|---|")
    for metrics in dict.fromkeys(tuple(task.metrics) for task in every):
        names = ", ".join(f"`{task.name}`" for task in every if tuple(task.metrics) == metrics)
        parts.append(f"| {cell(', '.join(metrics))} | {names} |")
    parts.append("\n## Models\n\n| model | parameters | repository | about |\n|---|---|---|---|")
    for name, entry in baselines.every().items():
        parts.append(f"| `{name}` | {cell(entry.parameters)} | {cell(entry.repo)} | {cell(entry.about)} |")
    parts.append(f"\n## What each model answers\n\n{matrix(baselines.every().values())}")
    return "\n".join(parts)


def _commands(app: App, prefix: str) -> Iterator[tuple[str, App]]:
    """Every command with its full name, in order of the program's help."""
    for name in app:
        command = app[name]
        if name.startswith("-") or not isinstance(command, App):
            continue
        if command.default_command is not None:
            yield f"{prefix}{name}", command
        yield from _commands(command, f"{prefix}{name} ")


def _help(text: str) -> str:
    """Help of a command, with its examples as code."""
    paragraphs = [" ".join(part.split()) if not part.startswith(EXAMPLES) else part for part in text.split("\n\n")]
    return "\n\n".join(f"```text\n{part}\n```" if part.startswith(EXAMPLES) else _marked(part) for part in paragraphs)


def _meaning(argument: Any) -> str:
    """The help of an option; that of a field of a dataclass is the literal below the field."""
    field = argument.names[0].removeprefix("--").replace("-", "_")
    helps = field_help(Scorers) | field_help(ModelSetting) | field_help(Workers)
    text = str(argument.parameter.help or helps.get(field, ""))
    default = argument.field_info.default
    if argument.required:
        return f"{text} [required]"
    if "[default" in text or default is None or default is False or default == "" or callable(default):
        return text
    return f"{text} [default: {default}]"


def _marked(text: str) -> str:
    """Help as a cell of a table, whose words between backticks stay code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return cell(text)
    return "".join(f"`{part}`" if place % 2 else cell(f"x{part}x")[1:-1] for place, part in enumerate(parts))


def _options_of_models() -> Iterator[tuple[str, type[Any]]]:
    """The classes of options, each once, with the models that have them."""
    names: dict[type[Any], list[str]] = {}
    for name, entry in baselines.every().items():
        names.setdefault(entry.options, []).append(name)
    for options, models in names.items():
        yield ", ".join(models), options


def _described(name: str, value: Any) -> str:
    parts = [f"### {name}"]
    if isinstance(value, FunctionType | type):
        parts.append(f"```python\n{_signature(name.rpartition('.')[2], value)}\n```")
    parts.append(_docstring(value))
    for field, member in vars(value).items() if isinstance(value, type) else ():
        if isinstance(member, FunctionType) and not field.startswith("_") and member.__doc__:
            parts.append(f"**{field}**\n\n{_docstring(member)}")
    return "\n\n".join(parts)


def _signature(name: str, value: Any) -> str:
    """The signature, with a line for each parameter where one line is too long."""
    signature = inspect.signature(value)
    texts = [str(parameter).replace("'", "") for parameter in signature.parameters.values()]
    for place, parameter in enumerate(signature.parameters.values()):
        if parameter.kind is parameter.KEYWORD_ONLY:
            texts.insert(place, "*")
            break
    returned = signature.return_annotation
    end = "" if isinstance(value, type) or returned is signature.empty else f" -> {str(returned).strip(chr(39))}"
    short = f"{name}({', '.join(texts)}){end}"
    return short if len(short) <= 90 else "\n".join([f"{name}(", *(f"    {text}," for text in texts), f"){end}"])


def _docstring(value: Any) -> str:
    """A docstring as Markdown: `<` is no markup, and an indented block is code."""
    text = inspect.getdoc(value) or ""
    return "\n".join(line if line.startswith("    ") else re.sub(r"<", r"\\<", line) for line in text.splitlines())
