"""Kept regions versus truth, by arithmetic on three images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.data_engine.judging import Judged, gain
from harness.data_engine.records import Record
from tests.harness.data_engine.engines import IMAGE, record, region

BOX, FAR = (10.0, 10.0, 30.0, 30.0), (60.0, 10.0, 80.0, 30.0)
TRUTH = {"a": [("cat", BOX), ("dog", FAR)], "b": [("cat", BOX)], "c": []}


def images(*records: Record) -> list[Record]:
    return [replace(each, image=replace(IMAGE, reference=name)) for each, name in zip(records, "abcd", strict=False)]


def test_scores_are_shares_of_regions_and_of_objects() -> None:
    right, wrong = region(BOX), region(FAR)  # a cat where the dog is
    judged = Judged.of(images(record(right, wrong), record(right), record(), record(wrong)), TRUTH)  # d has no truth
    assert judged.images == 3
    assert judged.precision() == pytest.approx(100 * 2 / 3)
    assert judged.recall() == pytest.approx(100 * 2 / 3)
    assert judged.f1() == pytest.approx(100 * 4 / 6)
    assert judged.f1(np.array([1.0, 0.0, 0.0])) == 50.0  # the first image alone: 1 right of 2 and 2


def test_repeated_region_is_wrong() -> None:
    judged = Judged.of(images(record(), record(region(BOX), region((11.0, 10.0, 31.0, 30.0)))), TRUTH)
    assert (judged.right[1], judged.kept[1]) == (1, 2)


def test_gain_is_paired_by_image_and_nothing_gives_nothing() -> None:
    told = images(record(region(FAR, "dog"), region(BOX)), record(region(BOX)))
    judged = Judged.of(told, TRUTH)
    same = gain(judged, judged)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    empty = Judged.of(images(record(), record()), TRUTH)
    assert gain(empty, judged).value == 100.0
    assert Judged.of([], TRUTH).f1() == 0.0
