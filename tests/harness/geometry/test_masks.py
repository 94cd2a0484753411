import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from harness.core import Mask, Polygons, Ring, Size
from harness.geometry.masks import area, from_coco, from_runs, overlap, rasterise, to_coco
from harness.geometry.polygons import rectangle

SIZE = Size(20, 10)
POINT = st.tuples(st.floats(-5, 25), st.floats(-5, 15))
RINGS = st.lists(st.lists(POINT, max_size=8).map(tuple), max_size=3).map(tuple)
PIXELS = st.lists(st.booleans(), min_size=200, max_size=200).map(lambda bits: np.array(bits).reshape(10, 20))


def decode(mask: Mask) -> np.ndarray[Any, Any]:
    """(H, W) of 0 and 1, as pycocotools decodes."""
    return coco.decode({"size": [mask.size.height, mask.size.width], "counts": mask.counts})


def encode(pixels: np.ndarray[Any, Any]) -> Mask:
    """(H, W) of truths, as pycocotools encodes."""
    code = coco.encode(np.asfortranarray(pixels, dtype=np.uint8))
    return Mask(Size(pixels.shape[1], pixels.shape[0]), code["counts"])


def runs(pixels: np.ndarray[Any, Any]) -> list[int]:
    """Lengths of equal neighbours down the columns, from 0s on: the code in a plain loop."""
    lengths, before = [0], False
    for bit in pixels.T.ravel().tolist():
        if bit != before:
            lengths.append(0)
            before = bit
        lengths[-1] += 1
    return lengths


def test_a_square_covers_its_pixels() -> None:
    expected = np.zeros((10, 20))
    expected[2:6, 3:8] = 1  # rows are y, columns are x
    np.testing.assert_array_equal(decode(rasterise(Polygons((rectangle((3, 2, 8, 6)),)), SIZE)), expected)


def test_the_whole_image_is_every_pixel() -> None:
    assert area(rasterise(Polygons((rectangle((0, 0, 20, 10)),)), SIZE)) == 200


@pytest.mark.parametrize(
    "rings",
    [
        (),
        ((),),
        (((1, 1), (5, 5)),),  # four numbers: pycocotools would read a box
        (((1, 1), (math.nan, 5), (5, 1)),),
        (((1, 1), (math.inf, 5), (5, 1)),),
        (rectangle((30, 2, 40, 8)),),  # outside
    ],
)
def test_nothing_to_draw_is_the_empty_mask(rings: tuple[Ring, ...]) -> None:
    mask = rasterise(Polygons(rings), SIZE)
    assert mask.size == SIZE
    assert decode(mask).shape == (10, 20)
    assert area(mask) == 0


def test_a_short_ring_beside_a_good_one_is_dropped() -> None:
    square = rectangle((3, 2, 8, 6))
    assert rasterise(Polygons((((1, 1), (5, 5)), square)), SIZE) == rasterise(Polygons((square,)), SIZE)


def test_what_lies_outside_is_cut_off() -> None:
    assert area(rasterise(Polygons((rectangle((-5, -5, 4, 3)),)), SIZE)) == 4 * 3
    assert area(rasterise(Polygons((rectangle((16, 8, 60, 70)),)), SIZE)) == 4 * 2
    assert area(rasterise(Polygons((rectangle((-1e12, -1e300, 4, 3)),)), SIZE)) == 4 * 3  # beyond 32 bits


def test_overlapping_parts_count_once() -> None:
    # Two 4 x 4 squares that share 2 x 2: 16 + 16 - 4.  Keeping the 1s of their sum, as LAVT does, gives 24.
    parts = Polygons((rectangle((2, 2, 6, 6)), rectangle((4, 4, 8, 8))))
    assert area(rasterise(parts, SIZE)) == 28


def test_separate_parts_add_up() -> None:
    assert area(rasterise(Polygons((rectangle((0, 0, 2, 2)), rectangle((5, 5, 8, 8)))), SIZE)) == 4 + 9


