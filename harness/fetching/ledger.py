"""The sha256 of every file that was fetched into a data root, by address: recorded once, compared later.

ROOT/.fetch/fetched.json has an entry for each address.  A publisher that replaces a file is noticed this way, where the
table of sources has no sum.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from harness.errors import DataError
from harness.store.files import disk_errors, read_regular, refuse_link, replace_file

MOST_BYTES = 1 << 26
FOLDER = ".fetch"


class Fetched(msgspec.Struct, frozen=True):
    """What an address gave: the sum and the size of the file."""

    sha256: str
    bytes: int

    @classmethod
    def of(cls, path: Path) -> Fetched:
        """The entry of a file on this disk."""
        with path.open("rb") as file:
            return cls(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)


class Ledger:
    """The record of one data root."""

    def __init__(self, root: Path) -> None:
        self.path = root / FOLDER / "fetched.json"

    def read(self) -> dict[str, Fetched]:
        """All entries by address; DataError where the file is malformed."""
        try:
            return msgspec.json.decode(read_regular(self.path, MOST_BYTES), type=dict[str, Fetched])
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path} is not a record of fetched files ({error}); correct or delete it") from error

    def add(self, url: str, fetched: Fetched) -> None:
        """Records a file; several threads and processes may record at once."""
        self._change(lambda entries: {**entries, url: fetched})

    def forget(self, url: str) -> None:
        """Removes the entry of an address, whose file turned out to be unusable."""
        self._change(lambda entries: {key: entry for key, entry in entries.items() if key != url})

    def _change(self, changed: Callable[[dict[str, Fetched]], dict[str, Fetched]]) -> None:
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            refuse_link(self.path.parent / "fetched.lock")
            with (self.path.parent / "fetched.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                entries = changed(self.read())
                replace_file(self.path, msgspec.json.format(msgspec.json.encode(entries), indent=1))
