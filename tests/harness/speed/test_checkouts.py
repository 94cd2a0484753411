"""Two checkouts by turns: real git, real pytest-benchmark; what decides is given."""

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
    """A repository whose first commit's module says 1, and whose second one's says 2."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q")
    for value in (1, 2):
        (folder / "value.py").write_text(f"VALUE = {value}\n")
        (folder / "test_bench.py").write_text(BENCHMARK.replace("{}", str(value)))
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", str(value))
    return folder


def test_each_side_runs_its_own_code(project: Path) -> None:
    """Each test asserts its own checkout's value, so the other's code would fail it."""
    with checkouts.checkout("HEAD~1", project) as base:
        assert (base / "value.py").read_text() == "VALUE = 1\n"
        found = checkouts.by_turns(base, project, "test_bench.py", 1)
    assert list(found) == ["test_bench.py::test_one", "test_bench.py::test_two"]
    assert all(len(times) == 1 and times[0] > 0 for sides in found.values() for times in sides.values())
    assert not base.exists()
    (project / "HEAD~1").mkdir()  # a folder of the revision's name is not meant
    with checkouts.checkout("HEAD~1", project) as base, checkouts.checkout("./", project, project) as folder:
        assert base.name == "tree" and folder == project.resolve()
    assert list(checkouts.medians(project, "test_bench.py -k 'two or nothing'")) == ["test_bench.py::test_two"]
    told = subprocess.run(["git", "-C", str(project), "worktree", "list"], capture_output=True, text=True, check=True)
    assert len(told.stdout.splitlines()) == 1  # and git knows of no other


def test_who_is_first_changes_and_new_benchmarks_are_left_out(tmp_path: Path) -> None:
    asked: list[str] = []

    def measured(side: Path, benchmarks: str) -> dict[str, float]:
        asked.append(side.name)
        return {"both": 1.0 + len(asked), side.name: 9.0}

    found = checkouts.by_turns(tmp_path / "a", tmp_path / "b", "x", 3, measured=measured)
    assert asked == ["a", "b", "b", "a", "a", "b"]
    assert found == {"both": {"base": [2.0, 5.0, 6.0], "head": [3.0, 4.0, 7.0]}}


def test_what_cannot_be_a_base_is_said(project: Path) -> None:
    with pytest.raises(UsageError, match="a checkout's folder or a git revision"), checkouts.checkout("nope", project):
        pass


def test_benchmarks_that_fail_are_said(project: Path) -> None:
    (project / "value.py").write_text("VALUE = 3\n")
    with pytest.raises(DataError, match=r"exit status 1:(?s:.*)assert 3 == 2"):
        checkouts.medians(project, "test_bench.py")
    with pytest.raises(DataError, match=r"has no nothing\.py: there is nothing to time"):
        checkouts.medians(project, "nothing.py::test_one")


@pytest.mark.parametrize(("slower", "status"), [(1.0, 0), (1.5, 5)])
def test_the_gate_is_red_for_what_became_slower(
    call: Call, project: Path, monkeypatch: pytest.MonkeyPatch, slower: float, status: int
) -> None:
    """Timings as given: the head's of one benchmark so many times the base's, with noise of a few percent."""
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
    code, out, said = call("gate", "--promises", "gates.toml")
    assert code == status, said
    assert ("no-slower one" in said) == (status == 5)
    assert "no-slower two" in out


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ('base = "main"\nat_least = 0.9', "base and benchmarks go together"),
        ('benchmarks = "x"\nat_least = 0.9\ntask = "refcoco"\nmodel = "florence2-nano"', "go together"),
        ('base = "main"\nbenchmarks = "x"\nat_most = 0.9', "at_least: how many times"),
        ('base = "main"\nbenchmarks = "x"\nat_least = 0.9\nlimit = 3', "and nothing else"),
        ('base = "main"\nbenchmarks = "x"\nat_least = 0.9\nmetric = "parity"', "and nothing else"),
    ],
)
def test_a_promise_with_half_of_it_is_refused(call: Call, tmp_path: Path, lines: str, complaint: str) -> None:
    (tmp_path / "gates.toml").write_text(f"[promise.x]\n{lines}\n")
    status, _, said = call("gate", "--promises", tmp_path / "gates.toml")
    assert status == 2 and complaint in said
