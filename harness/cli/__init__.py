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

import cyclopts
from cyclopts import App

from baselines import Entry
from harness import __version__
from harness.cli import (
    ablate,
    bench,
    compare,
    data,
    engine,
    finetune,
    gate,
    merge,
    models,
    push,
    report,
    run,
    score,
    serve,
    store,
    tasks,
    train,
    view,
)
from harness.cli.options import model_named
from harness.errors import HarnessError, ResourceError, UsageError
from harness.sinks import block, line

COMMANDS = (
    score, compare, merge, gate, train, finetune, ablate, engine, tasks, models, data, store, push, report, view,
)  # fmt: skip
EXAMPLES = ("python -m", "torchrun")  # the first words of lines of examples in help
LOGGERS = ("harness", "tasks", "baselines")


def application(entry: Entry | None = None) -> App:
    """The application of all commands; `run`, `bench` and `serve` have the options of the model `entry`."""
    app = App(
        name="python -m harness",
        help="Benchmark Florence-2 and its rivals.  A first run: run --task refcoco_res --model florence2-nano",
        version=__version__,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
        help_format="plaintext",
    )
    app.command(run.command(entry))
    app.command(bench.command(entry))
    app.command(serve.command(entry))
    for command in COMMANDS:
        app.update(command.app)
    _wrap_help(app)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status (see `harness.errors`)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    with _log_on_stderr():
        try:
            application(_model_of(words))(words, exit_on_error=False, print_error=False)
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


def _model_of(arguments: list[str]) -> Entry | None:
    """The model of a command that has options of its model; None for other commands."""
    return model_named(arguments) if arguments[:1] in (["run"], ["bench"], ["serve"]) else None


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
