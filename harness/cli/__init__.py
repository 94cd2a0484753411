"""The command line: the one room that knows every room.  Results go to stdout, progress and complaints to stderr."""

from __future__ import annotations

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
    finetune,
    gate,
    models,
    report,
    run,
    score,
    store,
    tasks,
    train,
)
from harness.cli.options import model_named
from harness.errors import HarnessError, ResourceError, UsageError

COMMANDS = (score, compare, gate, train, finetune, ablate, tasks, models, data, store, report)
LOGGERS = ("harness", "tasks", "baselines")


def application(entry: Entry | None = None) -> App:
    """The commands; those that take a model's options take those of `entry`."""
    app = App(
        name="python -m harness",
        help="Evaluate Florence-2 and its rivals.  Begin with: run --task refcoco_res --model florence2-nano",
        version=__version__,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
        help_format="plaintext",
    )
    app.command(run.command(entry))
    app.command(bench.command(entry))
    for command in COMMANDS:
        app.update(command.app)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status (see `errors`)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with _log_on_stderr():
        try:
            application(_model_of(given))(given, exit_on_error=False, print_error=False)
        except cyclopts.CycloptsError as error:
            hint = "`--help` after a command says what it takes"
            if isinstance(error, cyclopts.UnknownOptionError) and "--model" in given:
                hint = "`--model NAME --help` lists the options of a model"
            return _complain(f"{_one_line(error)} ({hint})", UsageError.exit_status)
        except HarnessError as error:
            return _complain(_one_line(error), error.exit_status)
        except KeyboardInterrupt as error:
            kept = "what was done is kept; run the same command again to resume"
            return _complain(f"interrupted; {str(error) or kept}", 130)
        except BrokenPipeError:  # `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:  # a path or a disk that cannot be used, anywhere
            if error.filename is None and error.strerror is None:
                raise
            where = f"{error.filename}: " if error.filename is not None else ""
            return _complain(f"{where}{error.strerror or error}", ResourceError.exit_status)
    return 0


def _model_of(arguments: list[str]) -> Entry | None:
    """The model whose options the command takes, if it is one that takes any."""
    return model_named(arguments) if arguments[:1] in (["run"], ["bench"]) else None


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Within it, what this project logs is lines on stderr."""
    handler = logging.StreamHandler(sys.stderr)
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


def _complain(message: str, status: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status
