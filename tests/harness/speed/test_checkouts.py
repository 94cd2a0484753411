"""Two checkouts in alternation, with real git and real pytest-benchmark; timings that decide are given."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.errors import DataError, UsageError
from harness.speed import checkouts


def test_each_checkout_runs_its_own_code(project: Path) -> None:
    """Each benchmark asserts the value of its own checkout, and fails with the code of the other."""
    with checkouts.checkout("HEAD~1", project) as base:
        assert (base / "value.py").read_text() == "VALUE = 1\n"
        seconds = checkouts.interleaved(base, project, "test_bench.py", 1)
    assert list(seconds) == ["test_bench.py::test_one", "test_bench.py::test_two"]
    assert all(len(times) == 1 and times[0] > 0 for sides in seconds.values() for times in sides.values())
    assert not base.exists()
    (project / "HEAD~1").mkdir()  # a folder is not meant without a "/"
    with checkouts.checkout("HEAD~1", project) as base, checkouts.checkout("./", project, project) as folder:
        assert base.name == "tree" and folder == project.resolve()
    assert list(checkouts.medians(project, "test_bench.py -k 'two or nothing'")) == ["test_bench.py::test_two"]
    listed = subprocess.run(["git", "-C", str(project), "worktree", "list"], capture_output=True, text=True, check=True)
    assert len(listed.stdout.splitlines()) == 1  # temporary worktrees are gone


def test_rounds_alternate_order_and_leave_out_new_benchmarks(tmp_path: Path) -> None:
    sides: list[str] = []

    def measured(side: Path, benchmarks: str) -> dict[str, float]:
        sides.append(side.name)
        return {"both": 1.0 + len(sides), side.name: 9.0}

    seconds = checkouts.interleaved(tmp_path / "a", tmp_path / "b", "x", 3, measured=measured)
    assert sides == ["a", "b", "b", "a", "a", "b"]
    assert seconds == {"both": {"base": [2.0, 5.0, 6.0], "head": [3.0, 4.0, 7.0]}}


def test_base_that_is_no_revision_is_refused(project: Path) -> None:
    with pytest.raises(UsageError, match="a checkout's folder or a git revision"), checkouts.checkout("nope", project):
        pass


def test_failing_and_missing_benchmarks_raise_data_error(project: Path) -> None:
    (project / "value.py").write_text("VALUE = 3\n")
    with pytest.raises(DataError, match=r"exit status 1:(?s:.*)assert 3 == 2"):
        checkouts.medians(project, "test_bench.py")
    with pytest.raises(DataError, match=r"has no file nothing\.py with benchmarks"):
        checkouts.medians(project, "nothing.py::test_one")
