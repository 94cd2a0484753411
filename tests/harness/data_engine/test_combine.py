"""Every row of the table of a round, one small record each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.core import Box
from harness.data_engine.combine import Combine
from harness.data_engine.recipes import Recipe
from harness.data_engine.records import Annotation, Origin, Record
from harness.data_engine.regions import Boxes
from harness.data_engine.sources import Sources
from tests.harness.data_engine.engines import ONE, ORIGINS, OTHER, PERSON, record, region, stages_of

TAUGHT = Origin(kind="model", name="taught", fingerprint="t", round=1)
ALL = ORIGINS | {TAUGHT.id: TAUGHT}
BOX: Box = (10.0, 10.0, 30.0, 30.0)
NEAR: Box = (12.0, 10.0, 32.0, 30.0)  # IoU 18/22
FAR: Box = (60.0, 10.0, 80.0, 30.0)


def combined(*regions: Annotation, **settings: object) -> Record:
    stage = replace(Combine(), **settings).for_origins(ALL)  # type: ignore[arg-type]
    boxes = Boxes(score=0.3).for_origins(ALL)
    return stage(boxes(record(*regions)))


def model(box: Box, label: str = "cat", score: float = 0.9) -> Annotation:
    return region(box, label, score, TAUGHT)


def test_region_that_the_model_confirms_is_kept_at_a_lower_score_with_one_more_witness() -> None:
    weak, said = region(BOX, score=0.35), model(FAR)
    same = replace(said, value=region(NEAR).value)
    told = Combine().for_origins(ALL)(record(weak, same))
    assert list(told.kept()) == [weak]
    assert told.measures[weak.id]["witnesses"] == 2
    assert told.status()[same.id].by == weak.id


def test_stage_of_regions_leaves_the_model_to_this_stage() -> None:
    weak, same, rival = region(BOX, score=0.45), model(NEAR), model(BOX, "dog", 0.8)
    told = combined(weak, same, rival)
    assert list(told.kept()) == [weak]
    assert stages_of(told) == {same.id: ("merged", "combine.confirmed"), rival.id: ("dropped", "boxes.across")}


def test_specialist_alone_is_kept_above_its_strict_threshold_and_else_dropped() -> None:
    weak, strong = region(BOX, score=0.45), region(FAR, score=0.55)
    told = combined(weak, strong)
    assert stages_of(told) == {weak.id: ("dropped", "combine.unwitnessed")}
    assert list(combined(weak, strong, strict={"one": 0.4}).kept()) == [weak, strong]


def test_region_of_two_specialists_needs_no_model() -> None:
    told = combined(region(BOX, score=0.35), region(BOX, score=0.35, origin=OTHER))
    assert [told.measures[each.id]["witnesses"] for each in told.kept()] == [2]


def test_model_alone_is_added_above_its_threshold() -> None:
    low, high = model(BOX, score=0.6), model(FAR, score=0.8)
    told = combined(low, high, alone={"taught round 1": 0.7})
    assert stages_of(told) == {low.id: ("dropped", "combine.alone")}
    assert list(told.kept()) == [high]


def disputed(mine: float, theirs: float, origin: Origin = ONE) -> tuple[Record, Annotation, Annotation]:
    said, rival = region(BOX, "boat", 0.9, origin), model(NEAR, "house")
    precisions = {origin.name: {"boat": mine, "": 0.9}, "taught round 1": {"": theirs}}
    stage = replace(Combine(), precisions=precisions).for_origins(ALL)
    return stage(record(said, rival)), said, rival


def test_disputed_label_is_that_which_is_more_often_right() -> None:
    told, said, rival = disputed(0.6, 0.8)
    assert stages_of(told) == {said.id: ("superseded", "combine.disputed")}
    assert told.status()[said.id].by == rival.id
    told, said, rival = disputed(0.8, 0.6)
    assert stages_of(told) == {rival.id: ("superseded", "combine.disputed")}
    assert (told.status()[rival.id].measured, told.status()[rival.id].bound) == (0.6, 0.8)


def test_region_of_a_person_is_kept_whatever_the_model_says() -> None:
    told, said, _ = disputed(0.0, 1.0, PERSON)
    assert list(told.kept()) == [said]
    alone = region(BOX, score=None, origin=PERSON)
    assert list(combined(alone).kept()) == [alone]


def test_without_a_taught_model_nothing_is_decided() -> None:
    before = record(region(BOX, score=0.1))
    assert Combine().for_origins(ORIGINS)(before) == before


def test_model_of_the_last_round_is_the_taught_one() -> None:
    later = Origin(kind="model", name="taught", fingerprint="u", round=2)
    stage = Combine().for_origins(ALL | {later.id: later})
    assert stage.models == (later.id,)


def test_region_below_its_score_is_kept_if_the_model_confirms_it_and_its_origin_has_such_a_threshold() -> None:
    low, far, same = region(BOX, score=0.2), region(FAR, score=0.2), model(NEAR, score=0.8)
    assert list(combined(low, far, same).kept()) == [same]  # without the threshold: the model's own box
    told = combined(low, far, same, confirmed={"one": 0.15})
    assert list(told.kept()) == [low]
    assert stages_of(told) == {
        low.id: ("kept", "combine.confirmed"), far.id: ("dropped", "boxes.score"),
        same.id: ("merged", "combine.confirmed"),
    }  # fmt: skip
    assert (told.status()[low.id].measured, told.status()[low.id].bound) == (0.2, 0.15)
    assert told.measures[low.id]["witnesses"] == 2
    assert list(combined(low, same, confirmed={"one": 0.25}).kept()) == [same]
    other = combined(low, model(NEAR, "dog", 0.8), confirmed={"one": 0.15})
    assert [region.value.labels for region in other.kept()] == [("dog",)]  # type: ignore[union-attr]


def test_second_region_of_the_model_at_one_place_is_superseded_and_not_added() -> None:
    said, best, worse = region(BOX), model(NEAR), model((10.0, 10.0, 26.0, 30.0), "dog")  # IoU of the last: 16/20
    told = combined(said, best, worse)
    assert list(told.kept()) == [said]
    assert stages_of(told)[worse.id] == ("superseded", "combine.beside")
    assert told.status()[worse.id].by == said.id


def test_earlier_round_is_superseded_and_is_no_witness() -> None:
    """Both models began from one start: what both say is not said twice."""
    later = Origin(kind="model", name="taught", fingerprint="u", round=2)
    old, new = model(BOX), region(NEAR, "cat", 0.9, later)
    recipe = Recipe(name="r", stages=(Sources(), Boxes(score=0.3), Combine())).resolved(ALL | {later.id: later})
    told = recipe.apply(record(old, new))
    assert list(told.kept()) == [new]
    assert stages_of(told) == {old.id: ("superseded", "sources.earlier")}


def test_settings_of_a_round_s_model_name_its_round() -> None:
    stage = Combine(alone={"taught round 1": 0.7, "taught": 0.1}).for_origins(ALL)
    assert stage.alone == {TAUGHT.id: 0.7}


def test_setting_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"agree is 2\.0"):
        Combine(agree=2.0)
    with pytest.raises(ValueError, match=r"x is -1\.0"):
        Combine(strict={"x": -1.0})
