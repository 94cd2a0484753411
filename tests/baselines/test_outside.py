"""A rival from somebody else's package: run, compared, gated and reported; and entries that cannot be used."""

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
from baselines import Entry, NoOptions
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
    """The one Python block of the page that defines a rival."""
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 20
    return str(code)


def package(root: Path, code: str, entry: str = "") -> Path:
    """A package `rival` as pip leaves it: its module, and its metadata."""
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


def test_installed_rival_is_run_compared_gated_and_reported(tmp_path: Path) -> None:
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
    [found] = json.loads(compared.stdout)
    assert "Acc@0.5" in found["metrics"]
    promise = '[promise.floor]\ntask = "refcoco"\nmodel = "middle"\nlimit = 6\nmetric = "mIoU"\nat_least = 0.1\n'
    (tmp_path / "gates.toml").write_text(promise)
    gated = call(tmp_path, "gate", "--promises", "gates.toml")
    assert gated.returncode == 0, gated.stdout + gated.stderr
    reported = call(tmp_path, "report", "--pictures", "2")
    assert reported.returncode == 0, reported.stderr
    assert "middle" in (tmp_path / "reports/index.html").read_text()
    listed = call(tmp_path, "models")
    assert "the middle of the image" in listed.stdout


def test_named_rival_needs_no_installation_and_help_has_its_options(tmp_path: Path) -> None:
    package(tmp_path, page_example())
    helped = call(tmp_path, "run", "--model", "rival:MIDDLE", "--help")
    assert "Side of the box, as a share" in helped.stdout and "--share" in helped.stdout
    done = call(tmp_path, "run", "--task", "refcoco", "--model", "rival:MIDDLE", *DATA, "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["spec"]["model"], record["provenance"]["model from"]) == ("middle", "rival:MIDDLE")


def test_kinds_that_a_rival_does_not_answer_are_left_out_of_all_and_refused_by_name(tmp_path: Path) -> None:
    package(tmp_path, page_example())
    named = call(tmp_path, "run", "--task", "vizwiz", "--model", "rival:MIDDLE", *DATA)
    assert named.returncode == 2
    assert "middle cannot be evaluated on vizwiz: it answers no vqa questions, only refer" in named.stderr
    every = call(tmp_path, "run", "--task", "*coco*", "--model", "rival:MIDDLE", *DATA, "--json")
    assert every.returncode == 0, every.stderr
    assert {run["spec"]["task"] for run in json.loads(every.stdout)} == {"refcoco", "refcoco_plus", "refcocog"}
    assert "left out: coco_caption, since middle answers no caption questions" in every.stderr


def test_current_folder_shadows_nothing(tmp_path: Path) -> None:
    """A user's own `tasks` and `baselines` are found after the project's, and a rival in the folder still is."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/__init__.py").write_text("raise RuntimeError('the wrong tasks')")
    (tmp_path / "baselines.py").write_text("raise RuntimeError('the wrong baselines')")
    package(tmp_path, page_example())
    done = call(tmp_path, "run", "--task", "refcoco", "--model", "rival:MIDDLE", *DATA, path=ROOT)
    assert done.returncode == 0, done.stderr


def test_entry_point_that_raises_is_named_and_others_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    package(tmp_path, "raise RuntimeError('half installed')", "rival:MIDDLE")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list(baselines.every()) == list(baselines.MODELS)
    assert "the models of rival:MIDDLE cannot be loaded: half installed" in caplog.text
    assert baselines.find("oracle").name == "oracle"


def test_second_model_of_a_name_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    package(tmp_path, page_example().replace('name="middle"', 'name="oracle"'), "rival:MIDDLE")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert baselines.every()["oracle"] is baselines.MODELS["oracle"]
    assert "rival:MIDDLE has models 'oracle', whose name is taken: it is left out" in caplog.text


@pytest.mark.parametrize(("given", "said"), [
    ("nowhere.to_be:MODEL", "No module named 'nowhere'"),
    ("json:MODEL", "has no attribute 'MODEL'"),
    ("json:", "module:NAME"),
    ("json:loads", "neither an Entry nor several"),
])  # fmt: skip
def test_name_of_what_is_no_entry_is_one_line(given: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        baselines.find(given)


class Clashing:
    """An options class whose field has the name of an option of `run`."""


@pytest.mark.parametrize(("name", "options", "said"), [
    ("a/b", NoOptions, "the model name 'a/b'"),
    ("x" * 300, NoOptions, "up to 100 letters"),
    ("<b>", NoOptions, "the model name '<b>'"),
    ("fine", dict, "a frozen dataclass is expected"),
])  # fmt: skip
def test_entry_that_cannot_be_used_is_refused(name: str, options: type, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        Entry(name=name, about="", build=lambda setting, _: None, options=options)  # type: ignore[arg-type,return-value]


def test_options_that_clash_or_have_no_default_are_refused() -> None:
    from dataclasses import make_dataclass

    for field, said in ((("limit", int, 3), "its option 'limit' has the name of an option of the harness"),
                        (("share", float), "its option 'share' has no default")):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            Entry(name="one", about="", build=lambda s, o: None, options=make_dataclass("Options", [field]))  # type: ignore[arg-type,return-value,list-item]
