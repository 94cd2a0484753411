"""Counts of samples and targets of every kind, and checks of images."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core import Boxes, Grounded, Kind, Objects, Polygons, Question, Sample, Size, Text, Value
from harness.data import pack
from harness.data.check import counts, differences, look, shared_images, unmatchable
from harness.geometry.masks import from_runs
from tests.packed import FOLDER, write_images

REGION = (1.0, 2.0, 3.0, 4.0)


def test_counts_of_kinds_about_regions_are_by_type_of_target() -> None:
    targets: list[tuple[Question, Value]] = [
        (Question("a.jpg", None, "name", region=REGION), Text(("dog",))),
        (Question("a.jpg", None, "describe", region=REGION), Text(("a dog", "a brown dog"))),
        (Question("b.jpg", None, "read", region=REGION), Text(("STOP",))),
        (Question("b.jpg", None, "outline", region=REGION), Polygons((((1.0, 2.0), (3.0, 2.0), (3.0, 4.0)),))),
        (Question("c.jpg", None, "regions"), Boxes((REGION, REGION), ("a dog", "a cat"))),
        (Question("c.jpg", None, "propose"), Boxes((REGION,))),
    ]
    samples = [Sample(str(place), question, target, "") for place, (question, target) in enumerate(targets)]
    assert counts(samples) == {"samples": 6, "images": 3, "answers": 2, "references": 2, "objects": 3}


def test_counts_of_captions_phrases_objects_and_unpublished_targets() -> None:
    objects = Objects(((0.0, 0.0, 1.0, 1.0),) * 3, (0, 0, 0), (1.0,) * 3, (False,) * 3, (1,))
    targets: list[tuple[Question, Value | None]] = [
        (Question("a.jpg", None, "caption"), Text(("a", "b", "c", "d", "e"))),
        (Question("b.jpg", None, "ground"), Grounded(((REGION,), ()))),
        (Question("c.jpg", None, "detect"), objects),
        (Question("d.jpg", None, "vqa"), None),
    ]
    samples = [Sample(str(place), question, target, "") for place, (question, target) in enumerate(targets)]
    assert counts(samples) == {"samples": 4, "images": 4, "references": 5, "phrases": 2, "objects": 3}


def test_unmatchable_names_the_samples_with_a_target_of_area_zero() -> None:
    size, line, point = Size(20, 10), (3.0, 3.0, 3.0, 9.0), (5.0, 5.0, 5.0, 5.0)
    flat = ((1.0, 1.0), (9.0, 1.0), (5.0, 1.0))  # three points on a line cover no pixel

    def objects(width: float, *, crowd: bool = False) -> Objects:
        return Objects(((0.0, 0.0, width, 5.0),), (0,), (1.0,), (crowd,), (1,))

    targets: dict[str, Value | None] = {
        "box": Boxes((REGION,)), "empty box": Boxes((line,)), "phrase": Grounded(((point, REGION),)),
        "empty phrase": Grounded(((REGION,), (point, line))), "object": objects(5), "empty object": objects(0),
        "crowd": objects(0, crowd=True), "outline": Polygons((((0.0, 0.0), (9.0, 0.0), (9.0, 9.0)),)),
        "empty outline": Polygons((flat,)), "mask": from_runs([10, 5, 185], size), "empty mask": from_runs([200], size),
        "text": Text(()), "hidden": None, "no box": Boxes(()), "no outline": Polygons(()),  # expressions for nothing
    }  # fmt: skip
    samples = [Sample(name, Question("a.jpg", size, "segment"), target, "") for name, target in targets.items()]
    assert unmatchable(samples) == ["empty box", "empty phrase", "empty object", "empty outline", "empty mask"]


@pytest.mark.parametrize("packed", [False, True])
def test_look_lists_missing_and_undecodable_images(tmp_path: Path, packed: bool) -> None:
    files = write_images(tmp_path, ("a.png", "b.png"))
    broken = f"{FOLDER}/broken.png"
    (tmp_path / broken).write_bytes(files[f"{FOLDER}/a.png"][:40])  # a whole header without pixels
    references = [f"{FOLDER}/gone.png", *files, broken, *files]
    if packed:
        pack.pack(tmp_path, references, folder=FOLDER)
    checked = look(tmp_path, references, decode=True)
    assert list(checked.missing) == [f"{FOLDER}/gone.png"]
    assert "gone.png is not there" in checked.missing[f"{FOLDER}/gone.png"]
    assert list(checked.unreadable) == [broken]
    assert "broken.png cannot be decoded" in checked.unreadable[broken]
    assert look(tmp_path, references, decode=False).unreadable == {}


def test_differences_name_each_unit_whose_count_is_another() -> None:
    published = {"images": 5000, "samples": 7, "phrases": 3}
    expected = "6 images (published: 5,000), 0 phrases (published: 3)"
    assert differences({"images": 6, "samples": 7, "objects": 1}, published) == expected
    assert differences({"images": 5000, "samples": 7, "phrases": 3}, published) == ""


def test_shared_images_are_of_kinds_that_ask_once_per_image() -> None:
    kinds: list[Kind] = ["caption", "caption", "detect", "vqa", "vqa"]
    names = ["a.jpg", "a.jpg", "b.jpg", "c.jpg", "c.jpg"]
    pairs = enumerate(zip(names, kinds, strict=True))
    samples: list[Sample[Text]] = [
        Sample(str(at), Question(name, None, kind), None, name) for at, (name, kind) in pairs
    ]
    assert shared_images(samples) == {"a.jpg": 2}
