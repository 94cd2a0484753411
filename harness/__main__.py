"""`python -m harness`."""

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def _search_current_folder_last() -> None:
    """Moves the current folder to the end of the search path, unless this project lies in it.

    So a `tasks/` or a `baselines.py` of the user's hides nothing, and `--task my_module:TASK` is still found.
    """
    here, project = Path.cwd(), Path(__file__).resolve().parents[1]
    if here == project:
        return
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    if not sys.flags.safe_path:
        sys.path.append(str(here))


_search_current_folder_last()

# Threads that wait for work look for it some microseconds long and then sleep: on a shared machine, spinning ones are
# up to nine times slower, and ones that sleep at once cost a small model a quarter of its speed.
# OpenMP reads this once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
# oneDNN, and torch above it, keep half a megabyte for each of the last 1,024 shapes that were multiplied.  Of the few
# that come again and again (see `linear.filled`) none is made anew for want of room; with more of it, memory would grow
# with a run's questions.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
os.environ.setdefault("LRU_CACHE_CAPACITY", "128")
# MKL keeps buffers of its own as well; without them products were as quick.
os.environ.setdefault("MKL_DISABLE_FAST_MM", "1")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status.

    Python looks for cycles after every 700 new objects and, ever more rarely, through all there are: a seventh of a
    second each time once torch is imported, and there are next to none.
    """
    from harness import cli  # once the search path and the settings above are in place

    gc.set_threshold(100_000, 20, 20)
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
