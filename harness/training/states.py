"""The training state of a run, from which an interrupted run resumes, and files that are replaced in one step."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.errors import CheckpointError, ResourceError, UsageError
from harness.florence2.tensors import not_finite


class TrainingState:
    """A file with the number of finished steps and the state of every part of a run.

    `identity` names the run; a state of another run is not loaded.
    """

    def __init__(self, path: Path, identity: str = "") -> None:
        self.path = path
        self.identity = identity
        self.step = 0

    def load(self, parts: Mapping[str, Any]) -> int:
        """Loads the state into every part; the number of finished steps, 0 where there is no file.

        UsageError for a file of another run, CheckpointError for a file that cannot be loaded or holds NaN or infinity.
        """
        if not self.path.exists():
            return 0
        try:
            saved = torch.load(self.path, weights_only=True, map_location="cpu")
            if saved["identity"] != self.identity:
                raise UsageError(
                    f"{self.path} is of another run ({saved['identity']}, not {self.identity}): "
                    "give another --to, or delete the folder"
                )
            self._refuse_not_finite(saved["parts"], "")
            for name, part in parts.items():
                part.load_state_dict(saved["parts"][name])
            torch.set_rng_state(saved["random"])
            self.step = int(saved["step"])
        except (UsageError, CheckpointError):
            raise
        except Exception as error:  # for a damaged file, torch raises whatever its unpickler raises
            raise CheckpointError(
                f"{self.path} is not a training state of this version ({type(error).__name__}); "
                "delete the file to train from the first step"
            ) from error
        return self.step

    def _refuse_not_finite(self, value: object, name: str) -> None:
        """CheckpointError for the first tensor with NaN or infinity; `name` is the place of `value` in the file."""
        if isinstance(value, Tensor) and value.is_floating_point():
            if bad := not_finite(value):
                counted = f"{name.lstrip('.')} has {bad:,} of {value.numel():,} values that are NaN or infinite"
                raise CheckpointError(f"{self.path}: {counted}; delete the file to train from the first step")
        elif isinstance(value, dict | list | tuple):
            for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
                self._refuse_not_finite(inner, f"{name}.{key}")

    def save(self, step: int, parts: Mapping[str, Any]) -> None:
        """Writes the state of every part after `step` steps; ResourceError if writing fails: the old file stays."""
        states = {name: part.state_dict() for name, part in parts.items()}
        saved = {"identity": self.identity, "step": step, "parts": states, "random": torch.get_rng_state()}
        replace_file(self.path, lambda partial: torch.save(saved, partial))
        self.step = step

    def summary(self) -> str:
        """Which training state is on disk, for error messages."""
        if not self.step:
            return "no training state is saved yet"
        return f"the training state after {self.step} steps is saved in {self.path}"


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds the lock file `path`; UsageError if another process holds the lock."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another process is training in {path.parent}; wait for its end, or give another --to"
            ) from error
        yield


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` on a temporary file, flushes the file to disk and moves the file to `path`.

    ResourceError if writing fails: the old file stays as it was.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # torch.save raises RuntimeError for a full disk
        partial.unlink(missing_ok=True)
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else str(error).splitlines()[0]
        raise ResourceError(f"{path} cannot be written: {reason}; the old file is unchanged") from error
