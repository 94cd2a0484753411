"""Masks against pycocotools, plain loops over pixels, and arithmetic in comments."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from harness.core import Mask, Polygons, Ring, Size
from harness.geometry.masks import area, box, from_coco, from_runs, is_drawable, overlap, rasterise, to_coco, union
from harness.geometry.polygons import rectangle

SIZE = Size(20, 10)
POINT = st.tuples(st.floats(-5, 25), st.floats(-5, 15))
RINGS = st.lists(st.lists(POINT, max_size=8).map(tuple), max_size=3).map(tuple)
PIXELS = st.lists(st.booleans(), min_size=200, max_size=200).map(lambda bits: np.array(bits).reshape(10, 20))


def decode(mask: Mask) -> np.ndarray[Any, Any]:
    """(height, width) of 0 and 1, decoded by pycocotools."""
    return coco.decode({"size": [mask.size.height, mask.size.width], "counts": mask.counts})


def encode(pixels: np.ndarray[Any, Any]) -> Mask:
    """The mask of (height, width) booleans, encoded by pycocotools."""
    code = coco.encode(np.asfortranarray(pixels, dtype=np.uint8))
    return Mask(Size(pixels.shape[1], pixels.shape[0]), code["counts"])


def runs(pixels: np.ndarray[Any, Any]) -> list[int]:
    """COCO's uncompressed code in a plain loop: run lengths column by column, starting with 0s."""
    lengths, before = [0], False
    for bit in pixels.T.ravel().tolist():
        if bit != before:
            lengths.append(0)
            before = bit
        lengths[-1] += 1
    return lengths


def test_rasterise_rectangle_covers_its_pixels() -> None:
    expected = np.zeros((10, 20))
    expected[2:6, 3:8] = 1  # [y, x]
    np.testing.assert_array_equal(decode(rasterise(Polygons((rectangle((3, 2, 8, 6)),)), SIZE)), expected)


def test_rasterise_whole_image_covers_every_pixel() -> None:
    assert area(rasterise(Polygons((rectangle((0, 0, 20, 10)),)), SIZE)) == 200


@pytest.mark.parametrize(
    "rings",
    [
        (),
        ((),),
        (((1, 1), (5, 5)),),  # pycocotools takes four numbers for a box
        (((1, 1), (math.nan, 5), (5, 1)),),
        (((1, 1), (math.inf, 5), (5, 1)),),
        (rectangle((30, 2, 40, 8)),),  # outside
    ],
)
def test_rasterise_without_drawable_ring_is_empty(rings: tuple[Ring, ...]) -> None:
    mask = rasterise(Polygons(rings), SIZE)
    assert mask.size == SIZE
    assert decode(mask).shape == (10, 20)
    assert area(mask) == 0


def test_rasterise_drops_ring_of_two_points() -> None:
    square = rectangle((3, 2, 8, 6))
    assert rasterise(Polygons((((1, 1), (5, 5)), square)), SIZE) == rasterise(Polygons((square,)), SIZE)


def test_rasterise_cuts_off_parts_outside_the_image() -> None:
    assert area(rasterise(Polygons((rectangle((-5, -5, 4, 3)),)), SIZE)) == 4 * 3
    assert area(rasterise(Polygons((rectangle((16, 8, 60, 70)),)), SIZE)) == 4 * 2
    assert area(rasterise(Polygons((rectangle((-1e12, -1e300, 4, 3)),)), SIZE)) == 4 * 3  # beyond 32 bits


def test_rasterise_counts_overlap_of_parts_once() -> None:
    # Two 4 x 4 squares that share 2 x 2: 16 + 16 - 4.  Keeping the 1s of their sum, as LAVT does, gives 24.
    parts = Polygons((rectangle((2, 2, 6, 6)), rectangle((4, 4, 8, 8))))
    assert area(rasterise(parts, SIZE)) == 28


def test_rasterise_adds_separate_parts() -> None:
    assert area(rasterise(Polygons((rectangle((0, 0, 2, 2)), rectangle((5, 5, 8, 8)))), SIZE)) == 4 + 9


@given(RINGS)
def test_rasterise_equals_union_of_rings_filled_by_pycocotools(rings: tuple[Ring, ...]) -> None:
    expected = np.zeros((10, 20), dtype=bool)
    for ring in rings:
        if len(ring) >= 3:
            flat = [[float(value) for point in ring for value in point]]
            expected |= coco.decode(coco.frPyObjects(flat, 10, 20))[:, :, 0].astype(bool)
    np.testing.assert_array_equal(decode(rasterise(Polygons(rings), SIZE)), expected)


def test_rasterise_returns_mask_of_same_size_and_refuses_others() -> None:
    mask = from_runs([20, 10, 170], SIZE)
    assert rasterise(mask, SIZE) is mask
    with pytest.raises(ValueError, match="but the image is of size"):
        rasterise(mask, Size(10, 20))


