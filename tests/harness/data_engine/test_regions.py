"""The rules of regions, each by arithmetic on small boxes, and all suppression against a slow loop."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from harness.core import Box
from harness.data_engine.records import Annotation, Record
from harness.data_engine.regions import FUSION, Boxes, box_of, fused, label_of, overlaps
from harness.geometry.boxes import iou
from tests.harness.data_engine.engines import (
    IMAGE,
    ONE,
    ORIGINS,
    OTHER,
    PERSON,
    SIZE,
    THIRD,
    kept_labels,
    record,
    region,
    stages_of,
)  # fmt: skip

BOX = (10.0, 10.0, 30.0, 30.0)  # 20 x 20 of 100 x 80 pixels: 5 % of the image


def moved(by: float, box: Box = BOX) -> Box:
    """A box moved to the right: the IoU with BOX is (20 - by) / (20 + by)."""
    return (box[0] + by, box[1], box[2] + by, box[3])


def stage(**settings: object) -> Boxes:
    made: Boxes = replace(Boxes(), **settings).for_origins(ORIGINS)  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize(
    ("box", "rule"),
    [
        ((10.0, 10.0, 10.0, 30.0), "boxes.form"),  # no width
        ((30.0, 10.0, 10.0, 30.0), "boxes.form"),  # inverted
        ((float("nan"), 10.0, 30.0, 30.0), "boxes.form"),
        ((-30.0, 10.0, 20.0, 30.0), "boxes.form"),  # 20 of 50 pixels of its width are inside
        ((10.0, 10.0, 10.8, 10.9), "boxes.size"),  # 0.72 of 8000 square pixels: 0.009 %
        ((0.0, 0.0, 100.0, 77.0), "boxes.size"),  # 96.25 %
        ((-10.0, 10.0, 20.0, 30.0), None),  # 20 of 30 are inside
        ((0.0, 0.0, 100.0, 76.0), None),  # 95 %
    ],
)
def test_region_of_a_wrong_form_or_size_is_dropped(box: Box, rule: str | None) -> None:
    if np.isnan(box).any():
        each = replace(region(BOX), image=IMAGE.sha256)
        object.__setattr__(each.value, "boxes", (box,))  # no answer has it, and a file might
        object.__setattr__(each, "__dict__", {**each.__dict__, "id": "nan"})
    else:
        each = region(box)
    told = stage()(record(each))
    assert stages_of(told).get(each.id) == (None if rule is None else ("dropped", rule))


def test_score_is_compared_with_the_threshold_of_its_origin() -> None:
    one, other = region(BOX, score=0.35), region(moved(40), "dog", 0.35, OTHER)
    told = stage(score=0.3, scores={"other": 0.5})(record(one, other))
    assert stages_of(told) == {other.id: ("dropped", "boxes.score")}
    (verdict,) = told.verdicts
    assert (verdict.measured, verdict.bound) == (0.35, 0.5)


def test_annotation_without_a_score_has_no_threshold() -> None:
    assert kept_labels(stage(score=0.9)(record(region(BOX, score=None)))) == ["cat"]


@pytest.mark.parametrize(("by", "kept"), [(6.0, 1), (7.0, 2)])  # 14/26 = 0.54, 13/27 = 0.48
def test_lower_box_of_the_same_label_and_origin_is_suppressed_above_the_bound(by: float, kept: int) -> None:
    best, lower = region(BOX, score=0.9), region(moved(by), score=0.8)
    told = stage()(record(lower, best))
    assert len(list(told.kept())) == kept
    if kept == 1:
        (verdict,) = told.verdicts
        assert (verdict.annotation, verdict.stage, verdict.by) == (lower.id, "boxes.nms", best.id)
        assert verdict.measured == pytest.approx(14 / 26)


def test_labels_compete_at_the_higher_bound_and_a_proposal_with_proposals_alone() -> None:
    cat, dog, proposal = region(BOX, "cat", 0.9), region(moved(2), "dog", 0.8), region(BOX, "", 0.7)  # 18/22 = 0.82
    told = stage()(record(cat, dog, proposal))
    assert stages_of(told) == {dog.id: ("dropped", "boxes.across")}
    assert list(stage(across=0.9)(record(cat, dog)).kept()) == [cat, dog]


def test_two_origins_that_agree_become_one_box_weighted_by_score() -> None:
    one, other = region(BOX, "cat", 0.9), region(moved(4), "Cat ", 0.6, OTHER)  # 16/24 = 0.67
    told = stage()(record(one, other))
    (merged,) = told.kept()
    # left: (0.9 x 10 + 0.6 x 14) / 1.5 = 11.6
    assert box_of(merged) == pytest.approx((11.6, 10.0, 31.6, 30.0))
    assert (label_of(merged), merged.origin, merged.score) == ("cat", FUSION.id, pytest.approx(0.75))
    assert set(merged.parents) == {one.id, other.id}
    assert told.measures[merged.id]["witnesses"] == 2
    assert {(v.status, v.stage, v.by) for v in told.verdicts} == {("merged", "boxes.agreement", merged.id)}


def test_three_origins_are_merged_and_a_fourth_box_of_one_of_them_is_not() -> None:
    boxes = [region(moved(by), score=0.9 - by / 10, origin=origin) for by, origin in enumerate((ONE, OTHER, THIRD))]
    far = region(moved(40), score=0.9, origin=OTHER)
    told = stage()(record(*boxes, far))
    kept = list(told.kept())
    assert [told.measures[each.id]["witnesses"] for each in kept] == [1, 3]
    assert kept[0] == far


def test_synonyms_agree() -> None:
    told = stage(synonyms={"kitten": "cat"})(record(region(BOX), region(moved(1), "kitten", 0.8, OTHER)))
    assert len(list(told.kept())) == 1


def test_box_of_a_person_stays_as_it_is_whatever_it_overlaps() -> None:
    tiny = region((1.0, 1.0, 1.2, 1.2), "eye", None, PERSON)
    mine, same = region(BOX, "cat", None, PERSON), region(moved(1), "cat", 0.99, ONE)
    twin = region(moved(0.5), "cat", None, PERSON)
    told = stage(witnesses=2)(record(tiny, mine, same, twin))
    assert [each.id for each in told.kept()] == [tiny.id, mine.id, twin.id]
    (verdict,) = told.verdicts
    assert (verdict.status, verdict.annotation) == ("merged", same.id)
    assert verdict.by in (mine.id, twin.id)
    assert told.measures[verdict.by]["witnesses"] == 2


def test_confirmed_box_may_have_a_lower_score_than_a_lone_one() -> None:
    settings = stage(score=0.5, confirmed=0.6)  # 0.3 where another origin confirms it
    one, other, lone = region(BOX, score=0.4), region(moved(1), score=0.35, origin=OTHER), region(moved(40), score=0.4)
    told = settings(record(one, other, lone))
    assert stages_of(told)[lone.id] == ("dropped", "boxes.unwitnessed")
    assert [each.origin for each in told.kept()] == [FUSION.id]
    below = settings(record(region(BOX, score=0.29)))
    assert [v.stage for v in below.verdicts] == ["boxes.score"]


def test_required_witnesses_drop_what_one_origin_says() -> None:
    one, other, lone = region(BOX, score=0.9), region(moved(1), score=0.9, origin=OTHER), region(moved(40), score=0.9)
    told = stage(witnesses=2)(record(one, other, lone))
    assert told.status()[lone.id].bound == 2
    assert len(list(told.kept())) == 1


def test_order_of_annotations_changes_no_verdict() -> None:
    boxes = [region(moved(place), score=0.5 + place / 20, origin=(ONE, OTHER)[place % 2]) for place in range(8)]
    first = stage()(record(*boxes))
    for seed in range(10):
        shuffled = random.Random(seed).sample(boxes, len(boxes))
        other = stage()(record(*shuffled))
        assert stages_of(other) == stages_of(first)
        assert {each.id for each in other.kept()} == {each.id for each in first.kept()}


def slow_nms(boxes: list[Annotation], within: float, across: float) -> list[str]:
    """Greedy suppression of one origin's boxes as its definition says it: one label at a time, then all labels."""
    kept = sorted(boxes, key=lambda each: -(each.score or 0))
    for same_label, bound in ((True, within), (False, across)):
        left, kept = kept, []
        for each in left:
            rivals = [k for k in kept if not same_label or label_of(k) == label_of(each)]
            if all(iou(box_of(each), box_of(rival)) <= bound for rival in rivals):
                kept.append(each)
    return sorted(each.id for each in kept)


