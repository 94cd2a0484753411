"""The documentation's Python runs, its links lead somewhere, and its commands exist."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from harness.cli import application

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)


def test_python_page_runs_block_after_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, miniature: Path) -> None:
    monkeypatch.chdir(tmp_path)
    photo = next((miniature / "coco/val2017").glob("*.jpg"))
    scope = {"photo": photo}
    for block in blocks(ROOT / "docs/python.md", "python"):
        exec(compile(block, "docs/python.md", "exec"), scope)
    with Image.open("car.png") as car:
        assert car.size > (0, 0)
    assert scope["scored"].metrics["Acc@0.5"] == scope["run"].metrics["Acc@0.5"]


@pytest.mark.parametrize("page", ["metrics", "intervals"])
def test_examples_by_hand_hold(page: str) -> None:
    """The pages' own assertions, which are arithmetic in their texts."""
    scope: dict[str, object] = {}
    for block in blocks(ROOT / f"docs/{page}.md", "python"):
        exec(compile(block, f"docs/{page}.md", "exec"), scope)


def test_progress_page_logs_to_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    [block] = blocks(ROOT / "docs/progress.md", "python")
    exec(compile(block, "docs/progress.md", "exec"), {})
    [folder] = (tmp_path / "tracking/tensorboard").iterdir()
    assert folder.name.startswith("refcoco_val_whole-image")


def test_readme_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, miniature: Path) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(next((miniature / "coco/val2017").glob("*.jpg")), "photo.jpg")
    [block] = blocks(ROOT / "README.md", "python")
    assert len(block.splitlines()) <= 7
    exec(compile(block.replace("limit=50", "limit=3"), "README.md", "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    text = page.read_text()
    for target in [*re.findall(r"\]\(([^)#]+?)\)", text), *re.findall(r'src="([^"]+)"', text)]:
        assert target.startswith("http") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_a_page_exist(page: Path) -> None:
    commands = set(application())
    for name in re.findall(r"python -m harness ([a-z]+)", page.read_text()):
        assert name in commands, name


def test_readme_is_short_and_every_page_is_listed() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
    index = (ROOT / "docs/README.md").read_text()
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"} == set(
        re.findall(r"\((\w+\.md)\)", index)
    )
