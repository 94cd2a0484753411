"""Commands that train, list, pack and measure, with hostile names in data, in options and in packages of others."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from harness.training import log, nano, recipes
from harness.training.recipe import Plan
from tests import origin
from tests.harness.cli.calling import Call
from tests.harness.cli.hostile import HOSTILE, NAME, assert_files_are_safe, assert_safe

MODULE = "hostile_package_of_a_test"
PACKAGE = """
from dataclasses import replace
from baselines.trivial import ENTRIES
from harness.core import FileNeed
from tasks import TASKS
from tests.harness.cli.hostile import HOSTILE, NAME
COCO_CAPTION = TASKS["coco_caption"]
predictions = replace(COCO_CAPTION.predictions, description=HOSTILE)
files = (*COCO_CAPTION.files, FileNeed(HOSTILE, HOSTILE, instead=NAME))
TASK = replace(COCO_CAPTION, name=HOSTILE, about=HOSTILE, headline=HOSTILE, predictions=predictions, files=files)
LEARNT = replace(COCO_CAPTION, name=HOSTILE)  # with the files of COCO
SPLIT = replace(TASK, name="b", splits=(HOSTILE,), train_splits=(HOSTILE,))
MODEL = replace(ENTRIES[0], name="hostile", about=HOSTILE, parameters=HOSTILE, repo=HOSTILE, revision=HOSTILE,
                at_hand=lambda: HOSTILE)
"""
NANO_WEIGHTS = Path(__file__).parents[3] / "baselines/weights/florence2-nano"
NANO = ("--model", "florence2-nano", "--set", "steps=2", "--set", "batch=2", "--set", "warmup=1")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An installed package with hostile tasks and a hostile model, and an entry point that cannot be loaded."""
    folder = tmp_path / "packages"
    information = folder / f"{MODULE}-1.0.dist-info"
    information.mkdir(parents=True)
    (folder / f"{MODULE}.py").write_text(PACKAGE)
    (folder / f"broken_{MODULE}.py").write_text("from tests.harness.cli.hostile import HOSTILE\nraise OSError(HOSTILE)")
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        f"[florence2_harness.tasks]\na = {MODULE}:TASK\nb = {MODULE}:SPLIT\nc = broken_{MODULE}:TASK\n"
        f"[florence2_harness.models]\na = {MODULE}:MODEL\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    yield MODULE
    sys.modules.pop(MODULE, None)


@pytest.mark.parametrize("command", [
    ("tasks",), ("tasks", "--json"), ("models",), ("models", "--json"), ("data", "list"),
])  # fmt: skip
def test_lists_of_a_hostile_package_show_no_control_character(
    here: Call, package: str, command: tuple[str, ...]
) -> None:
    outcome = here(*command)
    assert_safe(outcome)
    assert outcome.status == 0, outcome
    assert "HYPERLINK" in outcome.out
    assert "HYPERLINK" in outcome.err or command[0] == "models"  # the entry point that cannot be loaded


def captions(root: Path) -> Path:
    """A data root with hostile names and captions: three images of nocaps, and three of COCO's Karpathy train split.

    Of each three, the first is an image, the second is damaged and the third is missing.
    """
    (root / "coco/annotations").mkdir(parents=True)
    for folder, file in (("nocaps/val", "nocaps/nocaps_val_4500_captions.json"),
                         ("coco/train2014", "coco/annotations/captions_train2014.json")):  # fmt: skip
        (root / folder).mkdir(parents=True)
        Image.new("RGB", (40, 30), (9, 9, 9)).save(root / folder / f"{NAME}0.png")
        (root / folder / f"{NAME}1.png").write_text(HOSTILE)
        content = {
            "images": [{"id": n, "file_name": f"{NAME}{n}.png", "width": 40, "height": 30} for n in range(3)],
            "annotations": [{"image_id": n, "caption": text} for n in range(3) for text in (HOSTILE, "a dog")],
        }
        (root / file).write_text(json.dumps(content))
    karpathy = [{"cocoid": n, "split": "train"} for n in range(3)]
    (root / "coco/dataset_coco.json").write_text(json.dumps({"images": karpathy}))
    return root


