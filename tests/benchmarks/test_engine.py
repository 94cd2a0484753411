"""The filters of the data engine on simulated specialists: what they gain and cost, and what they cannot mend."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from harness.core import Boxes
from harness.data_engine.regions import Boxes as BoxesStage
from harness.geometry.boxes import iou
from tests.benchmarks.conftest import imported

IMAGES = 500
Rows = dict[tuple[int, str], dict[str, Any]]


@pytest.fixture(scope="module")
def engine() -> ModuleType:
    return imported("benchmarks.engine")


@pytest.fixture(scope="module")
def rows(engine: ModuleType) -> Rows:
    """The measures at the declared noise, by number of specialists and arm."""
    return {(row["specialists"], row["arm"]): row for row in engine.filters(IMAGES, (1.0,))}


def test_filters_gain_ten_points_of_f1_at_little_cost_of_recall(rows: Rows) -> None:
    raw, whole = rows[1, "raw"], rows[1, "all"]
    assert whole["gain over raw"]["F1"]["low"] >= 10
    assert whole["precision"]["value"] >= 82
    assert raw["recall"]["value"] - whole["recall"]["value"] <= 2.5
    assert whole["dropped rightly"]["low"] >= 85


def test_each_rule_earns_its_place_where_it_has_work(rows: Rows) -> None:
    for specialists, rule in ((1, "score"), (1, "nms"), (2, "score"), (2, "nms")):
        assert rows[specialists, f"without {rule}"]["worth of the rule"]["F1"]["low"] > 0, (specialists, rule)


def test_one_label_for_a_place_raises_precision_and_its_f1_depends_on_the_seeds(rows: Rows) -> None:
    """To drop one of two labels pays in F1 if it is the wrong one more often than 1 - F1 / 2, here 59 %."""
    without = rows[2, "without across"]
    assert rows[2, "all"]["precision"]["value"] - without["precision"]["value"] > 2
    assert without["worth of the rule"]["F1"]["low"] > -2


def test_agreement_of_two_costs_no_f1_and_keeps_what_suppression_would_call_wrong(
    rows: Rows,
) -> None:
    without = rows[2, "without agreement"]
    assert without["worth of the rule"]["F1"]["low"] > -0.5
    assert without["dropped rightly"]["high"] < rows[2, "all"]["dropped rightly"]["low"]


def test_confusion_of_one_origin_is_not_mended_and_a_calibrated_second_one_mends_half(engine: ModuleType) -> None:
    found = {(row["origins"], row["arm"]): row for row in engine.confusion(300)}
    for arm in ("calibrated", "not calibrated"):
        assert abs(found["one origin", arm]["gain over one origin"]["F1"]["value"]) < 0.5
    assert found["two origins", "calibrated"]["share recovered"]["low"] >= 50
    assert found["two origins", "not calibrated"]["share recovered"]["high"] < 50


def test_counts_are_those_of_a_slow_loop(engine: ModuleType) -> None:
    scenes = engine.truths(engine.TOLD, 40)
    records, _ = engine.annotated(scenes, [engine.Noise()])
    counts = engine.counted(records, BoxesStage(), engine.objects_of(scenes))
    right = kept = 0
    for record in records:
        free = [(thing.category, thing.box) for thing in scenes[record.image.reference].things]
        for region in sorted(BoxesStage()(record).kept("region"), key=lambda each: -(each.score or 0)):
            assert isinstance(region.value, Boxes)
            kept += 1
            fits = [each for each in free if each[0] == region.value.labels[0]]
            best = max(fits, key=lambda each: iou(each[1], region.value.boxes[0]), default=None)  # type: ignore[union-attr]
            if best is not None and iou(best[1], region.value.boxes[0]) >= 0.5:
                right += 1
                free.remove(best)
    assert (counts.right.sum(), counts.kept.sum()) == (right, kept)
    assert counts.precision(np.ones(40)) == pytest.approx(100 * right / kept)


def test_seeds_of_tuning_and_of_reporting_share_no_scene(engine: ModuleType) -> None:
    assert not engine.truths(engine.TUNED, 1300).keys() & engine.truths(engine.TOLD, 1300).keys()


def test_speed_counts_images_of_a_whole_folder(engine: ModuleType) -> None:
    assert engine.speed(60)["folder, images per CPU second"] > 50