def test_suppression_equals_the_slow_loop_on_random_boxes() -> None:
    generator = random.Random(0)
    for _ in range(200):
        boxes = []
        for _ in range(generator.randrange(12)):
            left, top = generator.uniform(0, 40), generator.uniform(0, 30)
            box = (left, top, left + generator.uniform(5, 40), top + generator.uniform(5, 40))
            boxes.append(region(box, generator.choice(["cat", "dog"]), generator.uniform(0.4, 1)))
        within, across = generator.choice([0.3, 0.5, 0.7]), generator.choice([0.5, 0.8])
        told = stage(nms=within, across=max(within, across))(record(*boxes))
        assert sorted(each.id for each in told.kept()) == slow_nms(boxes, within, max(within, across))


def test_overlaps_equal_the_iou_of_each_pair() -> None:
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 50, (20, 4))
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners.tolist()] + [(5.0, 5.0, 5.0, 9.0)]
    expected = [[iou(one, other) for other in boxes] for one in boxes]
    np.testing.assert_allclose(overlaps(boxes), expected, rtol=0, atol=1e-12)
    assert overlaps([]).shape == (0, 0)


def test_fused_boxes_without_scores_have_equal_weights_and_no_score() -> None:
    merged = fused([region(BOX, score=None), region(moved(4), score=None, origin=OTHER)])
    assert box_of(merged) == (12.0, 10.0, 32.0, 30.0)
    assert merged.score is None


def test_record_without_regions_and_image_without_size_are_no_error() -> None:
    assert stage()(record()).verdicts == ()
    without = Record(image=replace(IMAGE, size=SIZE._replace(width=0)), annotations=(region(BOX),))
    assert stages_of(stage()(without)) == {region(BOX).id: ("dropped", "boxes.form")}


@pytest.mark.parametrize("settings", [{"nms": 1.5}, {"score": -0.1}, {"scores": {"one": 2.0}}, {"witnesses": 0}])
def test_setting_out_of_range_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"from 0 to 1|at least 1"):
        Boxes(**settings)  # type: ignore[arg-type]
