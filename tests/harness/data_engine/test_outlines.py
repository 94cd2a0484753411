"""Outlines against the boxes that they are of: each rule by arithmetic, and simulated noise that the stage finds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.core import Boxes, Mask, Polygons, Question, Ring, Size
from harness.data_engine.outlines import Outlines, measured
from harness.data_engine.parents import Parents
from harness.data_engine.records import Annotation, Verdict
from harness.geometry import masks
from tasks.miniature.engine_world import Thing, Truth
from tasks.miniature.specialists import SPECIALISTS, Simulated
from tests.harness.data_engine.engines import IMAGE, ONE, ORIGINS, OTHER, PERSON, SIZE, record, region, stages_of

CAT = region((10.0, 10.0, 50.0, 50.0))


def square(left: float, top: float, right: float, bottom: float) -> Ring:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def outline(value: Polygons | Mask, of: Annotation = CAT, **fields: object) -> Annotation:
    made = {"image": IMAGE.sha256, "kind": "outline", "value": value, "origin": ONE.id, "parents": (of.id,), **fields}
    return Annotation(**made)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ring", "reason"),
    [
        (square(10, 10, 50, 50), None),
        (square(12, 12, 50, 50), None),  # IoU 38 * 38 / 1600 = 0.9025
        (square(10, 10, 20, 20), ("box", 100 / 1600, 0.7)),
        (square(10, 10, 50, 70), ("outside", 1600 / 2400, 0.8)),  # 40 of 60 rows are in the box
        (square(10, 10, 58, 58), ("outside", 1600 / 2304, 0.8)),
        (square(10, 10, 50, 59), None),  # 40 of 49 rows: 0.816; IoU 0.816
        (square(200, 10, 250, 50), ("form", None, None)),  # right of the image, 100 pixels wide
        (((10, 10), (50, 50)), ("form", None, None)),
    ],
)
def test_outline_that_does_not_fit_its_box_is_dropped_with_the_numbers(
    ring: Ring, reason: tuple[str, float | None, float | None] | None
) -> None:
    each = outline(Polygons((ring,)))
    told = Outlines()(record(CAT, each))
    if reason is None:
        assert not told.verdicts
        assert set(told.measures[each.id]) == {"pixels", "inside", "overlap", "fill"}
    else:
        (verdict,) = told.verdicts
        assert (verdict.annotation, verdict.status, verdict.stage) == (each.id, "dropped", f"outlines.{reason[0]}")
        assert (verdict.measured, verdict.bound) == pytest.approx(reason[1:])


def test_thin_outline_with_the_right_box_is_dropped_for_its_fill() -> None:
    """Two squares of 4 pixels in opposite corners: 32 of the box's 1,600 pixels."""
    thin = outline(Polygons((square(10, 10, 14, 14), square(46, 46, 50, 50))))
    (verdict,) = Outlines()(record(CAT, thin)).verdicts
    assert (verdict.stage, verdict.measured, verdict.bound) == ("outlines.fill", 32 / 1600, 0.05)


def test_mask_is_measured_as_its_polygon_and_one_of_another_size_is_dropped() -> None:
    polygon = Polygons((square(10, 10, 50, 50),))
    same = measured(masks.rasterise(polygon, SIZE), (10.0, 10.0, 50.0, 50.0), SIZE)
    assert same == measured(polygon, (10.0, 10.0, 50.0, 50.0), SIZE)
    assert same == {"pixels": 1600.0, "inside": 1.0, "overlap": 1.0, "fill": 1.0}
    other = outline(masks.rasterise(polygon, Size(64, 64)))
    assert stages_of(Outlines()(record(CAT, other))) == {other.id: ("dropped", "outlines.form")}


def test_box_counts_as_far_as_it_is_in_the_image() -> None:
    """The box is 40 wide, 20 of which are in the image of 100 x 80; the outline has exactly these."""
    edge = region((80.0, 10.0, 120.0, 50.0))
    assert not Outlines()(record(edge, outline(Polygons((square(80, 10, 100, 50),)), edge))).verdicts


