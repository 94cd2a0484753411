"""`--data ENGINE`: fine-tuning and the paper's pre-training on an engine folder, at small size, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.core import Source
from harness.data_engine.records import Record
from harness.errors import DataError, UsageError
from harness.evaluation import engine_task, tuning
from harness.florence2 import weights
from harness.florence2.preprocess import read_preprocess
from harness.protocols import zero_shot
from harness.training.history import history_of
from harness.training.paper import PRETRAINING
from tasks import TASKS
from tests.harness.data_engine import samples
from tests.harness.data_engine.folders import folder
from tests.harness.training.tiny import SMALL

CHANGES = {"steps": "2", "batch": "2", "warmup": "1", "save_every": "2", "precision": "float32"}


@pytest.fixture(scope="module")
def records(miniature: Path) -> list[Record]:
    """Records of images of training, and of one that RefCOCO evaluates."""
    evaluated = next(iter(TASKS["refcoco"].load(Source(miniature, "val")))).question.image_name
    return [*samples.records(miniature, 3), samples.record(miniature, evaluated)]


@pytest.fixture(scope="module")
def engine(miniature: Path, records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("engines") / "mine"
    folder(path, miniature, records)
    return path


def test_finetune_on_an_engine_names_it_in_the_history(engine: Path, records: list[Record], tmp_path: Path) -> None:
    checkpoint = tuning.tuned(
        "florence2-nano", task="fld", data=str(engine), changes=CHANGES, device="cpu", to=tmp_path / "run"
    )
    before, run = history_of(checkpoint) or [{}, {}]
    assert (before["recipe"]["name"], set(run["tasks"])) == ("nano", {"fld"})
    told = run["tasks"]["fld"]
    assert told["engine"]["folder"] == "mine"
    assert told["engine"]["rounds"] == 1
    assert "specialist detector weights abc" in told["engine"]["origins"]
    assert run["kept_out"] > 0  # images that RefCOCO evaluates
    # 11 samples of each image of which none is kept out.
    assert told["samples"] == 11 * 3
    seen = zero_shot.seen(TASKS["coco_caption"], checkpoint)
    assert seen.splits == () and "fld" in seen.others
    assert tuning.tuned(
        "florence2-nano", task="fld", data=str(engine), changes=CHANGES, device="cpu", to=tmp_path / "run"
    ) == checkpoint  # fmt: skip


def test_paper_s_stage_is_taught_an_engine_from_random_weights(engine: Path, tmp_path: Path) -> None:
    """Both stages of the paper at small size: the second starts from the checkpoint of the first, at more pixels."""
    first, second = (
        replace(each, config=replace(SMALL, image_size=side), image_size=side)
        for each, side in zip(PRETRAINING[:2], (64, 96), strict=True)
    )
    one = tuning.pretrained(first, data=str(engine), changes=CHANGES, device="cpu", to=tmp_path / "one")
    [run] = history_of(one) or []
    assert run["from"] == weights.load(tmp_path / "one/start").sha256
    assert run["tasks"]["fld"]["engine"]["folder"] == "mine"
    two = tuning.pretrained(second, data=str(engine), start=one, changes=CHANGES, device="cpu", to=tmp_path / "two")
    before, run = history_of(two) or [{}, {}]
    assert (before["recipe"]["name"], run["recipe"]["name"]) == ("base-stage1", "base-stage2")
    preprocess = read_preprocess(two)
    assert preprocess is not None and preprocess.height == 96


@pytest.mark.parametrize(("task", "message"), [
    ("refcoco", "is an engine folder: its task is fld, and not refcoco"),
    ("fld,coco_caption", "its task is fld, and not coco_caption"),
])  # fmt: skip
def test_other_tasks_of_an_engine_are_refused(engine: Path, task: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tuning.tuned("florence2-nano", task=task, data=str(engine), device="cpu")


def test_engine_is_needed_and_only_where_it_is_used(engine: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the task fld needs --data ENGINE, .*; miniature is none"):
        tuning.tuned("florence2-nano", task="fld", data="miniature", device="cpu")
    with pytest.raises(UsageError, match=r"the task fld needs --data ENGINE, .*; none was given"):
        tuning.pretrained("base-stage1", device="cpu", to=tmp_path / "x")
    with pytest.raises(UsageError, match=r"--data .*: the recipe 'nano' draws its own scenes"):
        tuning.pretrained("nano", data=str(engine), device="cpu", to=tmp_path / "x")
    with pytest.raises(UsageError, match="recipe 'unified' is for `finetune`"):
        tuning.pretrained("unified", data=str(engine), device="cpu", to=tmp_path / "x")


def test_engine_without_annotations_or_images_is_refused(miniature: Path, tmp_path: Path) -> None:
    [record] = samples.records(miniature, 1)
    path = tmp_path / "empty"
    folder(path, miniature, [replace(record, annotations=(), verdicts=())])
    with pytest.raises(DataError, match=r"has no annotations; .*engine annotate"):
        engine_task.engine_data(str(path))
    folder(tmp_path / "lost", tmp_path / "gone", [record])
    with pytest.raises(DataError, match=r"the images of .*lost are gone: .*gone is no folder"):
        engine_task.engine_data(str(tmp_path / "lost"))
    (path / "engine.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(DataError, match=r"engine\.json cannot be read"):
        engine_task.engine_data(str(path))


def test_other_data_is_no_engine(miniature: Path) -> None:
    assert engine_task.engine_data("miniature") is None
    assert engine_task.engine_data(None) is None
    assert engine_task.engine_data(str(miniature)) is None
