"""Churn: what one round keeps that the other does not, by kind."""

from __future__ import annotations

import pytest

from harness.core import Text
from harness.data_engine.churn import churn
from harness.data_engine.records import Annotation, Record, Verdict
from harness.data_engine.round_states import Moves
from tests.harness.data_engine.engines import IMAGE, ONE, OTHER, record, region

BOX, NEAR, FAR = (10.0, 10.0, 30.0, 30.0), (12.0, 10.0, 32.0, 30.0), (60.0, 10.0, 80.0, 30.0)  # IoU of two: 18/22
STAYS = region(FAR)


def caption(text: str) -> Annotation:
    return Annotation(image=IMAGE.sha256, kind="text", value=Text((text,)), origin=ONE.id, length="brief")


def without(told: Record, *dropped: Annotation) -> Record:
    return told.extended(verdicts=[Verdict(annotation=each.id, status="dropped", stage="s") for each in dropped])


def test_region_that_another_replaces_at_its_place_moved_and_others_are_added_or_dropped() -> None:
    old, new = region(BOX), region(NEAR, "dog", origin=OTHER)
    gone, come = region((0.0, 50.0, 9.0, 60.0)), region((40.0, 50.0, 50.0, 60.0))
    before, after = record(STAYS, old, gone), record(STAYS, new, come)
    assert churn([(before, after), (before, before)]) == {"region": Moves(6, 6, 1, 1, 1)}
    # 3 changed of 6 that were kept before and 1 that was added
    assert churn([(before, after), (before, before)])["region"].share == pytest.approx(300 / 7)


def test_place_is_taken_once() -> None:
    one, other = region(BOX), region(NEAR)
    assert churn([(record(one, other), record(region(BOX, "dog")))]) == {"region": Moves(2, 1, 0, 1, 1)}


def test_verdict_decides_and_kinds_are_apart() -> None:
    text = caption("a cat")
    told = record(STAYS, text)
    assert churn([(told, without(told, text))]) == {"region": Moves(1, 1, 0, 0, 0), "text": Moves(1, 0, 0, 1, 0)}


def test_nothing_kept_is_no_churn() -> None:
    assert churn([(record(), record())]) == {}
    assert Moves(0, 0, 0, 0, 0).share == 0.0