def test_outline_of_a_phrase_with_one_box_is_compared_and_that_of_a_merged_region_with_the_merged_one() -> None:
    small = outline(Polygons((square(10, 10, 20, 20),)))
    of_phrase = Annotation(
        image=IMAGE.sha256, kind="phrase", value=Boxes(((10.0, 10.0, 50.0, 50.0),), ("a cat",)), origin=ONE.id,
        parents=("text",), span=(0, 5),
    )  # fmt: skip
    told = Outlines()(record(of_phrase, replace(small, parents=(of_phrase.id,))))
    assert [verdict.stage for verdict in told.verdicts] == ["outlines.box"]
    two = replace(of_phrase, value=Boxes(((10.0, 10.0, 50.0, 50.0), (0.0, 0.0, 5.0, 5.0)), ("a cat", "a cat")))
    assert not Outlines()(record(two, replace(small, parents=(two.id,)))).verdicts
    whole = region((10.0, 10.0, 20.0, 20.0), origin=OTHER)
    merged = Verdict(annotation=CAT.id, status="merged", stage="boxes.agreement", by=whole.id)
    assert len(Outlines()(record(CAT, whole, small).extended(verdicts=[merged])).verdicts) == 1


def test_outline_of_a_person_is_measured_and_kept() -> None:
    small = outline(Polygons((square(10, 10, 20, 20),)), origin=PERSON.id)
    told = Outlines().for_origins(ORIGINS)(record(CAT, small))
    assert not told.verdicts
    assert told.measures[small.id]["overlap"] == 100 / 1600


def test_score_is_compared_with_the_threshold_of_its_origin() -> None:
    unsure = outline(Polygons((square(10, 10, 50, 50),)), score=0.4)
    assert not Outlines()(record(CAT, unsure)).verdicts
    stage = Outlines(scores={"one": 0.5, "other": 0.1}).for_origins(ORIGINS)
    (verdict,) = stage(record(CAT, unsure)).verdicts
    assert (verdict.stage, verdict.measured, verdict.bound) == ("outlines.score", 0.4, 0.5)
    assert not stage(record(CAT, replace(unsure, score=None))).verdicts


def test_outline_of_a_dropped_region_is_left_to_the_stage_of_parents() -> None:
    each = outline(Polygons((square(10, 10, 20, 20),)))
    lost = record(CAT, each).extended(verdicts=[Verdict(annotation=CAT.id, status="dropped", stage="boxes.score")])
    told = Outlines()(lost)
    assert stages_of(told)[CAT.id] == ("dropped", "boxes.score") and each.id not in stages_of(told)
    assert stages_of(Parents()(told))[each.id] == ("dropped", "parents.lost")


@pytest.mark.parametrize("settings", [{"overlap": 1.1}, {"inside": -0.1}, {"scores": {"one": 2.0}}])
def test_share_out_of_range_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="it is from 0 to 1"):
        Outlines(**settings)  # type: ignore[arg-type]


def test_simulated_noise_is_found_and_faithful_outlines_pass() -> None:
    """The segmenter shrinks 8 % of outlines to 0.7 of their sides, and swells 8 % to 1.5: IoUs of 0.49 and 0.44."""
    box = (100.0, 100.0, 140.0, 150.0)
    house = Thing("house", "red", True, box, (((100, 120), (120, 100), (140, 120), (140, 150), (100, 150)),))
    scenes = {str(place): Truth(Size(300, 300), (house,)) for place in range(300)}
    model = Simulated(scenes, SPECIALISTS["simulated-segmenter"], "simulated-segmenter")
    image = replace(IMAGE, size=Size(300, 300))
    of = replace(region(box), image=image.sha256)
    asked = [(place, Question(name, image.size, "outline", region=box)) for place, name in enumerate(scenes)]
    stage, wrong = Outlines(), 0
    for _, answer in model.answer(asked):
        value = answer.value  # type: ignore[union-attr]
        assert isinstance(value, Polygons)
        is_wrong = np.ptp(value.rings[0], axis=0) != pytest.approx([40, 50])
        told = stage(replace(record(of, outline(value, of)), image=image))
        assert bool(told.verdicts) == is_wrong
        wrong += is_wrong
    assert 24 <= wrong <= 72  # 48 expected of 300; the standard deviation is 6.3
