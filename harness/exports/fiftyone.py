"""A folder that FiftyOne imports: predictions, and targets where they are published, as fields of its samples.

    import fiftyone
    fiftyone.Dataset.from_dir("FOLDER", dataset_type=fiftyone.types.LegacyFiftyOneDataset)

The format is FiftyOne's own for samples as plain JSON.  Images are not copied: their paths are absolute.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core import Size
from harness.exports.shapes import Picture, Shape
from harness.sinks import file_name


def write(predictions: Sequence[Picture], targets: Sequence[Picture], root: Path, model: str) -> bytes:
    """The file `samples.json`, as UTF-8, for a run of one model; `root` is the folder of the images.

    The fields of a sample are `ground_truth`, the model's name, and the same with `_outlines` for outlines.
    """
    name = "".join(letter if letter.isascii() else "_" for letter in file_name(model)).replace("-", "_").lower()
    name = f"model_{name}"  # a field's name begins with a letter, and none of FiftyOne's own is `model_...`
    truth = {picture.name: picture for picture in targets}
    samples = []
    for picture in predictions:
        sample = _of(picture, name)
        if picture.name in truth:
            sample |= _of(truth[picture.name], "ground_truth")
        sample |= {"_media_type": "image", "filepath": str(root.resolve() / picture.name), "tags": []}
        size = {"width": picture.size.width, "height": picture.size.height}
        samples.append(sample | {"metadata": {"_cls": "ImageMetadata", **size}})
    return json.dumps({"name": file_name(model), "media_type": "image", "info": {}, "samples": samples}).encode()


def _of(picture: Picture, name: str) -> dict[str, Any]:
    """The boxes of an image under a name, and its outlines where there are some."""
    boxes = [shape for shape in picture.shapes if not shape.rings]
    outlines = [shape for shape in picture.shapes if shape.rings]
    fields: dict[str, Any] = {}
    if boxes or not outlines:
        detections = [_detection(shape, picture.size) for shape in boxes]
        fields[name] = {"_cls": "Detections", "detections": detections}
    if outlines:
        polylines = [_polyline(shape, picture.size) for shape in outlines]
        fields[f"{name}_outlines"] = {"_cls": "Polylines", "polylines": polylines}
    return fields


def _detection(shape: Shape, size: Size) -> dict[str, Any]:
    """A box as [left, top, width, height], relative to the image's size."""
    left, top, right, bottom = shape.box
    box = [left / size.width, top / size.height, (right - left) / size.width, (bottom - top) / size.height]
    return {"_cls": "Detection", "bounding_box": box, **_facts(shape)}


def _polyline(shape: Shape, size: Size) -> dict[str, Any]:
    """A filled outline, with points relative to the image's size."""
    points = [[[x / size.width, y / size.height] for x, y in ring] for ring in shape.rings]
    return {"_cls": "Polyline", "points": points, "closed": True, "filled": True, **_facts(shape)}


def _facts(shape: Shape) -> Mapping[str, Any]:
    facts: dict[str, Any] = {"label": shape.label}
    if shape.score is not None:
        facts["confidence"] = shape.score
    if shape.text:
        facts["text"] = shape.text
    return facts
