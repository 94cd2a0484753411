"""Scoring without a model: what is refused before anything is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import harness
from harness import store
from harness.errors import DataError, UsageError
from harness.evaluation import scoring


@pytest.fixture
def predictions(miniature: Path, tmp_path: Path) -> Path:
    harness.evaluate("vizwiz", "oracle", data="miniature", out=tmp_path / "r", export=tmp_path)
    return tmp_path / "vizwiz_val.json"


def test_run_is_called_by_its_file_or_as_given(predictions: Path, tmp_path: Path) -> None:
    plain = harness.score("vizwiz", predictions, data="miniature", out=tmp_path / "s")
    named = harness.score("vizwiz", predictions, data="miniature", out=tmp_path / "s", name="theirs")
    assert (plain.spec.model, named.spec.model) == ("vizwiz_val", "theirs")
    assert plain.spec.protocol == "predictions"
    assert plain.metrics == named.metrics and plain.metrics["accuracy"].value == 100
    assert {run.id for _, run in store.runs(tmp_path / "s")} == {plain.id, named.id}


@pytest.mark.parametrize(("given", "said"), [
    ({"task": "refcoco*"}, "names 7 tasks; predictions are of one"),
    ({"split": "val,train"}, "predictions are of one split"),
    ({"name": "a/b"}, "--name 'a/b'"),
    ({"split": "tets"}, "vizwiz has no split 'tets'"),
])  # fmt: skip
def test_what_cannot_be_meant(tmp_path: Path, given: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("*", r"\*")):
        harness.score(**{"task": "vizwiz", "predictions": tmp_path / "none.json", "data": "miniature", **given})


def test_answers_are_scored_again_with_other_scorers(tmp_path: Path) -> None:
    from harness.evaluation.request import Scorers

    run = harness.evaluate("coco_detection", "whole-image", data="miniature", limit=4, out=tmp_path)
    again, folder = scoring.score_again(run.id, scorers=Scorers(detection_scorer="hotcoco"), out=tmp_path)
    assert again.provenance["marking"] == ["hotcoco"]
    assert json.loads((folder.path / "run.json").read_text())["provenance"]["marking"] == ["hotcoco"]
    with pytest.raises(UsageError, match="no run has the id"):
        scoring.score_again("nothing", out=tmp_path)


def test_numbers_without_intervals_are_those_with_intervals(tmp_path: Path) -> None:
    from harness.evaluation.request import Scorers

    run = harness.evaluate("coco_detection", "whole-image", data="miniature", limit=6, out=tmp_path)
    plain, _ = scoring.score_again(run.id, scorers=Scorers(intervals=False), out=tmp_path)
    assert {name: each.value for name, each in plain.metrics.items()} == {
        name: each.value for name, each in run.metrics.items()
    }
    assert all(each.low is None and each.high is None for each in plain.metrics.values())
    assert plain.provenance["intervals"] == "none"
    again, _ = scoring.score_again(run.id, out=tmp_path)
    assert again.metrics == run.metrics and again.metrics["F1"].low is not None


@pytest.mark.parametrize("task", ["coco_detection", "refcoco", "flickr30k"])
def test_predictions_are_scored_without_image_folders(miniature: Path, tmp_path: Path, task: str) -> None:
    """The annotations of these tasks hold all that scoring needs."""
    whole = harness.evaluate(task, "whole-image", data="miniature", out=tmp_path / "r", export=tmp_path / "p")
    [predictions] = (tmp_path / "p").iterdir()
    without = tmp_path / "data"
    shutil.copytree(miniature, without, ignore=shutil.ignore_patterns("*.jpg", "*.png"))
    for path in sorted(without.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    assert not list(without.rglob("*.jpg"))
    run = harness.score(task, predictions, data=str(without), out=tmp_path / "s")
    assert run.metrics[run.headline] == whole.metrics[run.headline]


def test_answer_of_no_sample_is_refused(predictions: Path, tmp_path: Path) -> None:
    given = json.loads(predictions.read_text())
    predictions.write_text(json.dumps([*given, {"image": "stranger.jpg", "answer": "yes"}]))
    with pytest.raises(DataError, match=r"stranger\.jpg"):
        harness.score("vizwiz", predictions, data="miniature", out=tmp_path / "s")


def test_scores_are_calibrated_on_a_run_of_other_images(miniature: Path, tmp_path: Path) -> None:
    content = json.loads((miniature / "coco/annotations/instances_val2017.json").read_text())
    halves = [content["images"][0::2], content["images"][1::2]]
    runs = []
    for number, images in enumerate(halves):
        path = tmp_path / f"half{number}.json"
        path.write_text(json.dumps({**content, "images": images[:25]}))
        runs.append(
            harness.evaluate(
                "coco_detection", "florence2-nano-ft", data="miniature", annotations=path, out=tmp_path / "r"
            )
        )
    again, _ = scoring.score_again(runs[0].id, calibrate_on=runs[1].id, out=tmp_path / "r")
    assert {name: again.metrics[name] for name in runs[0].metrics} == runs[0].metrics
    assert again.metrics["calibration error calibrated"].value < again.metrics["calibration error"].value
    assert f"boxes of run {runs[1].id}" in again.provenance["policy"]
    with pytest.raises(DataError, match="has 25 of the images that are scored: calibrate on a training split"):
        scoring.score_again(runs[0].id, calibrate_on=runs[0].id, out=tmp_path / "r")
    whole = harness.evaluate("coco_detection", "whole-image", data="miniature", limit=4, out=tmp_path / "r")
    with pytest.raises(UsageError, match="is of model"):
        scoring.score_again(runs[0].id, calibrate_on=whole.id, out=tmp_path / "r")