@given(PIXELS, PIXELS)
def test_overlap_and_area_count_pixels(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> None:
    both, either = overlap(encode(one), encode(other))
    assert (both, either) == ((one & other).sum(), (one | other).sum())
    assert overlap(encode(other), encode(one)) == (both, either)
    assert area(encode(one)) == one.sum()


def test_overlap_of_different_sizes_raises() -> None:
    with pytest.raises(ValueError, match="masks of different sizes cannot overlap"):
        overlap(from_runs([200], SIZE), from_runs([200], Size(10, 20)))


@given(PIXELS)
def test_all_three_codes_give_the_same_mask(pixels: np.ndarray[Any, Any]) -> None:
    mask = encode(pixels)
    assert from_runs(runs(pixels), SIZE) == mask
    assert from_coco({"size": [10, 20], "counts": runs(pixels)}, SIZE) == mask
    assert from_coco(to_coco(mask), SIZE) == mask


@given(st.lists(RINGS.map(Polygons) | PIXELS.map(lambda bits: from_runs(runs_of(bits), SIZE)), max_size=3))
def test_union_has_the_pixels_of_every_outline(values: list[Polygons | Mask]) -> None:
    expected = np.zeros((10, 20), bool)
    for value in values:
        expected |= decode(rasterise(value, SIZE)).astype(bool)
    assert (decode(rasterise(union(values), SIZE)).astype(bool) == expected).all()


def runs_of(bits: np.ndarray[Any, Any]) -> list[int]:
    """Alternate lengths of 0s and 1s, column by column, starting with 0s."""
    runs, last = [0], False
    for bit in bits.T.ravel().tolist():
        runs, last = ([*runs[:-1], runs[-1] + 1] if bit == last else [*runs, 1]), bit
    return runs


def test_union_of_masks_of_different_sizes_raises() -> None:
    with pytest.raises(ValueError, match="masks of different sizes have no union"):
        union([from_runs([200], SIZE), from_runs([200], Size(10, 20))])


@pytest.mark.parametrize("rings", [(), ((),), (((1.0, 1.0), (3.0, 3.0)),), (((1.0, 1.0),), ())])
def test_is_drawable_is_false_without_a_ring_of_three_points(rings: tuple[Ring, ...]) -> None:
    assert not is_drawable(Polygons(rings))
    assert is_drawable(Polygons((*rings, ((1.0, 1.0), (3.0, 3.0), (3.0, 3.0)))))
    assert is_drawable(from_runs([200], SIZE))


def test_from_runs_fills_column_by_column() -> None:
    expected = np.zeros((10, 20))
    expected[:, 2] = 1
    np.testing.assert_array_equal(decode(from_runs([20, 10, 170], SIZE)), expected)


def test_from_runs_joins_neighbours_of_empty_runs() -> None:
    # pycocotools' merge stops where both masks have an empty run, and loses the runs that follow.
    assert from_runs([10, 0, 10, 10, 0, 0, 170], SIZE) == from_runs([20, 10, 170], SIZE)
    split = from_runs([10, 5, 0, 5, 180], SIZE)
    assert overlap(split, split) == (10, 10)


def test_compressed_code_of_long_runs_round_trips() -> None:
    big = Size(4000, 3000)  # codes of several characters, and negative differences
    mask = from_runs([1, 9_000_000, 2, 40_000, 12_000_000 - 9_040_003], big)
    assert from_coco(to_coco(mask), big) == mask
    assert area(mask) == 9_040_000


def test_to_coco_and_from_coco_of_polygons_are_inverse() -> None:
    outline = Polygons((rectangle((3, 2, 8, 6)), ((0.5, 0.25), (1, 1), (2, 2))))
    assert from_coco(to_coco(outline), SIZE) == outline
    assert from_coco([], SIZE) == Polygons(())
    assert to_coco(Polygons((((0, 0), (math.nan, 1), (1, 1)),))) == []  # JSON has no NaN


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ("polygon", "list of polygons"),
        (None, "list of polygons"),
        ({"counts": [200]}, "list of polygons"),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "expected a list, got 1.0"),
        ([[1.0, 2.0, 3.0]], "3 numbers lacks a y"),
        ([[1.0, "2"]], "expected a coordinate, got '2'"),
        ([[1.0, True]], "expected a coordinate, got True"),
        ([[1.0, math.nan]], "expected a coordinate, got nan"),
        ([[1.0, 10**400]], "expected a coordinate"),
        ({"size": [20, 10], "counts": [200]}, r"\[20, 10\] in an image of \[10, 20\]"),
        ({"size": [10, 20], "counts": [199]}, "199 pixels does not fill"),
        ({"size": [10, 20], "counts": [201, -1]}, "run 1 of a mask has the length -1"),
        ({"size": [10, 20], "counts": [200.0]}, "expected the length of a run"),
        ({"size": [10, 20], "counts": 200}, "expected a list"),
        ({"size": [10, 20], "counts": "\u00e9"}, "a compressed mask does not contain"),
        ({"size": [10, 20], "counts": "X"}, "ends inside a run"),  # X is 40; its bit of 32 announces another character
        ({"size": [10, 20], "counts": "5"}, "5 pixels does not fill"),
    ],
)
def test_from_coco_of_malformed_segmentation_raises(segmentation: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_coco(segmentation, SIZE)


@given(PIXELS)
def test_box_of_a_mask_touches_its_outermost_pixels(pixels: np.ndarray[Any, Any]) -> None:
    rows, columns = np.nonzero(pixels)
    found = box(encode(pixels))
    if len(rows):
        assert found == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    else:
        assert found[0] == found[2] and found[1] == found[3]
