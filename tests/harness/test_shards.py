"""Shards of a run: every sample in exactly one, all samples of an image together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import Question, Sample
from harness.errors import UsageError
from harness.shards import Shard, parse


def samples(images: list[int]) -> list[Sample[None]]:
    return [
        Sample(str(place), Question(f"{image}.jpg", None, "caption"), None, f"{image}.jpg")
        for place, image in enumerate(images)
    ]


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 12))
def test_shards_of_any_samples_hold_each_once_and_keep_images_whole(images: list[int], count: int) -> None:
    whole = samples(images)
    parts = [Shard(number, count).of(whole) for number in range(1, count + 1)]
    assert sorted((sample.id for part in parts for sample in part), key=int) == [sample.id for sample in whole]
    holding = [{sample.cluster for sample in part} for part in parts]
    assert sum(map(len, holding)) == len(set(images))  # no image is in two shards
    assert max(map(len, holding)) - min(map(len, holding)) <= 1


def test_shard_of_seven_images_is_every_third_from_its_number() -> None:
    assert [sample.id for sample in Shard(2, 3).of(samples([5, 6, 7, 8, 9, 1, 2]))] == ["1", "4"]


@pytest.mark.parametrize("written", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/3/5", "1/100001", ""])
def test_shard_that_is_none_is_refused(written: str) -> None:
    with pytest.raises(UsageError, match="--shard"):
        parse(written)


def test_folder_names_of_shards_sort_by_number() -> None:
    names = [Shard(number, 16).folder for number in range(1, 17)]
    assert names == sorted(names)
    assert str(parse(" 3/16 ")) == "3/16"
