"""The documentation's Python runs, its links lead somewhere, and its commands exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import baselines
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


@pytest.mark.parametrize("page", ["metrics", "intervals", "compare", "metric"])
def test_examples_by_hand_hold(page: str) -> None:
    """The pages' own assertions, which are arithmetic in their texts."""
    scope: dict[str, object] = {}
    for block in blocks(ROOT / f"docs/{page}.md", "python"):
        exec(compile(block, f"docs/{page}.md", "exec"), scope)


def test_metric_of_the_documentation_is_in_the_result(tmp_path: Path, miniature: Path) -> None:
    page = ROOT / "docs/metric.md"
    (tmp_path / "strict.py").write_text(blocks(page, "python")[0])
    [words] = re.findall(r"^python (-m harness run .*)$", page.read_text(), re.M)
    command = [sys.executable, *words.replace("florence2-nano", "whole-image").split(), "--limit", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Acc@0.75" in done.stdout and re.search(r"median IoU +[\d.]+ \[", done.stdout)


def test_rivals_to_begin_with_answer_their_kind() -> None:
    rows = re.findall(r"^\| [^|]+ \| `(\w+)` \| (.+) \| (.+) \|$", (ROOT / "docs/choose.md").read_text(), re.M)
    assert len(rows) == 9
    for kind, *columns in rows:
        for name in re.findall(r"`([^`]+)`", " ".join(columns)):
            assert kind in baselines.find(name).answers({}), (kind, name)


PYTHON = {  # pages whose Python is run: above, or by the tests of tasks and models
    "python", "metrics", "intervals", "compare", "metric", "progress", "README", "tasks", "models",
}  # fmt: skip
NO_PYTHON = {  # and those whose Python needs what is not here
    "engine": "specialists; `tests/harness/evaluation/test_engine.py` calls the same functions",
    "engine_texts": "a language model; `tests/harness/evaluation/test_rewriting.py`",
    "formats": "arrays of the user; `tests/tasks/test_retrieval.py` writes such a file",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_of_a_page_is_run_or_has_a_reason(page: Path) -> None:
    if blocks(page, "python"):
        assert (page.stem in PYTHON) != (page.stem in NO_PYTHON)
        for block in blocks(page, "python"):
            compile(block, str(page), "exec")
        for named in re.findall(r"`(tests/[\w/.]+)`", NO_PYTHON.get(page.stem, "")):
            assert (ROOT / named).is_file(), named


def test_messages_of_the_troubleshooting_page_are_those_of_the_program() -> None:
    """A part of each message, without names, numbers and what `...` stands for, is in the sources."""
    files = [path for folder in ("harness", "baselines", "tasks") for path in (ROOT / folder).rglob("*.py")]
    sources = re.sub(r"[\"']\s*\n\s*f?[\"']", "", "\n".join(path.read_text() for path in files))
    sources = re.sub(r"\{[^{}\n]*\}", "{}", sources)
    rows = re.findall(r"^\| (`.+?) \| ", (ROOT / "docs/troubleshooting.md").read_text(), re.M)
    assert len(rows) > 30
    for message in re.findall(r"`([^`]+)`", "\n".join(rows)):
        parts = re.split(
            r"\.\.\.|'[^']*'|\b(?:[A-Z]|ROOT|NAME)\b|\d\w*|\bint8|\bfloat\d+|: |; |\bwandb\b|run\.json", message
        )
        parts = [part.strip(" ,:;(/") for part in parts]
        assert any(len(part) >= 5 and part in sources for part in parts), message


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
