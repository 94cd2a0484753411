"""The lock of a run's folder: one process at a time queries the model."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import DataError, UsageError
from harness.store.files import disk_errors, refuse_link


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, which is created if it does not exist; the lock ends with the process.

    UsageError if another process holds the lock; ResourceError if the folder cannot be written; DataError if the lock
    is a link, which would be written through.
    """
    with disk_errors("results"):
        folder.mkdir(parents=True, exist_ok=True)
        refuse_link(folder / "lock")
        lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise UsageError(f"another process is running this very run ({folder}); wait for it, or stop it") from error
    try:
        yield
    finally:
        lock.close()


def is_locked(folder: Path) -> bool:
    """Whether a process holds the lock of a folder."""
    try:
        refuse_link(folder / "lock")
        lock = (folder / "lock").open("r")
    except (OSError, DataError):
        return False
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