def test_pack_and_check_of_hostile_file_names_show_no_control_character(here: Call, tmp_path: Path) -> None:
    root = captions(tmp_path / "root")
    for command in (("check", "--decode"), ("pack",), ("pack",)):
        outcome = here("data", *command, "--task", "nocaps", "--data", root)
        assert_safe(outcome)
        assert outcome.status == 3, outcome
        assert "<img src=x onerror=alert(1)>" in outcome.out  # the names of the missing and of the damaged image


def test_fetch_of_hostile_names_sources_and_answers_shows_no_control_character(
    here: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = captions(tmp_path / "root")
    quoted = json.dumps(HOSTILE, ensure_ascii=True)
    table = f"""
        [[source]]
        name = {quoted}
        kind = "images"
        urls = ["https://one/{{name}}"]
        path = "nocaps/val"
        licence = {quoted}
        tried = true"""
    (tmp_path / "table.toml").write_text(table)
    hostile = origin.status(200, HOSTILE.encode(), Content_Encoding="\x1b[31mgzip\x07")
    with origin.serving({}) as server:
        monkeypatch.setenv("FLORENCE2_HARNESS_MIRROR", server.url)
        server.faults[f"one/{NAME}2.png"] = [hostile]
        outcome = here("data", "fetch", "--task", "nocaps", "--data", root, "--sources", tmp_path / "table.toml")
    assert_safe(outcome)
    assert outcome.status == 6 and "not fetched: " in outcome.complaint, outcome


def test_finetune_on_hostile_captions_and_file_names_shows_no_control_character(here: Call, tmp_path: Path) -> None:
    root = captions(tmp_path / "root")
    command = ("finetune", *NANO, "--task", "coco_caption", "--split", "train", "--data", root)
    refused = here(*command, "--to", tmp_path / "out")
    assert_safe(refused)
    assert refused.status == 3 and "onerror" in refused.complaint
    outcome = here(*command, "--skip-bad-images", "0.9", "--to", tmp_path / f"out/{NAME}")
    assert_safe(outcome)
    assert outcome.status == 0, outcome
    assert "onerror" in outcome.err
    assert_files_are_safe(tmp_path / "out")


def test_finetune_on_hostile_categories_shows_no_control_character(here: Call, tmp_path: Path) -> None:
    folder = tmp_path / "root/coco"
    (folder / "train2017").mkdir(parents=True)
    (folder / "annotations").mkdir()
    Image.new("RGB", (40, 30), (9, 9, 9)).save(folder / "train2017" / f"{NAME}.png")
    annotation = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}
    content = {
        "images": [{"id": 1, "file_name": f"{NAME}.png", "width": 40, "height": 30}],
        "annotations": [annotation],
        "categories": [{"id": 7, "name": HOSTILE}],
    }
    (folder / "annotations/instances_train2017.json").write_text(json.dumps(content))
    command = ("finetune", *NANO, "--task", "coco_detection", "--data", tmp_path / "root", "--to", tmp_path / "out")
    outcome = here(*command)
    assert_safe(outcome)
    assert outcome.status == 0, outcome
    content["annotations"][0]["bbox"] = HOSTILE
    (folder / "annotations/instances_train2017.json").write_text(json.dumps(content))
    refused = here(*command[:-1], tmp_path / "other")
    assert_safe(refused)
    assert refused.status == 3, refused


def test_finetune_on_a_task_of_hostile_name_writes_a_safe_log(
    here: Call, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "STEPS_PER_ROW", 1)  # two rows, so that the log is plotted
    root = captions(tmp_path / "root")
    for name in ("1", "2"):
        shutil.copy(root / f"coco/train2014/{NAME}0.png", root / f"coco/train2014/{NAME}{name}.png")
    outcome = here(
        "finetune", *NANO, "--task", f"{package}:LEARNT", "--split", "train", "--data", root, "--to", tmp_path / "out"
    )
    assert_safe(outcome)
    assert outcome.status == 0, outcome
    assert_files_are_safe(tmp_path / "out")
    [table] = (tmp_path / "out").glob("*.csv")
    assert len(log.read(table)) == 2 and "HYPERLINK" in table.read_text()
    assert table.with_suffix(".png").is_file()


