"""Florence-2's answers as published code reads them, for `hf-florence2-* --post-process transformers|original`.

`original` is the processor of the release (`processing_florence2.py` of microsoft/Florence-2-large at f0acedb).
transformers' processor has the same regular expressions, and truncates every coordinate to a whole pixel.

Both have these defects, which `harness.florence2.reading` does not have:
    a box, quad or outline has no score
    the boxes of a pronoun, or of a phrase such as "a" or "the image", are dropped (PRONOUNS)
    a label that contains a line break loses its boxes; letters beyond ASCII are dropped from labels
    the first line of OCR keeps the start token as text (original only)
    location tokens stay in a text, such as the region that is repeated behind a category
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from harness.core import Boxes, Grounded, Kind, Point, Polygons, Quad, Quads, Question, Size, Text, Value
from harness.florence2.locations import from_bin
from harness.florence2.prompts import FORMS
from harness.florence2.reading import assign

ANSWER_TYPES: Mapping[str, str] = {  # by task token, as in both processors; every other text is "pure_text"
    "<OCR_WITH_REGION>": "ocr",
    "<OD>": "description_with_bboxes",
    "<DENSE_REGION_CAPTION>": "description_with_bboxes",
    "<CAPTION_TO_PHRASE_GROUNDING>": "phrase_grounding",
    "<REFERRING_EXPRESSION_SEGMENTATION>": "polygons",
    "<REGION_TO_SEGMENTATION>": "polygons",
    "<OPEN_VOCABULARY_DETECTION>": "description_with_bboxes_or_polygons",
    "<REGION_PROPOSAL>": "bboxes",
}
_WORDS = """
    it I me mine you your yours he him his she her hers they them their theirs one oneself we us our ours its
    myself yourself himself herself itself ourselves yourselves themselves this that these those who whom whose which
    what all another any anybody anyone anything each everybody everyone everything few many nobody none several some
    somebody someone something image images the a an lots
"""
_PHRASES = ("each other", "one another", "the image", "a group", "other objects", "a set")
PRONOUNS = frozenset([*_WORDS.split(), *_PHRASES])
PARSER_CONFIG: Mapping[str, Any] = {  # `post_processor_config` of transformers' processor
    **{name: {} for name in (*ANSWER_TYPES.values(), "pure_text")},
    "phrase_grounding": {"banned_grounding_tokens": sorted(PRONOUNS)},
}
Rules = Callable[[str, str, Size], Any]  # text, task token and size to the `post_process_generation` of a task

_LABELLED = re.compile(r"[^<]+(?:<loc_\d+>){4,}")
_UNLABELLED = re.compile(r"(?:<loc_\d+>){4,}")
_LABEL = re.compile(r"^\s*(.*?)(?=<od>|</od>|<box>|</box>|<bbox>|</bbox>|<loc_|<poly>)")
_BIN = re.compile(r"<loc_(\d+)>")
_LINE = re.compile(r"(.+?)" + r"<loc_(\d+)>" * 8)
_PIECE = r"(?:<loc_\d+>|<sep>|<poly>|</poly>){4,}"
_RING = re.compile(r"((?:<loc_\d+>)+)(?:<sep>|$)")


def read(question: Question, texts: Sequence[str], size: Size, rules: Rules) -> Value | None:
    """The value of a question's answers, one text for each prompt of its default form; None if unparsable.

    Coordinates are in pixels of an image of this size.  A text that is not empty and has no box is unparsable, as for
    `reading.read_answer`.
    """
    form = next(iter(FORMS[question.kind].values()))
    task = form.text.removesuffix("{}")
    # Both processors are given the whole sequence, with its start token `</s>`.
    values = [_value(question.kind, rules(f"</s><s>{text}</s>", task, size), text) for text in texts]
    if all(value is None for value in values):
        return None
    if question.kind == "ground":
        return Grounded(assign(question.phrases, _groups(values[0])))
    if form.over != "each":
        return values[0]
    named = [(phrase.text, value) for phrase, value in zip(question.phrases, values, strict=True)]
    found = [(label, box) for label, value in named if isinstance(value, Boxes) for box in value.boxes]
    return Boxes(tuple(box for _, box in found), tuple(label for label, _ in found))


def original(text: str, task: str, size: Size) -> Any:
    """What the original processor's `post_process_generation` returns for a task token.  Coordinates are floats."""
    kind = ANSWER_TYPES.get(task, "pure_text")
    if kind == "pure_text":
        return text.replace("<s>", "").replace("</s>", "")
    if kind == "ocr":
        lines = _LINE.findall(text.replace("<s>", ""))
        return {"quad_boxes": [_flat(bins, size) for _, *bins in lines], "labels": [label for label, *_ in lines]}
    text = text.replace("<s>", "").replace("</s>", "").replace("<pad>", "")
    if kind == "polygons":
        return {"polygons": _outlines(text, size, labelled=False)}
    if kind == "description_with_bboxes_or_polygons":
        if "<poly>" in text:
            return {"bboxes": [], "bboxes_labels": [], "polygons": _outlines(text, size, labelled=True)}
        found = _described(text, size)
        return {"bboxes": found["bboxes"], "bboxes_labels": found["labels"], "polygons": []}
    if kind == "bboxes":
        boxes = [box for run in _UNLABELLED.findall(text) for box in _boxes(run, size)]
        return {"bboxes": boxes, "labels": [""] * len(boxes)}
    return _described(text, size, banned=PRONOUNS if kind == "phrase_grounding" else frozenset())


