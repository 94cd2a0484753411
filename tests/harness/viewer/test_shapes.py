"""Every kind of value as shapes."""

from __future__ import annotations

import pytest

from harness.core import (
    Boxes,
    Embedding,
    Grounded,
    Mask,
    Match,
    Objects,
    Phrase,
    Polygons,
    Quads,
    Size,
    Text,
    Value,
)  # fmt: skip
from harness.viewer.shapes import MOST, shapes_of, texts_of

PHRASES = (Phrase("cat"), Phrase("dog"))
SQUARE = ((1.0, 1.0), (3.0, 1.0), (3.0, 3.0), (1.0, 3.0))
FLAT = [1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 1.0, 3.0]


@pytest.mark.parametrize(
    ("value", "shapes"),
    [
        (Boxes(((1.0, 2.0, 3.456, 4.0),), ("cat",), (0.12345,), (1.0,)),
         [{"kind": "box", "points": [1.0, 2.0, 3.46, 4.0], "label": "cat", "score": 0.1235}]),
        (Objects(((1.0, 2.0, 3.0, 4.0),), (1,), (12.0,), (True,), (1, 2)),  # left 1, top 2, width 3, height 4
         [{"kind": "box", "points": [1.0, 2.0, 4.0, 6.0], "label": "dog", "crowd": True}]),
        (Grounded(((), ((1.0, 2.0, 3.0, 4.0),))), [{"kind": "box", "points": [1.0, 2.0, 3.0, 4.0], "label": "dog"}]),
        (Quads((SQUARE,), ("EXIT",)), [{"kind": "ring", "points": FLAT, "label": "EXIT"}]),
        (Polygons((SQUARE,)), [{"kind": "ring", "points": FLAT}]),
        (Mask(Size(4, 2), b"3n"), [{"kind": "mask", "points": [4, 2], "counts": "3n"}]),
        (Text(("a",)), []), (Match(0.5), []), (None, []),
    ],
)  # fmt: skip
def test_shapes_of_value_have_its_coordinates(value: Value | None, shapes: list[object]) -> None:
    assert shapes_of(value, PHRASES) == shapes


def test_shapes_are_bounded() -> None:
    assert len(shapes_of(Boxes(((0.0, 0.0, 1.0, 1.0),) * (MOST + 5)))) == MOST


def test_texts_of_values_without_shapes() -> None:
    assert texts_of(Text(("a", "b"))) == ["a", "b"]
    assert texts_of(Match(0.25)) == ["match 0.25"]
    assert texts_of(Embedding.of([3.0, 4.0])) == ["Embedding(1 x 2 numbers)"]
    assert texts_of(Boxes(())) == [] and texts_of(None) == []
