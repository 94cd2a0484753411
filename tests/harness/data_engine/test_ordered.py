"""Images in order: groups, the digest of the whole list, and images that are out of order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.data_engine.ordered import Ordered
from harness.data_engine.records import ImageRow, digest
from tests.harness.data_engine.engines import image_row

IMAGES = [replace(image_row(place), reference=f"{place} é \U0001f3e0.png") for place in range(5)]


def groups(rows: Ordered, size: int) -> list[list[str]]:
    return [[row["reference"] for row in group] for group in rows.groups(size)]


@pytest.mark.parametrize("images", [IMAGES, IMAGES[:1], []])
def test_digest_is_that_of_the_whole_list_however_it_is_grouped(images: list[ImageRow]) -> None:
    for given in (images, iter(images), images[::-1]):
        rows = Ordered(given)
        assert sum(map(len, groups(rows, 2))) == rows.count == len(images)
        assert rows.digest == digest([[image.reference, image.sha256] for image in images])


def test_groups_have_the_size_and_the_last_the_rest() -> None:
    names = [image.reference for image in IMAGES]
    assert groups(Ordered(IMAGES[::-1]), 2) == [names[:2], names[2:4], names[4:]]


def test_image_that_is_yielded_out_of_order_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"0 .*png comes after 1 .*; images are in the order of references"):
        list(Ordered(iter(IMAGES[1::-1])).groups(2))
