"""Calibration of an engine: whose truth, which thresholds, and what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import harness
from harness.data_engine.calibration import right_of
from harness.data_engine.filtering import is_stale
from harness.errors import UsageError
from tasks.miniature.engine_world import objects, truths_of
from tests.harness.evaluation.engine_scenes import recipe, scenes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes(tmp_path_factory.mktemp("scenes"), 30)


def test_threshold_of_each_origin_has_the_precision_and_a_lower_one_has_not(root: Path, tmp_path: Path) -> None:
    detectors = replace(recipe(), specialists={"detect": recipe().specialists["detect"]})
    harness.engine.annotate(root, tmp_path / "e", recipe=detectors)
    curves = harness.engine.calibrate(tmp_path / "e", precision=0.75)
    assert [each.origin for each in curves] == ["simulated-detector", "simulated-detector-2"]
    engine = harness.engine.open(tmp_path / "e")
    chosen = {each.origin: each.chosen for each in curves}
    assert engine.recipe.as_data()["stages"][0]["scores"] == chosen
    assert set(engine.recipe.calibration) == set(chosen)
    assert is_stale(engine)  # `filter` applies the thresholds
    for each in curves:
        place = each.thresholds.index(each.chosen)  # type: ignore[arg-type]
        assert each.precision[place] >= 75
        assert all(precision < 75 for precision in each.precision[:place])


def test_kept_boxes_of_one_calibrated_origin_have_the_precision(root: Path, tmp_path: Path) -> None:
    one = replace(recipe(), specialists={"detect": ("simulated-detector",)})
    harness.engine.annotate(root, tmp_path / "e", recipe=one)
    (curve,) = harness.engine.calibrate(tmp_path / "e", precision=0.75)
    harness.engine.filter(tmp_path / "e", ["boxes.across=1.0"])
    truth: dict[str, list[tuple[str, tuple[float, float, float, float]]]] = {}
    for reference, category, box in objects(truths_of(root)):
        truth.setdefault(reference, []).append((category, box))
    right = [
        is_right
        for record in harness.engine.open(tmp_path / "e").records()
        for is_right in right_of(
            sorted(record.kept("region"), key=lambda each: -(each.score or 0)), truth[record.image.reference]
        )
    ]
    assert curve.chosen is not None
    assert 100 * sum(right) / len(right) == pytest.approx(curve.at(curve.chosen)[0], abs=2.0)  # type: ignore[index]


def test_folder_without_a_truth_of_its_own_needs_one(root: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(root / "scenes", photos)
    harness.engine.annotate(photos, tmp_path / "e", recipe=replace(recipe(), specialists={"detect": ("whole-image",)}))
    with pytest.raises(UsageError, match=r"--truth TASK:SPLIT is needed, .*photos is none of theirs"):
        harness.engine.calibrate(tmp_path / "e")


def test_images_of_a_benchmark_are_refused(miniature: Path, root: Path, tmp_path: Path) -> None:
    harness.engine.annotate(root, tmp_path / "e", recipe=recipe(), limit=1)
    with pytest.raises(UsageError, match=r"val2017 is evaluated; thresholds are chosen on splits for training"):
        harness.engine.calibrate(tmp_path / "e", truth="coco_detection:val2017", data=miniature)
    with pytest.raises(UsageError, match=r"dev is no split of it"):
        harness.engine.calibrate(tmp_path / "e", truth="coco_detection:dev", data=miniature)


def test_other_mistakes_are_one_line(root: Path, tmp_path: Path) -> None:
    harness.engine.annotate(root, tmp_path / "e", recipe=recipe(), limit=1)
    for given, message in (
        ({"precision": 0.0}, r"--precision 0.0: above 0 and at most 1"),
        ({"truth": "coco_detection"}, r"TASK:SPLIT, such as coco_detection:train2017"),
    ):
        with pytest.raises(UsageError, match=message):
            harness.engine.calibrate(tmp_path / "e", **given)  # type: ignore[arg-type]


def test_specialist_without_scores_keeps_its_threshold_and_is_named(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    harness.engine.annotate(
        root, tmp_path / "e", recipe=replace(recipe(), specialists={}), specialists={"detect": Plain()}
    )
    (curve,) = harness.engine.calibrate(tmp_path / "e")
    assert (curve.chosen, curve.thresholds) == (None, ())
    assert "Plain gives no scores: its threshold stays" in caplog.text


class Plain:
    """A detector without scores."""

    fingerprint, provenance = "plain", {}  # type: ignore[var-annotated]

    def answer(self, questions):  # type: ignore[no-untyped-def]
        from harness.core import Answer, Boxes

        return ((ticket, Answer(("",), Boxes(((1.0, 1.0, 60.0, 60.0),), ("cat",)))) for ticket, _ in questions)
