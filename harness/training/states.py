"""What a run keeps so that it can go on: written whole to another file, which then replaces the old one."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from harness.errors import CheckpointError, ResourceError, UsageError


class Kept:
    """A file with a step and the state of every part.  `identity` says what run it is of."""

    def __init__(self, path: Path, identity: str = "") -> None:
        self.path = path
        self.identity = identity
        self.step = 0

    def load(self, parts: Mapping[str, Any]) -> int:
        """Loads every part; the step to go on from, 0 where nothing is kept.

        UsageError where the file is another run's, CheckpointError where it cannot be read.
        """
        if not self.path.exists():
            return 0
        try:
            kept = torch.load(self.path, weights_only=True, map_location="cpu")
            if kept["identity"] != self.identity:
                raise UsageError(
                    f"{self.path} is of another run ({kept['identity']}, not {self.identity}): "
                    "another --to, or delete the folder"
                )
            for name, part in parts.items():
                part.load_state_dict(kept["parts"][name])
            torch.set_rng_state(kept["random"])
            self.step = int(kept["step"])
        except UsageError:
            raise
        except Exception as error:  # of a damaged file torch raises whatever its pickle does
            raise CheckpointError(
                f"{self.path} is not a state that was kept here ({type(error).__name__}); delete it to begin again"
            ) from error
        return self.step

    def save(self, step: int, parts: Mapping[str, Any]) -> None:
        """Keeps every part; ResourceError where the disk does not take it, and the old file stays."""
        states = {name: part.state_dict() for name, part in parts.items()}
        kept = {"identity": self.identity, "step": step, "parts": states, "random": torch.get_rng_state()}
        replace_file(self.path, lambda partial: torch.save(kept, partial))
        self.step = step

    def said(self) -> str:
        """Which state is good."""
        return f"the state after {self.step} steps is kept in {self.path}" if self.step else "no state was kept yet"


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """What is beside this lock for this process alone; UsageError where another one has it."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another process is training in {path.parent}; wait for it, or give another --to"
            ) from error
        yield


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """`write` to another file, flushed to disk, which then takes this one's place; ResourceError where it cannot."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # torch's own writer raises RuntimeError for a full disk
        partial.unlink(missing_ok=True)
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = "the disk is full" if full else str(error).splitlines()[0]
        raise ResourceError(f"{path} cannot be written: {why}; what was there is kept as it was") from error
