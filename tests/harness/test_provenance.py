"""Provenance: versus git, the standard library, and a checkout made for the test."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

import pytest

import harness
from harness import provenance


def git(folder: Path, *arguments: str) -> str:
    """Runs git in a folder, without the user's settings."""
    settings = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    command = ["git", *settings, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with one commit, in which provenance.py is taken to lie."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "provenance.py").write_text("first")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    return tmp_path


def test_provenance_has_versions_machine_and_command() -> None:
    record = provenance.provenance(("harness", "run"), seen="nothing")
    assert record["harness"] == harness.__version__
    assert record["python"] == sys.version.split()[0]
    assert record["packages"]["numpy"] == metadata.version("numpy")
    assert record["machine"]["cores"] == os.cpu_count()
    assert record["machine"]["system"] == platform.platform()
    assert (record["command"], record["seen"]) == ("harness run", "nothing")


def test_date_is_utc_now_in_iso_8601() -> None:
    date = datetime.strptime(provenance.provenance(())["date"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert timedelta(0) <= datetime.now(UTC) - date < timedelta(minutes=5)


def test_commit_is_head_and_dirty_says_whether_tracked_files_changed(checkout: Path) -> None:
    record = provenance.provenance(())
    assert (record["commit"], record["dirty"]) == (git(checkout, "rev-parse", "HEAD"), False)
    (checkout / "untracked").touch()
    assert not provenance.provenance(())["dirty"]
    (checkout / "provenance.py").write_text("second")
    assert provenance.provenance(())["dirty"]


def test_commit_of_a_checkout_that_does_not_track_this_code_is_empty(checkout: Path) -> None:
    """A package that is installed inside another project's checkout."""
    git(checkout, "rm", "--quiet", "--cached", "provenance.py")
    assert provenance.provenance(())["commit"] == ""


def test_commit_outside_a_checkout_or_without_git_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert (provenance.provenance(())["commit"], provenance.provenance(())["dirty"]) == ("", False)
    monkeypatch.setenv("PATH", "")
    assert provenance.provenance(())["commit"] == ""


def test_version_of_a_package_that_is_not_installed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("no-such-package",))
    assert provenance.provenance(())["packages"] == {"no-such-package": None}
