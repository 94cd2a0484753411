"""Who may import whom: arrows point one way (the rooms, from the words to the command line)."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = (
    {"harness", "core", "errors", "memo", "migrations", "sinks"},
    {
        "outside",
        "geometry",
        "images",
        "shards",
        "store",
        "statistics",
        "timings",
        "provenance",
        "published",
        "tracking",
    },
    {"metrics", "data", "florence2", "fetching", "progress", "tally"},
    {"training", "speed", "comparison", "serving", "cluster", "data_engine"},
    {"tasks", "baselines"},
    {"protocols", "runner", "report"},
    {"exports", "viewer"},
    {"evaluation"},
    {"gates"},
    {"cli"},
    {"__main__"},
)
LINE_OF = {room: line for line, rooms in enumerate(LINES) for room in rooms}
PACKAGES = ("harness", "tasks", "baselines")
FILES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def room_of(module: str) -> str:
    """`harness.florence2.model` is in florence2, `tasks.refcoco` in tasks, `harness` itself in harness."""
    parts = module.split(".")
    return parts[0] if parts[0] != "harness" or len(parts) == 1 else parts[1]


def imported(path: Path) -> Iterator[str]:
    """Every module of ours that a file imports, wherever in it."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in PACKAGES)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
            for alias in node.names:
                deeper = f"{node.module}.{alias.name}"
                is_module = (ROOT / f"{deeper.replace('.', '/')}.py").is_file() or (
                    ROOT / deeper.replace(".", "/")
                ).is_dir()
                yield deeper if is_module else node.module


def test_every_room_has_its_line() -> None:
    assert {room_of(".".join(path.with_suffix("").parts)) for path in FILES} - {"__init__"} <= LINE_OF.keys()


@pytest.mark.parametrize("path", FILES, ids=str)
def test_arrows_point_one_way(path: Path) -> None:
    """Except in `harness/__init__.py`: the public interface names what it imports when it is first used."""
    if path == Path("harness/__init__.py"):
        return
    room = room_of(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
    for module in imported(path):
        other = room_of(module)
        assert other == room or LINE_OF[other] < LINE_OF[room], f"{path} ({room}) imports {module} ({other})"


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] == "tasks"], ids=str)
def test_tasks_import_no_model_and_not_each_other(path: Path) -> None:
    names = set(imported(path))
    assert not any("florence2" in name or name.startswith("baselines") for name in names)
    family = path.parts[1].removesuffix(".py")
    if family == "rerank":  # its questions are made of a run of retrieval
        names -= {name for name in names if name.startswith("tasks.retrieval")}
    if family != "__init__":
        assert all(name.split(".")[1] == family for name in names if name.startswith("tasks."))


def test_naming_tasks_and_models_imports_no_torch() -> None:
    heavy = "{'torch', 'transformers', 'matplotlib'}"
    code = f"import sys, tasks, baselines, harness.cli; print(sorted({heavy} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_library_code_asserts_nothing_and_swallows_nothing() -> None:
    """An assert disappears under -O; a bare except hides bugs (those that must stay say why on their line)."""
    for path in FILES:
        lines = (ROOT / path).read_text().splitlines()
        for node in ast.walk(ast.parse("\n".join(lines))):
            assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}"
            if isinstance(node, ast.ExceptHandler) and (node.type is None or ast.unparse(node.type) == "Exception"):
                assert "#" in lines[node.lineno - 1], f"{path}:{node.lineno}"
