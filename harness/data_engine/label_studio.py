"""Kept annotations, or the sample of an audit, as tasks of Label Studio, with the labelling interface for them.

Annotations by people are `annotations`, all others `predictions`, one for each origin with its name as `model_version`.
Coordinates are in percent of the image, and clipped to it.  A text of a region, the words of a phrase and what is
written somewhere belong to their box or polygon, which has the same id.

Images are read from Label Studio's local files: its `LOCAL_FILES_DOCUMENT_ROOT` is the data root.  The interface is
written beside the tasks, as NAME.xml.

Source: Label Studio's documentation, "Label Studio Task Format" and "Import pre-annotated data".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from harness import sinks
from harness.core import Box, Boxes, Polygons, Quads, Ring, Size, Text
from harness.data_engine.audit import AuditSample
from harness.data_engine.audit_page import question, rings, shown_text
from harness.data_engine.audit_verdicts import DECISIONS
from harness.data_engine.export import Exported, Source, written_aside
from harness.data_engine.records import Annotation
from harness.geometry.masks import pixels
from harness.geometry.outlines import outline

PHRASE, WRITTEN, THING = "a phrase", "written words", "a thing"  # labels of what has no category
Result = dict[str, Any]


def write(path: Path, source: Source) -> Exported:
    """Writes the tasks of an engine and their interface; returns the counts."""
    counts = Exported()
    labels = {PHRASE, WRITTEN, THING}
    with written_aside(path) as partial, partial.open("w", encoding="utf-8") as file:
        for place, item in enumerate(source.items(counts)):
            image = item.record.image
            of: dict[str, list[Result]] = {}
            regions = {each.id: each for each in item.record.annotations if each.kind == "region"}
            for annotation in item.record.annotations:
                results = _results(annotation, image.size, regions)
                labels |= {label for each in results for label in each["value"].get(each["type"], ())}
                of.setdefault(annotation.origin, []).extend(results)
                counts.annotations += 1
            task = _task(source, image.reference, of)
            task["data"] |= {"sha256": image.sha256, "source": image.source, "licence": image.licence}
            file.write(f"{',' if place else '['}\n{json.dumps(task, allow_nan=False)}")
        file.write("\n]\n" if counts.images else "[]\n")
    _write_interface(path, _interface(labels))
    return counts


def write_sample(path: Path, sample: AuditSample) -> None:
    """Writes the tasks of an audit, and an interface with the three verdicts; the boxes are shown as a prediction."""
    tasks = []
    for item in sample.items:
        shapes = [_polygon(f"{item.annotation}-{n}", ring, item.size, THING) for n, ring in enumerate(rings(item))]
        if item.region is not None:
            shapes.append(_rectangle("region", item.region, item.size, "the region"))
        data = {
            "image": image_url(item.image), "question": question(item), "text": shown_text(item), "sample": sample.id,
            "annotation": item.annotation,
        }  # fmt: skip
        tasks.append({"data": data, "predictions": [{"model_version": "audit", "result": shapes}] if shapes else []})
    with written_aside(path) as partial:
        partial.write_text(json.dumps(tasks, indent=1, allow_nan=False) + "\n")
    choices = "".join(f'    <Choice value="{decision}" hotkey="{key}"/>\n' for key, decision in enumerate(DECISIONS, 1))
    _write_interface(
        path,
        '<View>\n  <Header value="$question"/>\n  <Text name="text" value="$text"/>\n'
        '  <Image name="image" value="$image" zoom="true"/>\n'
        f"{_labels('PolygonLabels', 'outline', [THING])}{_labels('RectangleLabels', 'box', ['the region'])}"
        f'  <Choices name="verdict" toName="image" choice="single" required="true">\n{choices}  </Choices>\n</View>\n',
    )


def image_url(reference: str) -> str:
    """The address of an image among Label Studio's local files."""
    return f"/data/local-files/?d={quote(reference)}"


