"""The wheel and the source distribution: what they hold, and that the wheel runs without the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import harness

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("harness", "tasks", "baselines")
BUILD = "import sys, setuptools.build_meta as b; getattr(b, sys.argv[1])(sys.argv[2])"


def built(kind: str, source: Path, to: Path) -> Path:
    """A distribution that the build backend makes of a source folder, without a network."""
    command = [sys.executable, "-c", BUILD, f"build_{kind}", str(to)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=300)
    [path] = to.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return path


def kept_files() -> set[str]:
    """The files of the packages that git keeps, without those that it ignores."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *PACKAGES]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return {name for name in listed if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel of the source distribution, and the source distribution of a copy of the repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    folder = tmp_path_factory.mktemp("package")
    names = ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "CHANGELOG.md", "CITATION.cff", "SECURITY.md")
    for name in (*kept_files(), *names, "constraints.txt"):
        (folder / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / "copy" / name)
    source = built("sdist", folder / "copy", folder)
    with tarfile.open(source) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    [unpacked] = (folder / "unpacked").iterdir()
    return built("wheel", unpacked, folder), source


def test_wheel_of_the_source_distribution_has_every_file_of_the_packages(distributions: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(distributions[0]) as wheel:
        held = {name for name in wheel.namelist() if name.partition("/")[0] in PACKAGES}
        information = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
        assert "florence2-harness = harness.__main__:main" in wheel.read(information).decode()
    assert held == kept_files()
    assert {f"{package}/py.typed" for package in PACKAGES} <= held


def test_installed_wheel_runs_without_the_repository(
    distributions: tuple[Path, Path], tmp_path: Path, miniature: Path
) -> None:
    with zipfile.ZipFile(distributions[0]) as wheel:
        wheel.extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-m", "harness", "run", "--task", "refcoco", "--model", "whole-image"]
    done = subprocess.run(
        [*command, "--data", "miniature", "--limit", "2"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Acc@0.5" in done.stdout
    where = [sys.executable, "-c", "import harness; print(harness.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert found.startswith(str(tmp_path / "site"))


def test_wheel_has_the_version_of_the_program(distributions: tuple[Path, Path]) -> None:
    assert distributions[0].name.startswith(f"florence2_harness-{harness.__version__}-")


def test_citation_file_has_the_keys_that_its_format_requires() -> None:
    """Citation File Format 1.2.0: cff-version, message, title and authors, each author with a name."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0" and {"message", "title", "authors"} <= cited.keys()
    for each in (cited, *cited["references"]):
        assert all("name" in author or "family-names" in author for author in each["authors"])
    assert cited["license"] == PROJECT["license"]


def test_script_of_the_image_installs_into_a_new_folder_alone(tmp_path: Path) -> None:
    script = ["sh", str(ROOT / "packaging/install.sh")]
    for arguments, complaint in (([], "usage: "), ([str(tmp_path)], "is there already")):
        done = subprocess.run([*script, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and complaint in done.stderr


def test_image_runs_the_tested_script_and_copies_nothing_large() -> None:
    image = (ROOT / "Dockerfile").read_text()
    assert "sh /source/packaging/install.sh /opt/harness" in image
    assert {".git", ".venv", "build"} <= set((ROOT / ".dockerignore").read_text().split())


def test_install_page_lists_every_extra() -> None:
    rows = re.findall(r"^\| (`.+?) \|", (ROOT / "docs/install.md").read_text(), re.M)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == PROJECT["optional-dependencies"].keys()


def test_every_extra_that_a_page_names_exists() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for names in re.findall(r"florence2-harness\[([\w,-]+)\]", page.read_text()):
            assert set(names.split(",")) - {"EXTRA"} <= PROJECT["optional-dependencies"].keys(), (page.name, names)
