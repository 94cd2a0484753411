"""The replies of a language model in one SQLite file, so that no request is made twice.

A request's key is the digest of its whole body: model, parameters, schema and messages.  Failures are kept apart, and a
later run may make their requests again.  Several threads and processes may use the file at once, and it survives
kill -9.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from harness.errors import DataError, ResourceError

SCHEMA = 1  # raise it whenever a table changes
WAIT = 60.0  # seconds for another process to finish writing
_TABLES = (
    "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, text TEXT NOT NULL, cut INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS failures (key TEXT PRIMARY KEY, reason TEXT NOT NULL, tries INTEGER NOT NULL)",
)


class Stored(NamedTuple):
    """A reply; `cut` says that the model hit its limit of tokens."""

    text: str
    cut: bool


class Replies:
    """The replies in a file, which is created with its folder.

    DataError for a file that is no such database, or of another version; ResourceError if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=WAIT, check_same_thread=False, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._database.close()
                raise

    def _prepare(self) -> None:
        [version] = self._database.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA):
            raise DataError(f"{self.path} has version {version}; this one is {SCHEMA}: move it away to ask anew")
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        for table in _TABLES:
            self._database.execute(table)
        self._database.execute(f"PRAGMA user_version = {SCHEMA}")

    def get(self, key: str) -> Stored | None:
        """The reply to a request; None if there is none."""
        with self._lock, self._errors():
            row = self._database.execute("SELECT text, cut FROM replies WHERE key = ?", (key,)).fetchone()
        return Stored(row[0], bool(row[1])) if row else None

    def put(self, key: str, reply: Stored) -> None:
        """Keeps a reply.  The first of a key stays, so that texts that were made of it stay true."""
        with self._lock, self._errors():
            values = (key, reply.text.encode("utf-8", "replace").decode(), int(reply.cut))
            self._database.execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?)", values)
            self._database.execute("DELETE FROM failures WHERE key = ?", (key,))

    def fail(self, key: str, reason: str) -> None:
        """Keeps why a request has no reply, and counts its tries."""
        with self._lock, self._errors():
            said = (
                "INSERT INTO failures VALUES (?, ?, 1) ON CONFLICT (key) DO UPDATE SET reason = ?2, tries = tries + 1"
            )
            self._database.execute(said, (key, reason.encode("utf-8", "replace").decode()))

    def failures(self) -> dict[str, tuple[str, int]]:
        """The requests without a reply: key to the last reason and the number of tries."""
        with self._lock, self._errors():
            rows = self._database.execute("SELECT key, reason, tries FROM failures ORDER BY key").fetchall()
        return {key: (reason, tries) for key, reason, tries in rows}

    def __len__(self) -> int:
        """The number of replies."""
        with self._lock, self._errors():
            [count] = self._database.execute("SELECT COUNT(*) FROM replies").fetchone()
        return int(count)

    def __enter__(self) -> Replies:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Errors of SQLite and of the disk as errors of the project, on one line."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise ResourceError(f"{self.path} cannot be used ({error}); is the disk full or read-only?") from error
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.path} holds no replies ({error}); move it away to ask anew") from error
        except OSError as error:
            raise ResourceError(f"{self.path} cannot be created: {error.strerror}") from error