@given(RINGS)
def test_rasterise_is_pycocotools_ring_by_ring(rings: tuple[Ring, ...]) -> None:
    expected = np.zeros((10, 20), dtype=bool)
    for ring in rings:
        if len(ring) >= 3:
            flat = [[float(value) for point in ring for value in point]]
            expected |= coco.decode(coco.frPyObjects(flat, 10, 20))[:, :, 0].astype(bool)
    np.testing.assert_array_equal(decode(rasterise(Polygons(rings), SIZE)), expected)


def test_a_mask_passes_through_at_its_own_size_only() -> None:
    mask = from_runs([20, 10, 170], SIZE)
    assert rasterise(mask, SIZE) is mask
    with pytest.raises(ValueError, match="no mask of an image"):
        rasterise(mask, Size(10, 20))


@given(PIXELS, PIXELS)
def test_overlap_counts_pixels(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> None:
    both, either = overlap(encode(one), encode(other))
    assert (both, either) == ((one & other).sum(), (one | other).sum())
    assert overlap(encode(other), encode(one)) == (both, either)
    assert area(encode(one)) == one.sum()


def test_overlap_of_two_sizes_is_an_error() -> None:
    with pytest.raises(ValueError, match="cannot be laid over"):
        overlap(from_runs([200], SIZE), from_runs([200], Size(10, 20)))


@given(PIXELS)
def test_codes_of_all_three_forms_are_the_same_mask(pixels: np.ndarray[Any, Any]) -> None:
    mask = encode(pixels)
    assert from_runs(runs(pixels), SIZE) == mask
    assert from_coco({"size": [10, 20], "counts": runs(pixels)}, SIZE) == mask
    assert from_coco(to_coco(mask), SIZE) == mask


def test_runs_go_down_the_columns() -> None:
    expected = np.zeros((10, 20))
    expected[:, 2] = 1
    np.testing.assert_array_equal(decode(from_runs([20, 10, 170], SIZE)), expected)


def test_empty_runs_are_joined_over() -> None:
    # pycocotools' merge ends where both masks have an empty run at once, and then loses what follows.
    assert from_runs([10, 0, 10, 10, 0, 0, 170], SIZE) == from_runs([20, 10, 170], SIZE)
    split = from_runs([10, 5, 0, 5, 180], SIZE)
    assert overlap(split, split) == (10, 10)


def test_long_runs_survive_packing() -> None:
    big = Size(4000, 3000)  # runs of several characters, and negative differences
    mask = from_runs([1, 9_000_000, 2, 40_000, 12_000_000 - 9_040_003], big)
    assert from_coco(to_coco(mask), big) == mask
    assert area(mask) == 9_040_000


def test_polygons_round_trip() -> None:
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
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "a list was expected, not 1.0"),
        ([[1.0, 2.0, 3.0]], "3 numbers lacks a y"),
        ([[1.0, "2"]], "coordinate was expected, not '2'"),
        ([[1.0, True]], "coordinate was expected, not True"),
        ([[1.0, math.nan]], "coordinate was expected, not nan"),
        ([[1.0, 10**400]], "coordinate was expected"),
        ({"size": [20, 10], "counts": [200]}, r"\[20, 10\] in an image of \[10, 20\]"),
        ({"size": [10, 20], "counts": [199]}, "199 pixels does not fill"),
        ({"size": [10, 20], "counts": [201, -1]}, "run 1 of a mask is -1"),
        ({"size": [10, 20], "counts": [200.0]}, "length of a run"),
        ({"size": [10, 20], "counts": 200}, "a list was expected"),
        ({"size": [10, 20], "counts": "\u00e9"}, "no part of a compressed mask"),
        ({"size": [10, 20], "counts": "X"}, "ends within a run"),  # X is 40: the 32 says more follows
        ({"size": [10, 20], "counts": "5"}, "5 pixels does not fill"),
    ],
)
def test_what_is_no_segmentation_is_an_error(segmentation: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_coco(segmentation, SIZE)
