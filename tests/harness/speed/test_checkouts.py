"""Two checkouts in alternation, with real git and real pytest-benchmark; timings that decide are given."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import DataError, UsageError
from harness.gates import judge
from harness.speed import checkouts

Call = Callable[..., tuple[int, str, str]]
BENCHMARK = """
from value import VALUE

def test_one(benchmark):
    assert benchmark(lambda: VALUE) == {}

def test_two(benchmark):
    benchmark(sum, [1, 2])
"""


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository of two commits: the module has the value 1 in the first and 2 in the second."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q")
    for value in (1, 2):
        (folder / "value.py").write_text(f"VALUE = {value}\n")
        (folder / "test_bench.py").write_text(BENCHMARK.replace("{}", str(value)))
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", str(value))
    return folder


def test_each_checkout_runs_its_own_code(project: Path) -> None:
    """Each benchmark asserts the value of its own checkout, and fails with the code of the other."""
    with checkouts.checkout("HEAD~1", project) as base:
        assert (base / "value.py").read_text() == "VALUE = 1\n"
        seconds = checkouts.by_turns(base, project, "test_bench.py", 1)
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

    seconds = checkouts.by_turns(tmp_path / "a", tmp_path / "b", "x", 3, measured=measured)
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


@pytest.mark.parametrize(("slower", "status"), [(1.0, 0), (1.5, 5)])
def test_gate_fails_for_slower_benchmark(
    call: Call, project: Path, monkeypatch: pytest.MonkeyPatch, slower: float, status: int
) -> None:
    """The head takes `slower` times as long as the base in one benchmark, with noise of a few percent."""
    monkeypatch.chdir(project)
    count = iter(range(1000))

    def measured(side: Path, benchmarks: str) -> dict[str, float]:
        noise = 1 + 0.02 * (next(count) % 5)
        return {"one": noise * (slower if side == project else 1.0), "two": noise}

    by_turns = checkouts.by_turns
    monkeypatch.setattr(checkouts, "by_turns", lambda *given: by_turns(*given, measured=measured))
    (project / "gates.toml").write_text(
        '[promise.no-slower]\nbase = "HEAD~1"\nbenchmarks = "test_bench.py"\nat_least = 0.85\n'
    )
    assert judge.ROUNDS >= 6
    code, out, error = call("gate", "--promises", "gates.toml")
    assert code == status, error
    assert ("no-slower one" in error) == (status == 5)
    assert "no-slower two" in out


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ('base = "main"\nat_least = 0.9', "base and benchmarks go together"),
        ('benchmarks = "x"\nat_least = 0.9\ntask = "refcoco"\nmodel = "florence2-nano"', "'task' is not used"),
        ('base = "main"\nbenchmarks = "x"\nat_most = 0.9', "'at_most' is not used"),
        ('base = "main"\nbenchmarks = "x"\nat_least = 0.9\nlimit = 3', "'limit' is not used"),
        ('base = "main"\nbenchmarks = "x"\nat_least = 0.9\nmetric = "parity"', "benchmarks are about speed"),
    ],
)
def test_promise_with_missing_or_unused_key_is_refused(call: Call, tmp_path: Path, lines: str, complaint: str) -> None:
    (tmp_path / "gates.toml").write_text(f"[promise.x]\n{lines}\n")
    status, _, error = call("gate", "--promises", tmp_path / "gates.toml")
    assert status == 2 and complaint in error
