"""Every module that defines a function or class has a test file of its name in the same place under `tests/`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("harness", "tasks", "baselines")
MODULES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
OF_SEVERAL_MODULES = {  # test files of no single module
    "tests/harness/test_imports.py": "who imports whom",
    "tests/harness/test_statistics_coverage.py": "simulations of harness/statistics.py, which take long",
    "tests/harness/evaluation/test_own_data.py": "annotations and images of the user, in several modules",
    "tests/harness/cli/test_hostile_names.py": "hostile names and texts, through commands on records",
    "tests/harness/cli/test_hostile_commands.py": "hostile names and texts, through the other commands",
    "tests/baselines/test_all_rivals.py": "a model of every family in one grid",
    "tests/baselines/test_fine_tunes.py": "checkpoints as other training tools leave them",
    "tests/tasks/test_hostile.py": "damaged annotations, through the readers of all tasks",
    "tests/tasks/miniature/test_formats.py": "the files of the embedded benchmark against official readers",
}  # fmt: skip


def mirrored(module: Path) -> Path:
    """`harness/cli/run.py` has `tests/harness/cli/test_run.py`; `__init__` and `__main__` lose their underscores."""
    return Path("tests") / module.parent / f"test_{module.stem.strip('_')}.py"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_module_with_code_has_a_test_file(module: Path) -> None:
    nodes = ast.walk(ast.parse((ROOT / module).read_text()))
    if any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in nodes):
        assert (ROOT / mirrored(module)).is_file(), f"there is no {mirrored(module)}"


def test_test_file_has_a_module_or_is_listed() -> None:
    of_modules = {mirrored(module) for module in MODULES}
    tests = [path for package in PACKAGES for path in (ROOT / "tests" / package).rglob("test_*.py")]
    files = {path.relative_to(ROOT) for path in tests}
    assert {str(path) for path in files - of_modules} == set(OF_SEVERAL_MODULES)
