"""The cache of replies: kept once, through kill -9, by several processes, and files that are none."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from harness.data_engine.replies import SCHEMA, Replies, Stored
from harness.errors import DataError, ResourceError

ROOT = Path(__file__).parents[3]


def test_first_reply_of_a_key_stays(tmp_path: Path) -> None:
    with Replies(tmp_path / "folder" / "replies.sqlite") as replies:
        assert replies.get("k") is None and len(replies) == 0
        replies.put("k", Stored("a dog", False))
        replies.put("k", Stored("a cat", True))
        assert replies.get("k") == Stored("a dog", False) and len(replies) == 1
    with Replies(tmp_path / "folder" / "replies.sqlite") as again:
        assert again.get("k") == Stored("a dog", False)


def test_failures_are_apart_counted_and_gone_with_a_reply(tmp_path: Path) -> None:
    with Replies(tmp_path / "r.sqlite") as replies:
        replies.fail("k", "status 500")
        replies.fail("k", "no answer within 5 s")
        assert replies.get("k") is None
        assert replies.failures() == {"k": ("no answer within 5 s", 2)}
        replies.put("k", Stored("a dog", False))
        assert replies.failures() == {}


def test_any_text_is_kept(tmp_path: Path) -> None:
    with Replies(tmp_path / "r.sqlite") as replies:
        replies.put("half", Stored("a \ud800 dog\0", False))
        replies.fail("reason", "\udfff")
        assert replies.get("half") == Stored("a ? dog\0", False)


def test_replies_survive_a_kill(tmp_path: Path) -> None:
    """A process that is killed after each reply was kept, without closing the file."""
    path = tmp_path / "r.sqlite"
    code = (
        "import os, signal, sys; from pathlib import Path; from harness.data_engine.replies import Replies, Stored\n"
        "replies = Replies(Path(sys.argv[1]))\n"
        "for n in range(50): replies.put(f'k{n}', Stored(str(n), False))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == -signal.SIGKILL
    with Replies(path) as replies:
        assert len(replies) == 50 and replies.get("k49") == Stored("49", False)


def test_two_open_files_see_each_other(tmp_path: Path) -> None:
    with Replies(tmp_path / "r.sqlite") as one, Replies(tmp_path / "r.sqlite") as other:
        one.put("k", Stored("a dog", False))
        assert other.get("k") == Stored("a dog", False)


@pytest.mark.parametrize(
    "content", [b"not a database at all, but a text of some length" * 9, b"SQLite format 3\0" + b"x" * 90]
)
def test_file_that_is_no_database_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"r\.sqlite holds no replies .* move it away") as caught:
        Replies(path)
    assert "\n" not in str(caught.value) and path.read_bytes() == content


def test_file_of_another_version_is_refused(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "r.sqlite")
    database.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    database.commit()
    database.close()
    with pytest.raises(DataError, match="has version 2; this one is 1"):
        Replies(tmp_path / "r.sqlite")


def test_file_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "r.sqlite", tmp_path):
        with pytest.raises(ResourceError, match="cannot be"):
            Replies(path)
