"""The embedded benchmark as annotation tools export it: YOLO, Pascal VOC, LabelMe, CSV, JSON lines, Roboflow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PIL import Image

INSTANCES, IMAGES = "coco/annotations/instances_val2017.json", "coco/val2017"
Instances = dict[str, Any]


def instances(root: Path, images: int = 12, *, one_ring: bool = False) -> Instances:
    """The official file of the first images, without crowds, which these formats do not have.

    With `one_ring`, without objects of several outlines, which YOLO does not have.
    """
    content = json.loads((root / INSTANCES).read_text())
    chosen = sorted(content["images"], key=lambda image: image["id"])[:images]
    ids = {image["id"] for image in chosen}
    annotations = [each for each in content["annotations"] if each["image_id"] in ids and not each["iscrowd"]]
    if one_ring:
        annotations = [each for each in annotations if len(each["segmentation"]) == 1]
    return {"images": chosen, "annotations": annotations, "categories": content["categories"]}


def objects(content: Instances, image: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The category name and the annotation of each object of an image."""
    names = {each["id"]: each["name"] for each in content["categories"]}
    return [(names[each["category_id"]], each) for each in content["annotations"] if each["image_id"] == image["id"]]


def copy_images(root: Path, content: Instances, to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    for image in content["images"]:
        shutil.copy(root / IMAGES / image["file_name"], to)


def as_yolo(root: Path, content: Instances, to: Path, *, outlines: bool = False) -> Path:
    """data.yaml, images/val and labels/val: boxes, or outlines."""
    copy_images(root, content, to / "images/val")
    (to / "labels/val").mkdir(parents=True)
    names = [each["name"] for each in content["categories"]]
    (to / "data.yaml").write_text(f"path: .\ntrain:\nval: images/val\nnc: {len(names)}\nnames: {json.dumps(names)}\n")
    for image in content["images"]:
        sides = image["width"], image["height"]
        lines = []
        for label, each in objects(content, image):
            x, y, width, height = each["bbox"]
            numbers = [(x + width / 2) / sides[0], (y + height / 2) / sides[1], width / sides[0], height / sides[1]]
            if outlines:
                [ring] = each["segmentation"]
                numbers = [value / sides[place % 2] for place, value in enumerate(ring)]
            lines.append(" ".join([str(names.index(label)), *map(repr, numbers)]))
        if lines:  # an image without objects has no file
            (to / "labels/val" / f"{Path(image['file_name']).stem}.txt").write_text("\n".join(lines) + "\n")
    return to


def as_voc(root: Path, content: Instances, to: Path, *, devkit: bool = False) -> Path:
    """Annotations, JPEGImages and, as in the devkit, ImageSets/Main with pixels that count from 1."""
    copy_images(root, content, to / "JPEGImages")
    (to / "Annotations").mkdir()
    for image in content["images"]:
        file = ElementTree.Element("annotation")
        ElementTree.SubElement(file, "filename").text = image["file_name"]
        if devkit:
            source = ElementTree.SubElement(file, "source")
            ElementTree.SubElement(source, "annotation").text = "PASCAL VOC2007"
        size = ElementTree.SubElement(file, "size")
        for side in ("width", "height"):
            ElementTree.SubElement(size, side).text = str(image[side])
        for label, each in objects(content, image):
            thing = ElementTree.SubElement(file, "object")
            ElementTree.SubElement(thing, "name").text = label
            ElementTree.SubElement(thing, "difficult").text = "0"
            box = ElementTree.SubElement(thing, "bndbox")
            x, y, width, height = each["bbox"]
            first = 1 if devkit else 0  # (left 0, width 10) is xmin 1, xmax 10: the last pixel counts
            edges = {"xmin": x + first, "ymin": y + first, "xmax": x + width, "ymax": y + height}
            for name, value in edges.items():
                ElementTree.SubElement(box, name).text = str(value)
        path = to / "Annotations" / f"{Path(image['file_name']).stem}.xml"
        path.write_bytes(ElementTree.tostring(file))
    if devkit:
        (to / "ImageSets/Main").mkdir(parents=True)
        stems = "\n".join(Path(image["file_name"]).stem for image in content["images"])
        (to / "ImageSets/Main/val.txt").write_text(stems + "\n")
        (to / "ImageSets/Main/cat_val.txt").write_text("\n".join(f"{stem}  1" for stem in stems.split()))
    return to


def as_labelme(root: Path, content: Instances, to: Path) -> Path:
    """A JSON file beside each image, with an outline for each object."""
    copy_images(root, content, to)
    for image in content["images"]:
        shapes = []
        for label, each in objects(content, image):
            group = None if len(each["segmentation"]) == 1 else each["id"]
            shapes += [
                {"label": label, "points": _points(ring), "group_id": group, "shape_type": "polygon", "flags": {}}
                for ring in each["segmentation"]
            ]
        record = {
            "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": image["file_name"], "imageData": None,
            "imageHeight": image["height"], "imageWidth": image["width"],
        }  # fmt: skip
        (to / f"{Path(image['file_name']).stem}.json").write_text(json.dumps(record))
    return to


def as_csv(root: Path, content: Instances, to: Path, separator: str = ",") -> Path:
    """A table with a row for each object, with TensorFlow's names of columns."""
    copy_images(root, content, to)
    rows = [["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"]]
    for image in content["images"]:
        start = [image["file_name"], str(image["width"]), str(image["height"])]
        rows += [
            [*start, label, str(x), str(y), str(x + width), str(y + height)]
            for label, each in objects(content, image)
            for x, y, width, height in [each["bbox"]]
        ] or [[*start, "", "", "", "", ""]]
    (to / "objects.csv").write_text("".join(separator.join(row) + "\n" for row in rows))
    return to / "objects.csv"


def as_jsonl(root: Path, content: Instances, to: Path) -> Path:
    """A line for each image, with outlines."""
    copy_images(root, content, to)
    lines = []
    for image in content["images"]:
        things = [
            {"label": label, "bbox": each["bbox"], "polygons": [_points(ring) for ring in each["segmentation"]]}
            for label, each in objects(content, image)
        ]
        lines.append(json.dumps({"image": image["file_name"], "objects": things}))
    (to / "objects.jsonl").write_text("\n".join(lines) + "\n")
    return to / "objects.jsonl"


def as_roboflow(root: Path, content: Instances, to: Path) -> Path:
    """COCO's format in the folders train, valid and test, each with its images and _annotations.coco.json."""
    third = len(content["images"]) // 3
    for place, folder in enumerate(("train", "valid", "test")):
        part = {**content, "images": content["images"][place * third : (place + 1) * third]}
        ids = {image["id"] for image in part["images"]}
        part["annotations"] = [each for each in content["annotations"] if each["image_id"] in ids]
        copy_images(root, part, to / folder)
        (to / folder / "_annotations.coco.json").write_text(json.dumps(part))
    return to


def as_coco(root: Path, content: Instances, to: Path) -> Path:
    """One file in COCO's format beside its images."""
    copy_images(root, content, to)
    (to / "mine.json").write_text(json.dumps(content))
    return to / "mine.json"


def picture(path: Path, width: int = 40, height: int = 30, colour: int = 0) -> Path:
    """An image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (colour, 90, 30)).save(path)
    return path


def _points(ring: list[float]) -> list[list[float]]:
    return [ring[place : place + 2] for place in range(0, len(ring), 2)]
