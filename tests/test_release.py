"""The release: tag, version and changelog agree, and the workflow is one that GitHub takes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import harness

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
RELEASE: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
USED = re.compile(r"uses: (\S+)")


def checked(tag: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """What `packaging/release.py` in a folder says of a tag."""
    command = [sys.executable, str(root / "packaging/release.py"), tag]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with version 1.2.3 and its changelog."""
    for name in ("harness", "packaging"):
        (tmp_path / name).mkdir()
    shutil.copy(ROOT / "packaging/release.py", tmp_path / "packaging")
    (tmp_path / "harness/__init__.py").write_text('"""Doc."""\n\n__version__ = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## 1.2.3\n\n### Added\n\n- A thing.\n\n## 1.2.2\n\n- Older.\n"
    )
    return tmp_path


def test_first_version_of_the_changelog_is_the_version_of_the_program() -> None:
    numbers = re.findall(r"^## (\d+\.\d+\.\d+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert numbers[0] == harness.__version__ and len(set(numbers)) == len(numbers)
    ordered = sorted(numbers, key=lambda name: [int(part) for part in name.split(".")], reverse=True)
    assert numbers == ordered


def test_tag_of_this_commit_is_its_version() -> None:
    """A commit without a tag, as most are, has nothing to check."""
    command = ["git", "tag", "--points-at", "HEAD", "--list", "v*"]
    tags = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    assert set(tags) <= {f"v{harness.__version__}"}


def test_notes_are_the_section_of_the_version(project: Path) -> None:
    done = checked("v1.2.3", project)
    assert (done.returncode, done.stdout) == (0, "### Added\n\n- A thing.\n")


@pytest.mark.parametrize(
    ("tag", "file", "content", "says"),
    [
        ("v1.2.4", "", "", "the tag is v1.2.4, and harness.__version__ is 1.2.3"),
        ("1.2.3", "", "", "the tag '1.2.3' is not of the form v1.2.3"),
        ("v1.2.3", "CHANGELOG.md", "# C\n\n## 1.2.2\n\n- Older.\n", "the first version in CHANGELOG.md is 1.2.2"),
        ("v1.2.3", "CHANGELOG.md", "# C\n\n## 1.2.3\n\n## 1.2.2\n\n- Older.\n", "and the tag is v1.2.3"),
        ("v1.2.3", "CHANGELOG.md", "# C\n\n## Unreleased\n\n- New.\n\n## 1.2.3\n\n- A.\n", "entries under Unreleased"),
        ("v1.2.3", "CHANGELOG.md", "", "the first version in CHANGELOG.md is none"),
    ],
)
def test_contradiction_is_one_line_and_no_notes(project: Path, tag: str, file: str, content: str, says: str) -> None:
    if file:
        (project / file).write_text(content)
    done = checked(tag, project)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ") and says in done.stderr


def test_empty_unreleased_section_is_no_contradiction(project: Path) -> None:
    changelog = project / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("## 1.2.3", "## Unreleased\n\n## 1.2.3"))
    assert checked("v1.2.3", project).returncode == 0


def test_workflows_are_valid_by_the_schema_of_github() -> None:
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run([*command, *map(str, WORKFLOWS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_have_a_version(workflow: Path) -> None:
    for action in USED.findall(re.sub(r"#.*", "", workflow.read_text())):
        assert re.fullmatch(r"[\w-]+/[\w./-]+@(v\d+(\.\d+\.\d+)?|[0-9a-f]{40})", action), action


def test_publishing_job_has_no_code_of_the_repository_and_no_secret() -> None:
    """Trusted publishing: the token of this run is all that it has, and PyPI checks where the run is from."""
    jobs = RELEASE["jobs"]
    assert RELEASE["permissions"] == {} and RELEASE[True] == {"push": {"tags": ["v*"]}}  # YAML reads `on` as true
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert not any("run" in step or "checkout" in step["uses"] for step in jobs["publish"]["steps"])
    assert "secrets." not in (ROOT / ".github/workflows/release.yml").read_text()
    assert [jobs[name].get("needs") for name in ("build", "publish", "release", "site")] == [
        None, "build", "publish", "release",
    ]  # fmt: skip


def test_make_targets_and_files_of_the_workflow_exist() -> None:
    scripts = "\n".join(step.get("run", "") for job in RELEASE["jobs"].values() for step in job["steps"])
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert set(re.findall(r"make (\w+)", scripts)) <= set(targets)
    assert all((ROOT / name).is_file() for name in re.findall(r"python (\S+\.py)", scripts))


def test_site_step_joins_the_documentation_of_every_release(tmp_path: Path) -> None:
    """The step's own script, with a `gh` that lists three releases, the oldest of them without documentation."""
    [step] = [step for step in RELEASE["jobs"]["site"]["steps"] if "run" in step]
    shutil.copytree(ROOT / "website", tmp_path / "website")
    (tmp_path / "assets").mkdir()
    for version in ("0.9.0", "0.10.0"):
        (tmp_path / "index.html").write_text(version)
        with tarfile.open(tmp_path / f"assets/site-{version}.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / "index.html", "index.html")
    stub = tmp_path / "bin/gh"
    stub.parent.mkdir()
    stub.write_text(
        '#!/bin/sh\nif [ "$2" = list ]; then printf "v0.10.0\\nv0.9.0\\nv0.8.0\\n"; exit; fi\n'
        'mkdir -p build && cp "assets/site-${3#v}.tar.gz" build/ 2>/dev/null\n'
    )
    stub.chmod(0o755)
    environment = {**os.environ, "PATH": f"{stub.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "no documentation in v0.8.0" in done.stdout and "versions: 0.10.0, 0.9.0" in done.stdout
    assert (tmp_path / "build/pages/0.9.0/index.html").read_text() == "0.9.0"
