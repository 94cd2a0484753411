"""The command line: each command parses, calls one function and prints.

Results go to stdout; progress and errors go to stderr.
"""

from __future__ import annotations

import inspect
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

import cyclopts
from cyclopts import App

from harness import __version__
from harness.errors import HarnessError, ResourceError, UsageError
from harness.sinks import block, line

if TYPE_CHECKING:
    from baselines import Entry

COMMANDS = {  # the module of each command, which is imported when the command is used, and its line in `--help`
    "ablate": ("ablate", "Run an ablation study of the paper on small models, and write its table and figure."),
    "bench": (
        "bench",
        "Measure latency or throughput by fixed rules, and report each measurement as VALID, or INVALID with reasons.",
    ),
    "compare": (
        "compare",
        "Compare two runs sample by sample: every difference with its interval and p-value, and which answers changed.",
    ),
    "data": ("data", "List, fetch, check and pack the data that tasks need on disk; make a set of your own."),
    "engine": (
        "engine", "The data engine: specialists annotate images, filters decide what is kept, as for FLD-5B."
    ),
    "export": (
        "export",
        "Write the answers of one run as the benchmark's official result file or for another tool, or the metrics of "
        "all runs as one table.",
    ),
    "finetune": (
        "finetune",
        "Fine-tune a checkpoint on the training splits of one task, of several tasks, or of the paper's mixture of "
        "tasks.",
    ),
    "gate": (
        "gate",
        "Judge promises about a model, such as a least score; the exit status is 5 where a promise does not hold.",
    ),
    "ls": ("store", "List kept runs: data, task, split, model, state, headline metric and age."),
    "merge": (
        "merge",
        "Join the shards that `run --shard 1/16` to `16/16` asked into whole runs, and score these; needs no model.",
    ),
    "models": (
        "models",
        "List models: number of parameters, repository, pinned revision, weights on this machine, and their licence.",
    ),
    "push": (
        "push",
        "Push the numbers of one run to its model's repository on the hub, as `export --hub` writes them to a folder.",
    ),
    "recipes": ("train", "List training recipes, or show the settings of one and which of them the paper states."),
    "report": (
        "report", "Write a page of all runs, with the published figures and the worst predictions of each run."
    ),
    "rm": ("store", "Remove one run below OUT and its answers.  Files that no run wrote stay, with their folder."),
    "run": (
        "run",
        "Evaluate a model on tasks: query the model, keep its answers, score them, and print metrics with intervals.",
    ),
    "score": (
        "score", "Score kept answers again, or predictions made elsewhere; needs no model, no torch and no GPU."
    ),
    "serve": ("serve", "Serve a Florence-2 model by the chat-completions protocol of OpenAI, until Ctrl-C."),
    "show": ("store", "Print one run: every metric with its interval, counts, speed, and folder."),
    "tasks": (
        "tasks", "List tasks: splits, training splits, headline metric, and the format of `score --predictions`."
    ),
    "train": (
        "train",
        "Pre-train a model by a recipe, on drawn scenes or an engine folder; the same command resumes a training.",
    ),
    "view": (
        "view",
        "Show all runs in a browser, until Ctrl-C: leaderboard, runs, tasks, samples and more.  Runs in progress "
        "update.",
    ),
}  # fmt: skip
WITH_MODEL = ("run", "bench", "serve")  # commands that have the options of their model
EXAMPLES = ("python -m", "torchrun")  # the first words of lines of examples in help
LOGGERS = ("harness", "tasks", "baselines")


def application(entry: Entry | None = None, only: str | None = None) -> App:
    """The application of all commands; `run`, `bench` and `serve` have the options of the model `entry`.

    `only` names the command whose module is imported; the others then have their line of help and nothing else.
    None imports all of them.
    """
    app = App(
        name="python -m harness",
        help="Benchmark Florence-2 and its rivals.  A first run: run --task refcoco_res --model florence2-nano",
        version=__version__,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
        help_format="plaintext",
    )
    for name, (module, about) in COMMANDS.items():
        if only not in (None, name):
            app.command(App(name=name, help=about))
            continue
        commands = import_module(f"harness.cli.{module}")
        app.command(commands.command(entry) if name in WITH_MODEL else commands.app[name], name=name)
    _wrap_help(app)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status (see `harness.errors`)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    with _log_on_stderr():
        try:
            application(_model_of(words), _command_of(words))(words, exit_on_error=False, print_error=False)
        except cyclopts.CycloptsError as error:
            hint = "`--help` after a command lists its options"
            if isinstance(error, cyclopts.UnknownOptionError) and "--model" in words:
                hint = "`--model NAME --help` lists the options of a model"
            return _print_error(f"{_one_line(error)} ({hint})", UsageError.exit_status)
        except HarnessError as error:
            return _print_error(_one_line(error), error.exit_status)
        except KeyboardInterrupt as error:
            resume = "finished work is kept; run the same command again to resume"
            return _print_error(f"interrupted; {str(error) or resume}", 130)
        except BrokenPipeError:  # as under `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:  # of any path or disk that the command uses
            if error.filename is None and error.strerror is None:
                raise
            where = f"{error.filename}: " if error.filename is not None else ""
            return _print_error(f"{where}{error.strerror or error}", ResourceError.exit_status)
    return 0


def _wrap_help(app: App) -> None:
    """Joins the lines of each paragraph of help, for the terminal to wrap; lines of examples stay."""
    for name in app:
        command = app[name]
        if isinstance(command, App):
            if command.default_command is not None:
                paragraphs = (inspect.getdoc(command.default_command) or "").split("\n\n")
                command.help = "\n\n".join(
                    paragraph if paragraph.startswith(EXAMPLES) else " ".join(paragraph.split("\n"))
                    for paragraph in paragraphs
                )
            _wrap_help(command)


def _command_of(arguments: list[str]) -> str:
    """The first word of a command line that names a command; "" without one."""
    return next((word for word in arguments if word in COMMANDS), "")


def _model_of(arguments: list[str]) -> Entry | None:
    """The model of a command that has options of its model; None for other commands."""
    if arguments[:1] not in ([name] for name in WITH_MODEL):
        return None
    from harness.cli.model_options import model_named

    return model_named(arguments)


class _LineFormatter(logging.Formatter):
    """A log message on one line of a terminal; the lines of a traceback stay."""

    def format(self, record: logging.LogRecord) -> str:
        return block(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:
        return line(record.getMessage())


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Prints this project's log messages as lines on stderr, within the context."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LineFormatter())
    for name in LOGGERS:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)
    try:
        yield
    finally:
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(handler)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _print_error(message: str, status: int) -> int:
    print(f"error: {line(message)}", file=sys.stderr)
    return status
