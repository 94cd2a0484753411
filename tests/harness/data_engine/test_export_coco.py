"""COCO's instances, read back by pycocotools."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO

from harness.core import Boxes, Mask, Polygons
from harness.data_engine.export import export
from harness.data_engine.records import Annotation, Record
from harness.geometry.masks import rasterise
from tests.harness.data_engine import samples


def read(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(path)


def test_regions_are_read_by_pycocotools(miniature: Path, tmp_path: Path) -> None:
    records = samples.records(miniature, 3)
    counts = export(lambda: records, samples.ORIGINS, miniature, tmp_path / "coco.json", "coco", name="an engine")
    coco = read(tmp_path / "coco.json")
    assert {each["name"] for each in coco.loadCats(coco.getCatIds())} == {"car", "house"}  # a dropped box had "boat"
    assert (counts.images, counts.annotations) == (3, 6)
    assert counts.left_out == {
        "annotations of kind text": 6, "annotations of kind phrase": 3, "annotations of kind written": 3,
        "regions without a label": 3,
    }  # fmt: skip
    for record, image in zip(records, coco.loadImgs(coco.getImgIds()), strict=True):
        assert (image["file_name"], image["width"], image["height"]) == (record.image.reference, *record.image.size)
        entries = {each["category_id"]: each for each in coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))}
        [car_id], [house_id] = coco.getCatIds(catNms=["car"]), coco.getCatIds(catNms=["house"])
        car, house = entries[car_id], entries[house_id]
        left = record.annotations[0].value.boxes[0][0]  # type: ignore[union-attr]
        assert car["bbox"] == [left, 20.0, 60.25 - left, 50.0]  # to 60.25, and from 20 to 70
        assert car["score"] == record.annotations[0].score
        assert car["attributes"] == {
            "origin": "detector", "licence": "Apache-2.0", "annotation": record.annotations[0].id,
        }  # fmt: skip
        assert "score" not in house
        assert house["area"] == record.image.size.width / 2 * record.image.size.height / 2
        mask = coco.annToMask(car)
        triangle = Polygons((((10.5, 20.0), (60.0, 20.0), (35.0, 70.0)),))
        assert mask.sum() == car["area"]
        assert abs(mask.sum() - 49.5 * 50 / 2) < 60  # half of base times height, up to the pixels of its edges
        assert np.array_equal(mask, coco.annToMask(car | {"segmentation": [[c for p in triangle.rings[0] for c in p]]}))


def test_mask_is_written_as_its_code(miniature: Path, tmp_path: Path) -> None:
    [record] = samples.records(miniature, 1)
    car = record.annotations[0]
    mask = rasterise(Polygons((((10.0, 20.0), (60.0, 20.0), (60.0, 70.0), (10.0, 70.0)),)), record.image.size)
    assert isinstance(mask, Mask)
    outline = Annotation(image=record.image.sha256, kind="outline", value=mask, origin=car.origin, parents=(car.id,))
    made = Record(image=record.image, annotations=(car, outline))
    export(lambda: [made], samples.ORIGINS, miniature, tmp_path / "coco.json", "coco")
    coco = read(tmp_path / "coco.json")
    [entry] = coco.loadAnns(coco.getAnnIds())
    assert entry["area"] == coco.annToMask(entry).sum() == 50 * 50


def test_region_with_an_empty_label_has_no_category(miniature: Path, tmp_path: Path) -> None:
    [record] = samples.records(miniature, 1)
    unnamed = replace(record.annotations[0], value=Boxes(((5.0, 5.0, 9.0, 9.0),), ("",)))
    made = Record(image=record.image, annotations=(unnamed,))
    counts = export(lambda: [made], samples.ORIGINS, miniature, tmp_path / "coco.json", "coco")
    assert counts.left_out == {"regions without a label": 1}
    assert read(tmp_path / "coco.json").getCatIds() == []


def test_boxes_without_an_area_and_empty_engines_are_no_error(miniature: Path, tmp_path: Path) -> None:
    [record] = samples.records(miniature, 1)
    flat = replace(record.annotations[0], value=Boxes(((5.0, 5.0, 5.0, 9.0),), ("car",)))
    made = Record(image=record.image, annotations=(flat,))
    counts = export(lambda: [made], samples.ORIGINS, miniature, tmp_path / "coco.json", "coco")
    assert counts.left_out == {"boxes without an area": 1}
    assert read(tmp_path / "coco.json").getAnnIds() == []
    export(lambda: (), samples.ORIGINS, miniature, tmp_path / "none.json", "coco")
    assert read(tmp_path / "none.json").getImgIds() == []
