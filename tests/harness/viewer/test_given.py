"""What the pages are made of."""

from __future__ import annotations

from pathlib import Path

from harness.evaluation.viewing import Live
from harness.viewer.given import Library, Listed
from harness.viewer.static import Fixed
from tests.harness.viewer.viewed import run_of


def test_both_sources_of_pages_are_libraries(tmp_path: Path) -> None:
    libraries: list[Library] = [Fixed([], 0), Live(tmp_path)]  # mypy checks the methods
    assert [list(library.listed()) for library in libraries] == [[], []]
    assert Listed(run_of("a"), "record", "f").run.spec.model == "a"