def _task(source: Source, reference: str, of: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
    task: dict[str, Any] = {"data": {"image": image_url(reference)}, "annotations": [], "predictions": []}
    for id_, results in of.items():
        origin = source.licences.origins.get(id_)
        if origin is not None and origin.kind == "human":
            task["annotations"].append({"result": list(results)})
            continue
        name = id_ if origin is None else f"{origin.name} round {origin.round}" if origin.round else origin.name
        scores = [each["score"] for each in results if "score" in each]
        prediction = {"model_version": name, "result": list(results)}
        task["predictions"].append(prediction | ({"score": sum(scores) / len(scores)} if scores else {}))
    return task


def _results(annotation: Annotation, size: Size, regions: Mapping[str, Annotation]) -> list[Result]:
    """The results of an annotation: shapes, and texts of the image or of a shape."""
    value, id_ = annotation.value, annotation.id
    region = next((regions[each].value for each in annotation.parents if each in regions), None)
    shapes: list[Result] = []
    words: Sequence[str] = ()
    if isinstance(value, Text):
        if not isinstance(region, Boxes):
            text: Result = {"id": id_, "type": "textarea", "from_name": "text", "to_name": "image"}
            text |= {"value": {"text": [*value.texts]}}
            return [_scored(text, annotation)]
        shapes, words = [_rectangle(id_, region.boxes[0], size, _label(region))], value.texts
    elif isinstance(value, Boxes):
        label = PHRASE if annotation.kind == "phrase" else _label(value)
        many = len(value.boxes) > 1
        shapes = [_rectangle(f"{id_}-{n}" if many else id_, box, size, label) for n, box in enumerate(value.boxes)]
        words = value.labels if annotation.kind == "phrase" else ()
    elif isinstance(value, Quads):
        shapes, words = [_polygon(id_, value.quads[0], size, WRITTEN)], value.labels
    else:
        traced = value.rings if isinstance(value, Polygons) else outline(pixels(value))
        shapes = [_polygon(f"{id_}-{n}", ring, size, _label(region)) for n, ring in enumerate(traced)]
    texts = [_words(shape, text) for shape, text in zip(shapes, words, strict=False)]
    return [_scored(each, annotation) for each in (*shapes, *texts)]


def _label(value: object) -> str:
    """The label of a region, or that of a thing without one."""
    return (*value.labels, THING)[0] or THING if isinstance(value, Boxes) else THING


def _scored(result: Result, annotation: Annotation) -> Result:
    return result if annotation.score is None else result | {"score": annotation.score}


def _shape(id_: str, kind: str, name: str, size: Size, value: dict[str, Any]) -> Result:
    return {
        "id": id_, "type": kind, "from_name": name, "to_name": "image", "original_width": size.width,
        "original_height": size.height, "image_rotation": 0, "value": value,
    }  # fmt: skip


def _rectangle(id_: str, box: Box, size: Size, label: str) -> Result:
    (left, top), (right, bottom) = (_percent(x, y, size) for x, y in (box[:2], box[2:]))
    value = {
        "x": left, "y": top, "width": right - left, "height": bottom - top, "rotation": 0, "rectanglelabels": [label],
    }  # fmt: skip
    return _shape(id_, "rectanglelabels", "box", size, value)


def _polygon(id_: str, ring: Ring, size: Size, label: str) -> Result:
    points = [list(_percent(x, y, size)) for x, y in ring]
    return _shape(id_, "polygonlabels", "outline", size, {"points": points, "closed": True, "polygonlabels": [label]})


def _percent(x: float, y: float, size: Size) -> tuple[float, float]:
    """A point in percent of the image, moved to its edge if it is outside."""
    return min(max(100 * x / size.width, 0.0), 100.0), min(max(100 * y / size.height, 0.0), 100.0)


def _words(shape: Result, text: str) -> Result:
    """The text of a shape, which repeats its id and its place."""
    place = {key: value for key, value in shape["value"].items() if not key.endswith("labels")}
    return shape | {"type": "textarea", "from_name": "words", "value": place | {"text": [text]}}


def _interface(labels: Iterable[str]) -> str:
    names = sorted(labels)
    return (
        '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
        f"{_labels('RectangleLabels', 'box', names)}{_labels('PolygonLabels', 'outline', names)}"
        '  <TextArea name="words" toName="image" perRegion="true" editable="true"/>\n'
        '  <TextArea name="text" toName="image" editable="true" rows="4"/>\n</View>\n'
    )


def _labels(tag: str, name: str, labels: Iterable[str]) -> str:
    values = "".join(f"    <Label value={quoteattr(sinks.xml(label))}/>\n" for label in labels)
    return f'  <{tag} name="{name}" toName="image">\n{values}  </{tag}>\n'


def _write_interface(path: Path, text: str) -> None:
    with written_aside(path.with_suffix(".xml")) as partial:
        partial.write_text(text, encoding="utf-8")