def _described(text: str, size: Size, banned: frozenset[str] = frozenset()) -> dict[str, list[Any]]:
    """Labels and the boxes behind each."""
    boxes: list[Any] = []
    labels: list[str] = []
    for piece in _LABELLED.findall(text):
        match = _LABEL.search(piece)
        if match is None or match[0].strip() in banned:  # no match: the label has a line break
            continue
        found = _boxes(piece, size)
        boxes += found
        labels += [match[0].strip().encode("ascii", "ignore").decode("ascii")] * len(found)
    return {"bboxes": boxes, "labels": labels}


def _boxes(text: str, size: Size) -> list[list[float]]:
    bins = _BIN.findall(text)
    return [_flat(bins[start : start + 4], size) for start in range(0, len(bins) - 3, 4)]


def _outlines(text: str, size: Size, *, labelled: bool) -> list[list[list[float]]]:
    """The rings of each object, a flat list of coordinates for each ring."""
    objects: list[list[list[float]]] = []
    for piece in re.findall(r"[^<]+" + _PIECE if labelled else _PIECE, text):
        if _LABEL.search(piece) is None:
            continue
        several = re.findall(r"<poly>(.*?)</poly>", piece) if "<poly>" in piece and "</poly>" in piece else [piece]
        for one in several:
            rings = [_BIN.findall(run) for run in _RING.findall(one)]
            if rings:
                objects.append([_flat(bins[: len(bins) // 2 * 2], size) for bins in rings])
    return objects


def _flat(bins: Sequence[str], size: Size) -> list[float]:
    """The centres of bins that alternate between x and y; a number beyond the last bin keeps its distance."""
    return [from_bin(int(number), size[place % 2]) for place, number in enumerate(bins)]


def _value(kind: Kind, parsed: Any, text: str) -> Value | None:
    empty = not text.strip()
    if isinstance(parsed, str):
        return Text((parsed,)) if parsed.strip() or empty else None
    if "quad_boxes" in parsed:
        quads = Quads(tuple(map(_quad, parsed["quad_boxes"])), tuple(parsed["labels"]))
        return quads if quads.quads or empty else None
    if kind in ("segment", "outline"):
        rings = [_points(ring) for rings in parsed["polygons"] for ring in rings]
        outline = Polygons(tuple(ring for ring in rings if len(ring) >= 3))
        return outline if outline.rings or empty else None
    labels = () if kind == "propose" else tuple(parsed.get("labels", parsed.get("bboxes_labels")))
    boxes = Boxes(tuple((left, top, right, bottom) for left, top, right, bottom in parsed["bboxes"]), labels)
    return boxes if boxes.boxes or empty else None


def _groups(value: Value | None) -> list[tuple[str, tuple[Any, ...]]]:
    """Each label with its boxes, from consecutive boxes of one label."""
    if not isinstance(value, Boxes):
        return []
    pairs = zip(value.labels, value.boxes, strict=True)
    return [(label, tuple(box for _, box in run)) for label, run in groupby(pairs, key=lambda pair: pair[0])]


def _points(flat: Sequence[float]) -> tuple[Point, ...]:
    return tuple(zip(flat[0::2], flat[1::2], strict=True))


def _quad(flat: Sequence[float]) -> Quad:
    a, b, c, d = _points(flat)
    return a, b, c, d
