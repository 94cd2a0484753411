"""The command line: the one room that knows every room.  Results go to stdout, progress and complaints to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import cyclopts
from cyclopts import App

from harness import __version__
from harness.cli import ablate, bench, compare, data, finetune, gate, models, report, run, score, store, tasks, train
from harness.errors import HarnessError, ResourceError, UsageError

app = App(
    name="python -m harness",
    help="Benchmarks Florence-2 and its rivals.  Begin with: run --task refcoco_res --model florence2-nano",
    version=__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
    help_format="plaintext",
)
for command in (run, score, compare, gate, bench, train, finetune, ablate, tasks, models, data, store, report):
    app.update(command.app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status (see `errors`)."""
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError as error:
        return _complain(f"{_one_line(error)} (`--help` after a command says what it takes)", UsageError.exit_status)
    except HarnessError as error:
        return _complain(_one_line(error), error.exit_status)
    except KeyboardInterrupt as error:
        kept = "what was done is kept, and the same command goes on from there"
        return _complain(f"interrupted; {str(error) or kept}", 130)
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a path or a disk that cannot be used, wherever it was
        if error.filename is None and error.strerror is None:
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        return _complain(f"{where}{error.strerror or error}", ResourceError.exit_status)
    return 0


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _complain(message: str, status: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status