@pytest.mark.parametrize("command", [
    ("train", "--recipe", HOSTILE), ("train", "--recipe", "nano", "--set", HOSTILE),
    ("train", "--recipe", "nano", "--set", f"{HOSTILE}=1"), ("train", "--recipe", "nano", "--set", f"rate={HOSTILE}"),
    ("train", "--recipe", "nano", "--start", HOSTILE), ("train", "--recipe", "nano", "--device", HOSTILE),
    ("recipes", HOSTILE),
    ("finetune", "--model", HOSTILE), ("finetune", *NANO, "--task", HOSTILE), ("finetune", *NANO, "--split", HOSTILE),
    ("finetune", *NANO, "--weights", HOSTILE), ("finetune", *NANO, "--data", HOSTILE),
    ("ablate", "--study", HOSTILE), ("ablate", "--study", "prompts", "--arm", HOSTILE),
    ("ablate", "--study", "prompts", "--device", HOSTILE),
    ("data", "list", "--task", HOSTILE), ("data", "pack", "--task", HOSTILE),
    ("data", "fetch", "--task", HOSTILE, "--data", "x"), ("data", "fetch", "--task", "nocaps", "--sources", HOSTILE),
    ("data", "fetch", "--task", "nocaps", "--data", "x", "--sources", HOSTILE),
    ("data", "pack", "--task", "nocaps", "--split", HOSTILE), ("data", "pack", "--task", "nocaps", "--data", HOSTILE),
    ("bench", "--model", HOSTILE), ("bench", "--model", "florence2-nano", "--device", HOSTILE),
    ("bench", "--model", "florence2-nano", "--task", HOSTILE),
    ("bench", "--model", "florence2-nano", "--split", HOSTILE),
    ("bench", "--model", "florence2-nano", "--weights", HOSTILE),
    ("bench", "--model", "florence2-nano", "--data", HOSTILE),
    ("bench", "--model", "florence2-nano", "--beams", HOSTILE), ("bench", "--model", "florence2-nano", HOSTILE, "1"),
    ("bench", "--model", "florence2-nano", "--against", HOSTILE), ("tasks", HOSTILE), ("models", f"--{HOSTILE}"),
], ids=lambda command: " ".join(command).replace(HOSTILE, "HOSTILE"))  # fmt: skip
def test_hostile_options_are_refused_in_one_safe_line(here: Call, command: tuple[str, ...]) -> None:
    outcome = here(*command)
    assert_safe(outcome)
    assert outcome.status in (2, 3, 4, 6), outcome
    assert outcome.complaint.startswith("error: ")


def test_train_into_a_hostile_folder_shows_no_control_character(
    here: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(nano.NANO_RECIPE.data, scenes=4, vision=Plan(steps=1, batch=2, rate=1e-3, warmup=0))
    short = replace(nano.NANO_RECIPE, plan=Plan(steps=1, batch=2, rate=1e-3, warmup=0), data=few)
    monkeypatch.setattr(recipes, "RECIPES", {**recipes.RECIPES, "nano": short})
    outcome = here("train", "--recipe", "nano", "--start", NANO_WEIGHTS, "--to", tmp_path / f"out/{NAME}")
    assert_safe(outcome)
    assert outcome.status == 0, outcome
    assert "checkpoint: " in outcome.out
    assert_files_are_safe(tmp_path / "out")


def test_ablate_report_into_a_hostile_folder_shows_no_control_character(here: Call, tmp_path: Path) -> None:
    outcome = here(
        "ablate", "--study", "prompts", "--seeds", "1", "--only-report", "--out", tmp_path / NAME, "--to",
        tmp_path / f"to/{NAME}",
    )  # fmt: skip
    assert_safe(outcome)
    assert outcome.status in (0, 3), outcome
    assert_files_are_safe(tmp_path / "to")


def test_bench_with_hostile_folders_and_data_shows_no_control_character(here: Call, tmp_path: Path) -> None:
    root = captions(tmp_path / "root")
    shutil.copytree(NANO_WEIGHTS, tmp_path / NAME)
    outcome = here(
        "bench", "--model", "florence2-nano", "--weights", tmp_path / NAME, "--data", root, "--images", "1",
        "--task", "nocaps", "--level", "smoke", "--new-tokens", "2", "--no-stages", "--out", tmp_path / f"out/{NAME}",
        "--to", tmp_path / f"to/{NAME}",
    )  # fmt: skip
    assert_safe(outcome)
    assert outcome.status in (0, 3), outcome
    assert_files_are_safe(tmp_path / "to")
