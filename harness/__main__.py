"""Entry point of `python -m harness`: sets the search path and environment variables, then runs a command."""

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def _search_current_folder_last() -> None:
    """Moves the current folder to the end of the search path, unless it is this project's folder.

    So a `tasks/` or `baselines.py` of the user's shadows no module of this project, and `--task my_module:TASK` is
    still found.
    """
    here, project = Path.cwd(), Path(__file__).resolve().parents[1]
    if here == project:
        return
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    if not sys.flags.safe_path:
        sys.path.append(str(here))


_search_current_folder_last()

# Waiting threads spin for some microseconds and then sleep.  Longer spinning slows down a shared machine; no spinning
# slows down a small model.  OpenMP reads these variables once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
# oneDNN and torch each cache kernels for the last 1,024 shapes by default, so memory would grow with a run's questions.
# 128 entries hold the few shapes that recur (see `linear.filled`).
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
os.environ.setdefault("LRU_CACHE_CAPACITY", "128")
# MKL's buffers cost memory and make no product faster.
os.environ.setdefault("MKL_DISABLE_FAST_MM", "1")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status.

    Garbage collection starts more rarely than by default: this project makes few cycles, and a search through all
    objects of torch takes long.
    """
    from harness import cli  # after the search path and the variables above are set

    gc.set_threshold(100_000, 20, 20)
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
