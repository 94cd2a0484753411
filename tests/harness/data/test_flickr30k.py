"""Flickr30k Entities: sentences with phrases, boxes of chains, and the result file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from harness.core import Answer, Box, Grounded, Phrase, Question, Row, Sample, Score, Size
from harness.data import flickr30k
from harness.errors import DataError

SENTENCES = """[/EN#11/people Two men] in [/EN#12/clothing/people red shirts] on [/EN#13/scene a street] .

[/EN#0/notvisual It] is cold .
"""
BOXES = """<annotation><size><width>100</width><height>80</height></size>
<object><name>11</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>
<object><name>11</name><name>12</name>
  <bndbox><xmin>50</xmin><ymin>2</ymin><xmax>80</xmax><ymax>40</ymax></bndbox></object>
<object><name>13</name><nobndbox>1</nobndbox></object></annotation>"""
FIRST, SECOND = (1.0, 2.0, 30.0, 40.0), (50.0, 2.0, 80.0, 40.0)


def write(folder: Path) -> Path:
    for part in ("Sentences", "Annotations"):
        (folder / part).mkdir(parents=True)
    (folder / "val.txt").write_text("5\n\n")
    (folder / "Sentences/5.txt").write_text(SENTENCES)
    (folder / "Annotations/5.xml").write_text(BOXES)
    return folder


def test_read_yields_sentences_with_evaluated_phrases(tmp_path: Path) -> None:
    """The street has no box, and the second sentence has no phrase with a box."""
    [sentence] = flickr30k.read(write(tmp_path), "val")
    assert (sentence.image, sentence.number, sentence.size) == ("5", 0, Size(100, 80))
    assert sentence.text == "Two men in red shirts on a street ."
    assert sentence.phrases == (Phrase("Two men", 0, 7), Phrase("red shirts", 11, 21))
    assert sentence.target == Grounded(((FIRST, SECOND), (SECOND,)), (("people",), ("clothing", "people")))


def test_read_counts_lines_from_0_including_empty_ones(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "Sentences/5.txt").write_text("\n[/EN#0/notvisual It] is cold .\n[/EN#11/people Two men] .\n")
    assert [sentence.number for sentence in flickr30k.read(folder, "val")] == [2]


@pytest.mark.parametrize("line", ["a  [/EN#1/people tall \t man]  runs", " a [/EN#1/people tall man] runs\n"])
def test_read_sentence_joins_words_with_single_spaces(line: str) -> None:
    text, [(phrase, chain, types)] = flickr30k.read_sentence(line, "here")
    assert text == "a tall man runs"
    assert text[phrase.start : phrase.end] == phrase.text == "tall man"
    assert (chain, types) == ("1", ("people",))


@pytest.mark.parametrize("line", ["[/EN#11/people Two men stand .", "[/EN#11/people ] stand .", "[/EN#x/people men]"])
def test_read_sentence_with_malformed_mark_names_the_line(line: str) -> None:
    with pytest.raises(DataError, match=r"^here: a phrase is not marked as \[/EN#chain/type words\]"):
        flickr30k.read_sentence(line, "here")


def test_read_boxes_has_size_and_boxes_of_each_chain_in_order(tmp_path: Path) -> None:
    folder = write(tmp_path)
    size, boxes = flickr30k.read_boxes(folder / "Annotations/5.xml")
    assert (size, boxes) == (Size(100, 80), {"11": (FIRST, SECOND), "12": (SECOND,)})


# ---------------------------------------------------------------------------- predictions


def sample(name: str, phrases: int) -> Sample[Grounded]:
    question = Question("5.jpg", Size(100, 80), "ground", "x", (Phrase("x"),) * phrases)
    return Sample(name, question, None, "5")


def test_written_boxes_are_read_back_without_undefined_and_negative_sides(tmp_path: Path) -> None:
    undefined: Box = (0.0, 0.0, math.nan, 1.0)
    inverted: Box = (9.0, 9.0, 1.0, 20.0)
    samples = [sample("5/0", 2), sample("5/2", 1)]
    values = [Grounded(((FIRST, undefined, inverted), ())), None]
    rows: list[Row[Any]] = [
        Row(sample_, Answer(("x",), value), Score({})) for sample_, value in zip(samples, values, strict=True)
    ]
    flickr30k.BOXES.write(tmp_path / "p.json", rows)
    assert json.loads((tmp_path / "p.json").read_text()) == [
        {"image_id": "5", "sentence_id": 0, "boxes": [[list(FIRST), [9.0, 9.0, 9.0, 20.0]], []]},
        {"image_id": "5", "sentence_id": 2, "boxes": [[]]},
    ]
    answers = flickr30k.BOXES.read(tmp_path / "p.json", samples)
    assert answers["5/0"].value == Grounded(((FIRST, (9.0, 9.0, 9.0, 20.0)), ()))
    assert answers["5/2"].value == Grounded(((),))


@pytest.mark.parametrize(("boxes", "message"), [
    ([[]], "5/0: it has boxes for 1 phrases; the sentence has 2 evaluated phrases"),
    ([[], [[3, 3, 1, 4]]], r"5/0: box 0 is \[3.0, 3.0, 1.0, 4.0\]; expected \[x0, y0, x1, y1\]"),
])  # fmt: skip
def test_predictions_with_other_phrases_or_impossible_boxes_raise(tmp_path: Path, boxes: Any, message: str) -> None:
    (tmp_path / "p.json").write_text(json.dumps([{"image_id": 5, "sentence_id": 0, "boxes": boxes}]))
    with pytest.raises(DataError, match=message):
        flickr30k.BOXES.read(tmp_path / "p.json", [sample("5/0", 2)])
