"""Label Studio's JSON tasks with predictions (pre-annotations), for a labelling interface that `interface` writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from harness.core import Size
from harness.exports.shapes import Picture, Shape, inside, labels_of
from harness.sinks import xml

LOCAL_FILES = "/data/local-files/?d="  # of Label Studio's local storage


def write(shown: Sequence[Picture], version: str, prefix: str = LOCAL_FILES) -> bytes:
    """The tasks, as UTF-8: `prefix` and the name of an image are its address; `version` names the model.

    Coordinates are percent of the image, clipped to the image.  A region's `score` is left out where the model gives
    none.
    """
    tasks = [
        {
            "data": {"image": f"{prefix}{picture.name}"},
            "predictions": [{"model_version": version, "result": _results(picture)}],
        }
        for picture in inside(shown)
    ]
    return json.dumps(tasks).encode()


def interface(shown: Sequence[Picture]) -> bytes:
    """The labelling interface (XML) of a project for these tasks."""
    root = ElementTree.Element("View")
    ElementTree.SubElement(root, "Image", name="image", value="$image", zoom="true")
    for tag, name in (("RectangleLabels", "box"), ("PolygonLabels", "outline")):
        labels = ElementTree.SubElement(root, tag, name=name, toName="image")
        for label in labels_of(shown):
            ElementTree.SubElement(labels, "Label", value=xml(label))
    text = {"name": "transcription", "toName": "image", "perRegion": "true", "displayMode": "region-list"}
    ElementTree.SubElement(root, "TextArea", {**text, "editable": "true"})
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8")
    return written


def _results(picture: Picture) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    for place, shape in enumerate(picture.shapes):
        for part, (name, kind, value) in enumerate(_values(shape, picture.size)):
            common = {
                "id": f"{place}_{part}", "to_name": "image", "original_width": picture.size.width,
                "original_height": picture.size.height, "image_rotation": 0,
            }  # fmt: skip
            score = {} if shape.score is None else {"score": shape.score}
            results.append(
                {**common, "from_name": name, "type": kind, "value": {**value, kind: [shape.label]}, **score}
            )
            if shape.text:
                text = {**value, "text": [shape.text]}
                results.append({**common, "from_name": "transcription", "type": "textarea", "value": text})
    return results


def _values(shape: Shape, size: Size) -> list[tuple[str, str, dict[str, Any]]]:
    """The control, the type and the coordinates of a shape: a rectangle, or a polygon for each ring."""
    across, down = 100 / size.width, 100 / size.height
    if shape.rings:
        return [
            ("outline", "polygonlabels", {"points": [[x * across, y * down] for x, y in ring], "closed": True})
            for ring in shape.rings
        ]
    left, top, right, bottom = shape.box
    rectangle = {
        "x": left * across, "y": top * down, "width": (right - left) * across, "height": (bottom - top) * down,
        "rotation": 0,
    }  # fmt: skip
    return [("box", "rectanglelabels", rectangle)]
