"""The image files: sizes, what is missing or damaged, and equal content in two splits."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from harness.core import Size
from harness.data.own.content import Asked, Notes, Picture, Said, Thing
from harness.data.own.looking import leave_out_unusable, looked_at, size_of, trained_and_evaluated
from harness.errors import DataError
from tests.own_files import picture


def test_size_is_that_of_the_stored_pixels_and_orientation_is_noted(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    notes = Notes(tmp_path)
    assert size_of(tmp_path, "a.jpg", notes) == Size(40, 30)
    assert notes.reading.said() == (
        "images with an EXIF orientation, read as stored; so are their boxes: 1 (first: a.jpg)",
    )


def test_missing_and_damaged_images_are_left_out(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    (tmp_path / "d.png").mkdir()
    notes = Notes(tmp_path)
    kept = looked_at([Picture(f"{name}.png", "val") for name in "abcd"], tmp_path, notes)
    assert [(each.name, each.size) for each in kept] == [("a.png", Size(40, 30))]
    assert notes.reading.said() == (
        "images that cannot be read, left out: 1 (first: b.png)",
        "images that are not there, left out: 2 (first: c.png, d.png)",
    )
    with pytest.raises(DataError, match=r"has none of the images that the annotations name \(the first: c.png\)"):
        looked_at([Picture("c.png", "val")], tmp_path, Notes(tmp_path))


@pytest.mark.parametrize(("box", "problem"), [
    ((0.0, 0.0, 40.0, 30.0), ()),
    ((-0.5, 0.0, 41.0, 30.0), ()),  # half a pixel is rounding
    ((30.0, 0.0, 12.0, 30.0), ("boxes that reach out of their image, kept as they are: 1 (first: a.png: cat)",)),
    ((50.0, 50.0, 5.0, 5.0), ("boxes that reach out of their image, kept as they are: 1 (first: a.png: cat)",)),
    ((3.0, 3.0, 0.0, 5.0), ("boxes of area 0, which no answer can match: 1 (first: a.png: cat)",)),
])  # fmt: skip
def test_boxes_that_do_not_fit_are_noted(
    box: tuple[float, float, float, float], problem: tuple[str, ...], tmp_path: Path
) -> None:
    picture(tmp_path / "a.png")
    notes = Notes(tmp_path)
    looked_at([Picture("a.png", "val", things=[Thing("cat", box)])], tmp_path, notes)
    assert notes.reading.said() == problem


def test_size_that_the_annotations_state_wrongly_is_noted_and_replaced(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    notes = Notes(tmp_path)
    [kept] = looked_at([Picture("a.png", "val", Size(30, 40))], tmp_path, notes)
    assert kept.size == Size(40, 30)
    assert "(first: a.png: 30 x 40, is 40 x 30)" in notes.reading.said()[0]


def test_annotations_without_text_are_left_out_and_repeated_questions_noted(tmp_path: Path) -> None:
    box = (1.0, 1.0, 2.0, 2.0)
    given = Picture(
        "a.png", "val", captions=[" ", "a cat"], things=[Thing("", box), Thing("cat", box)],
        said=[Said("it", box), Said("", box)], asked=[Asked("what?", ("cat",)), Asked("what?", ("a cat",))],
    )  # fmt: skip
    notes = Notes(tmp_path)
    leave_out_unusable(given, notes)
    assert (given.captions, given.things, given.said) == (["a cat"], [Thing("cat", box)], [Said("it", box)])
    assert len(given.asked) == 2
    assert notes.reading.said() == (
        "captions, labels, expressions or questions without text, left out: 1 (first: a.png)",
        "questions that are asked twice about an image, each a sample of its own: 1 (first: a.png)",
    )


@pytest.mark.parametrize("thing", [
    Thing("cat", (1e10, 1.0, 2.0, 2.0)), Thing("cat", (1.0, 1.0, -2.0, 2.0)),
    Thing("cat", (1.0, float("nan"), 2.0, 2.0)),
    Thing("cat", (1.0, 1.0, 2.0, 2.0), ((1.0, 1.0, 2.0, 1.0, 2.0, float("inf")),)),
])  # fmt: skip
def test_impossible_places_are_left_out(thing: Thing, tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    given = Picture("a.png", "val", things=[thing, Thing("dog", (1.0, 1.0, 2.0, 2.0))])
    leave_out_unusable(given, notes)
    assert [each.label for each in given.things or ()] == ["dog"]
    assert notes.reading.said() == (
        "boxes or outlines with coordinates beyond 1e+09 pixels, left out: 1 (first: a.png)",
    )


def test_image_name_that_is_too_long_is_a_missing_image(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    assert size_of(tmp_path, "a" * 300, notes) is None
    assert notes.reading.said()[0].startswith("images that are not there, left out: 1")


def test_equal_files_of_train_and_another_split_are_found(tmp_path: Path) -> None:
    """Two files of one colour and size are equal byte for byte; two of training, or two of evaluation, may be."""
    for name, colour in (("a", 1), ("b", 1), ("c", 2), ("d", 2), ("e", 3), ("f", 3)):
        picture(tmp_path / f"{name}.png", colour=colour)
    splits = {"a": "train", "b": "val", "c": "train", "d": "train", "e": "val", "f": "test"}
    pictures = [Picture(f"{name}.png", split) for name, split in splits.items()]
    assert trained_and_evaluated(pictures, tmp_path) == {"a.png": "b.png"}
    pictures.append(Picture("c.png", "val"))  # and so d.png too
    assert trained_and_evaluated(pictures, tmp_path) == {"a.png": "b.png", "c.png": "c.png", "d.png": "c.png"}
