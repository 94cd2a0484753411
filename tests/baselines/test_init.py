"""Models by name, and a model of another package: it is run, compared, gated and reported."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import baselines
from baselines import Entry
from harness.errors import UsageError

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/models.md"
DATA = ("--data", "miniature", "--limit", "6")


@pytest.fixture(autouse=True)
def not_imported() -> Iterator[None]:
    """No test finds the `rival` that another imported."""
    sys.modules.pop("rival", None)
    yield
    sys.modules.pop("rival", None)


def page_example() -> str:
    """The Python block of the documentation page that defines a model."""
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 20
    return str(code)


def package(root: Path, code: str, entry: str = "") -> Path:
    """A package `rival` as pip installs it: its module, and its metadata."""
    (root / "rival.py").write_text(code)
    if entry:
        info = root / "rival-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rival\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[florence2_harness.models]\nrival = {entry}\n")
    return root


def call(folder: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`python -m harness ...` in a folder, with the package on the search path."""
    environment = {**os.environ, "PYTHONPATH": f"{path or folder}:{ROOT}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_models_of_each_file_are_found_by_name() -> None:
    own = {"florence2-nano", "florence2-l", "oracle", "oracle-quantised", "whole-image", "blip2-opt-2.7b"}
    assert own <= set(baselines.MODELS)
    assert len(baselines.MODELS) == sum(len(family.ENTRIES) for family in baselines.FAMILIES)  # no name twice
    assert all(entry.about for entry in baselines.MODELS.values())
    with pytest.raises(UsageError, match="did you mean florence2-l"):
        baselines.find("florence-2-l")


def test_origin_is_recorded_for_models_of_other_packages_only() -> None:
    assert baselines.origin_of(baselines.find("oracle"), "oracle") == {}
    other = Entry(
        name="oracle", about="", build=lambda setting, options: baselines.find("oracle").build(setting, options)
    )
    assert baselines.origin_of(other, "a.b:ORACLE") == {"model from": "a.b:ORACLE"}


def test_installed_model_is_run_compared_gated_and_reported(tmp_path: Path) -> None:
    package(tmp_path, page_example(), "rival:MIDDLE")
    done = call(tmp_path, "run", "--task", "refcoco", "--model", "middle", "--share", "0.8", *DATA, "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["spec"]["model"] == "middle"
    assert "share=0.8" in record["spec"]["fingerprint"]
    assert record["provenance"]["model from"] == "middle"
    assert record["metrics"]["mIoU"]["value"] > 0
    floor = call(tmp_path, "run", "--task", "refcoco", "--model", "whole-image", *DATA)
    assert floor.returncode == 0, floor.stderr
    compared = call(tmp_path, "compare", "whole-image", "middle", "--json")
    assert compared.returncode == 0, compared.stderr
    [comparison] = json.loads(compared.stdout)
    assert "Acc@0.5" in comparison["metrics"]
    promise = '[promise.floor]\ntask = "refcoco"\nmodel = "middle"\nlimit = 6\nmetric = "mIoU"\nat_least = 0.1\n'
    (tmp_path / "gates.toml").write_text(promise)
    gated = call(tmp_path, "gate", "--promises", "gates.toml")
    assert gated.returncode == 0, gated.stdout + gated.stderr
    reported = call(tmp_path, "report", "--pictures", "2")
    assert reported.returncode == 0, reported.stderr
    assert "middle" in (tmp_path / "reports/index.html").read_text()
    listed = call(tmp_path, "models")
    assert "the middle of the image" in listed.stdout


def test_model_named_by_module_runs_without_installation_and_help_has_its_options(tmp_path: Path) -> None:
    package(tmp_path, page_example())
    helped = call(tmp_path, "run", "--model", "rival:MIDDLE", "--help")
    assert "Side of the box, as a share" in helped.stdout and "--share" in helped.stdout
    done = call(tmp_path, "run", "--task", "refcoco", "--model", "rival:MIDDLE", *DATA, "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["spec"]["model"], record["provenance"]["model from"]) == ("middle", "rival:MIDDLE")


def test_task_of_another_kind_is_left_out_of_all_and_refused_by_name(tmp_path: Path) -> None:
    package(tmp_path, page_example())
    named = call(tmp_path, "run", "--task", "vizwiz", "--model", "rival:MIDDLE", *DATA)
    assert named.returncode == 2
    assert "middle cannot be evaluated on vizwiz: it answers no vqa questions, only refer" in named.stderr
    every = call(tmp_path, "run", "--task", "*coco*", "--model", "rival:MIDDLE", *DATA, "--json")
    assert every.returncode == 0, every.stderr
    assert {run["spec"]["task"] for run in json.loads(every.stdout)} == {"refcoco", "refcoco_plus", "refcocog"}
    assert "left out: coco_caption, since middle answers no caption questions" in every.stderr


def test_modules_of_the_current_folder_do_not_hide_the_project_s(tmp_path: Path) -> None:
    """With the user's own `tasks` and `baselines` in the folder, the project's are used, and the model is found."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/__init__.py").write_text("raise RuntimeError('the wrong tasks')")
    (tmp_path / "baselines.py").write_text("raise RuntimeError('the wrong baselines')")
    package(tmp_path, page_example())
    done = call(tmp_path, "run", "--task", "refcoco", "--model", "rival:MIDDLE", *DATA, path=ROOT)
    assert done.returncode == 0, done.stderr


def test_entry_point_that_raises_is_logged_and_other_models_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    package(tmp_path, "raise RuntimeError('half installed')", "rival:MIDDLE")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "rival", raising=False)
    assert list(baselines.every()) == list(baselines.MODELS)
    assert "the models of rival:MIDDLE cannot be loaded: half installed" in caplog.text
    assert baselines.find("oracle").name == "oracle"


def test_second_model_with_a_name_is_logged_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    package(tmp_path, page_example().replace('name="middle"', 'name="oracle"'), "rival:MIDDLE")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert baselines.every()["oracle"] is baselines.MODELS["oracle"]
    assert "rival:MIDDLE has models 'oracle', whose name is taken: it is left out" in caplog.text


@pytest.mark.parametrize(("name", "message"), [
    ("nowhere.to_be:MODEL", "No module named 'nowhere'"),
    ("json:MODEL", "has no attribute 'MODEL'"),
    ("json:", "module:NAME"),
    ("json:loads", "neither an Entry nor several"),
])  # fmt: skip
def test_name_of_a_module_without_a_model_is_a_usage_error(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        baselines.find(name)


def test_embedded_weights_are_at_most_16_megabytes() -> None:
    sizes = [path.stat().st_size for path in (ROOT / "baselines/weights").rglob("*.safetensors")]
    assert len(sizes) == 3 and sum(sizes) <= 16_000_000
