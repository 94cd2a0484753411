"""CVAT for images 1.1 (XML): pre-annotations that CVAT's "Upload annotations" reads into a task with these images."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from harness.exports.shapes import Picture, Shape, inside, labels_of
from harness.sinks import xml


def write(shown: Sequence[Picture], name: str) -> bytes:
    """The file, as UTF-8.  Shapes are clipped to their images; a shape with several rings is a group of polygons.

    Each label has two attributes: `score`, "" where the model gives none, and `text`, of a line of text.
    """
    shown = inside(shown)
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    for tag, value in (("name", name), ("size", str(len(shown))), ("mode", "annotation")):
        ElementTree.SubElement(task, tag).text = xml(value)
    labels = ElementTree.SubElement(task, "labels")
    for label in labels_of(shown):
        element = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(element, "name").text = xml(label)
        attributes = ElementTree.SubElement(element, "attributes")
        for attribute in ("score", "text"):
            described = ElementTree.SubElement(attributes, "attribute")
            for tag, value in (
                ("name", attribute),
                ("mutable", "False"),
                ("input_type", "text"),
                ("default_value", ""),
                ("values", ""),
            ):
                ElementTree.SubElement(described, tag).text = value
    group = 0
    for number, picture in enumerate(shown):
        image = ElementTree.SubElement(
            root, "image", id=str(number), name=xml(picture.name),
            width=str(picture.size.width), height=str(picture.size.height),
        )  # fmt: skip
        for shape in picture.shapes:
            group += len(shape.rings) > 1
            _add(image, shape, group if len(shape.rings) > 1 else 0)
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _add(image: ElementTree.Element, shape: Shape, group: int) -> None:
    """Adds the box, or a polygon for each ring."""
    common = {"label": xml(shape.label), "source": "auto", "occluded": "0", "z_order": "0"}
    common |= {"group_id": str(group)} if group else {}
    elements = []
    if shape.rings:
        for ring in shape.rings:
            points = ";".join(f"{x:.2f},{y:.2f}" for x, y in ring)
            elements.append(ElementTree.SubElement(image, "polygon", {**common, "points": points}))
    else:
        edges = zip(("xtl", "ytl", "xbr", "ybr"), shape.box, strict=True)
        elements.append(ElementTree.SubElement(image, "box", common | {name: f"{edge:.2f}" for name, edge in edges}))
    values = {"score": "" if shape.score is None else f"{shape.score:.4f}", "text": shape.text}
    for element in elements:
        for name, value in values.items():
            ElementTree.SubElement(element, "attribute", name=name).text = xml(value)
