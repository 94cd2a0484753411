"""Flickr30k Entities: its files, and recall against a plain loop of MDETR's protocol."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core import Answer, Box, Boxes, Grounded, Phrase, Row, Sample, Size, Source
from harness.data import flickr30k
from harness.errors import DataError
from harness.statistics import estimate
from tasks.flickr30k import TASK, TYPES

SENTENCES = """[/EN#11/people Two men] in [/EN#12/clothing/people red shirts] stand on [/EN#13/scene a street] .
[/EN#0/notvisual It] is cold .
[/EN#11/people Two men] talk to [/EN#14/people a woman] .
"""
BOXES = """<annotation><filename>5.jpg</filename><size><width>100</width><height>80</height><depth>3</depth></size>
<object><name>11</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>
<object><name>11</name><name>14</name><bndbox><xmin>50</xmin><ymin>2</ymin><xmax>80</xmax><ymax>40</ymax></bndbox></object>
<object><name>12</name><bndbox><xmin>5</xmin><ymin>10</ymin><xmax>25</xmax><ymax>30</ymax></bndbox></object>
<object><name>13</name><scene>1</scene><nobndbox>1</nobndbox></object></annotation>"""


def write(root: Path, sentences: str = SENTENCES, boxes: str = BOXES) -> Path:
    folder = root / "flickr30k"
    for part in ("Sentences", "Annotations"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "test.txt").write_text("5\n")
    (folder / "Sentences/5.txt").write_text(sentences)
    (folder / "Annotations/5.xml").write_text(boxes)
    return folder


def test_load_gives_phrases_with_their_boxes(tmp_path: Path) -> None:
    write(tmp_path)
    first, third = TASK.load(Source(tmp_path, "test"))  # the second sentence has no phrase with a box
    assert (first.id, third.id) == ("5/0", "5/2")
    assert first.question.image == "flickr30k/flickr30k-images/5.jpg"
    assert first.question.text == "Two men in red shirts stand on a street ."
    assert first.question.size == Size(100, 80)
    assert first.question.phrases == (Phrase("Two men", 0, 7), Phrase("red shirts", 11, 21))  # the street has no box
    assert first.target == Grounded(
        (
            ((1.0, 2.0, 30.0, 40.0), (50.0, 2.0, 80.0, 40.0)),
            ((5.0, 10.0, 25.0, 30.0),),
        ),  # as in the files, without an offset
        (("people",), ("clothing", "people")),
    )
    assert third.target is not None
    assert third.target.boxes[1] == ((50.0, 2.0, 80.0, 40.0),)  # one object in two chains


@pytest.mark.parametrize(("sentences", "boxes", "message"), [
    ("[/EN#11/people Two men stand .", BOXES, r"5\.txt, line 1: a phrase is not marked"),
    ("[/EN#11/people ] stand .", BOXES, "line 1"),
    (SENTENCES, BOXES[:200], r"5\.xml is not as expected"),
    (SENTENCES, BOXES.replace("<xmax>30</xmax>", ""), "<bndbox> has no xmax"),
    (SENTENCES, BOXES.replace("<xmax>30<", "<xmax>0<"), r"a box runs from \(1, 2\) to \(0, 40\)"),
    (SENTENCES, BOXES.replace("<xmin>1<", "<xmin>nan<"), "a box runs from"),
    (SENTENCES, BOXES.replace("<width>100<", "<width>0<"), "its image is 0 x 80 pixels"),
    (SENTENCES, f'<?xml version="1.0" encoding="nonsense"?>{BOXES}', "unknown encoding"),
    (SENTENCES, BOXES.replace("<width>100<", "<width>wide<"), "wide"),
])  # fmt: skip
def test_malformed_file_is_a_data_error(tmp_path: Path, sentences: str, boxes: str, message: str) -> None:
    write(tmp_path, sentences, boxes)
    with pytest.raises(DataError, match=message):
        list(TASK.load(Source(tmp_path, "test")))


@pytest.mark.parametrize(("content", "message"), [
    (b"5\n5\n", "has the image '5' twice"),
    (b"\xff5\n", "is not UTF-8"),
    (b"../../5\n", r"test\.txt names the image '../../5', which is not the name of a file without a folder"),
])  # fmt: skip
def test_malformed_list_of_a_split_is_a_data_error(tmp_path: Path, content: bytes, message: str) -> None:
    (write(tmp_path) / "test.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(TASK.load(Source(tmp_path, "test")))


def test_missing_file_is_named_with_its_origin(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "Annotations/5.xml").unlink()
    with pytest.raises(DataError, match=r"Annotations/5\.xml is not there; it comes from"):
        list(TASK.load(Source(tmp_path, "test")))


# ---------------------------------------------------------------------------- scoring


def plain_iou(a: Box, b: Box) -> float:
    """IoU of boxes with integer coordinates, by counting unit cells."""
    cells_a = {(x, y) for x in range(int(a[0]), int(a[2])) for y in range(int(a[1]), int(a[3]))}
    cells_b = {(x, y) for x in range(int(b[0]), int(b[2])) for y in range(int(b[1]), int(b[3]))}
    return len(cells_a & cells_b) / len(cells_a | cells_b) if cells_a | cells_b else 0.0


def mdetr(samples: list[Sample[Any]], predicted: list[tuple[tuple[Box, ...], ...]], k: int, *, merged: bool) -> float:
    """The percentage of phrases of which one of the first k boxes has an IoU of 0.5 or more with a true box."""
    right = total = 0
    for sample, boxes in zip(samples, predicted, strict=True):
        for candidates, true in zip(boxes, sample.target.boxes, strict=True):
            if merged:
                true = (tuple(f([t[i] for t in true]) for i, f in enumerate((min, min, max, max))),)
            best = max((plain_iou(m, t) for m in candidates[:k] for t in true), default=0.0)
            right += best >= 0.5
            total += 1
    return 100 * right / total


def test_recall_equals_a_plain_loop_of_mdetrs_protocol() -> None:
    draw = random.Random(3)

    def box(around: Box | None = None) -> Box:
        if around:
            x, y, right, bottom = (int(v + draw.choice((-1, 0, 0, 1, 2))) for v in around)
        else:
            x, y = draw.randrange(20), draw.randrange(20)
            right, bottom = x + draw.randrange(1, 9), y + draw.randrange(1, 9)
        return (float(x), float(y), float(max(right, x)), float(max(bottom, y)))

    samples, predicted = [], []
    for number in range(60):
        true = tuple(tuple(box() for _ in range(draw.choice((1, 1, 2, 3)))) for _ in range(draw.choice((1, 2, 4))))
        types = tuple((draw.choice(TYPES),) for _ in true)
        question = sample_of(number, len(true))
        samples.append(Sample(f"{number}/0", question, Grounded(true, types), f"{number // 2}.jpg"))
        predicted.append(tuple(
            tuple(box(draw.choice(boxes) if draw.random() < 0.5 else None) for _ in range(draw.randrange(8)))
            for boxes in true
        ))  # fmt: skip
    rows = [
        Row(sample, answer := Answer(("",), Grounded(boxes)), TASK.score(sample, answer))
        for sample, boxes in zip(samples, predicted, strict=True)
    ]
    for name, k, merged in (("R@1", 1, False), ("R@5", 5, False), ("R@10", 10, False), ("R@all", 99, False),
                            ("R@1 merged", 1, True)):  # fmt: skip
        value = estimate(TASK.metrics[name], rows, seed=0).value
        assert value == pytest.approx(mdetr(samples, predicted, k, merged=merged), abs=1e-12), name
    # By type: the phrases of one type alone.
    only = [
        (Sample(s.id, s.question, Grounded(tuple(t for t, y in zip(s.target.boxes, s.target.types, strict=True)
                                                 if y == ("people",))), s.cluster),
         tuple(m for m, y in zip(b, s.target.types, strict=True) if y == ("people",)))
        for s, b in zip(samples, predicted, strict=True)
    ]  # fmt: skip
    expected = mdetr([s for s, _ in only], [b for _, b in only], 1, merged=False)
    assert estimate(TASK.metrics["R@1 people"], rows, seed=0).value == pytest.approx(expected, abs=1e-12)


def sample_of(number: int, phrases: int) -> Any:
    from harness.core import Question

    return Question(f"{number // 2}.jpg", None, "ground", "x", tuple(Phrase("x") for _ in range(phrases)))


def test_iou_of_exactly_half_is_right_and_merged_boxes_differ_from_any_box() -> None:
    """Two true boxes, 10 x 10 each, 20 apart: the box around both is 30 wide."""
    true = ((0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0))
    sample = Sample("0/0", sample_of(0, 1), Grounded((true,), (("people",),)), "0.jpg")
    half = TASK.score(sample, Answer(("",), Grounded((((0.0, 0.0, 10.0, 5.0),),)))).values
    assert (half["right at 1"], half["right at 1 merged"]) == (1, 0)  # 50 of 100; 50 of 300
    whole = TASK.score(sample, Answer(("",), Grounded((((0.0, 0.0, 30.0, 10.0),),)))).values
    assert (whole["right at 1"], whole["right at 1 merged"]) == (0, 1)  # 100 of 300; 300 of 300


@pytest.mark.parametrize("value", [None, Boxes(((0, 0, 10, 10),)), Grounded(()), Grounded(((),))])
def test_phrase_without_a_box_is_wrong_and_counts(value: Any) -> None:
    sample = Sample("0/0", sample_of(0, 1), Grounded((((0.0, 0.0, 10.0, 10.0),),), (("people",),)), "0.jpg")
    score = TASK.score(sample, Answer(("",), value))
    assert (score.values["phrases"], score.values["right at 10"], score.values["right at all"]) == (1, 0, 0)
    assert score.readable == isinstance(value, Grounded)


def test_interval_resamples_images() -> None:
    """Both sentences of an image are right or wrong together, so the interval is that of 50 images.

    The half width of a binomial interval is 1.96 (p (1 - p) / 50)^0.5.  The tolerance of 15 % is for 1000 resamples,
    whose percentiles vary by a few percent, and for the skewness of the distribution.
    """
    rng = np.random.default_rng(0)
    right = rng.random(50) < 0.6
    rows = []
    for number in range(100):
        sample = Sample(
            f"{number}/0", sample_of(number, 1), Grounded((((0.0, 0.0, 9.0, 9.0),),), ((),)), f"{number // 2}"
        )
        answer = Answer(("",), Grounded((((0.0, 0.0, 9.0, 9.0),),) if right[number // 2] else ((),)))
        rows.append(Row(sample, answer, TASK.score(sample, answer)))
    result = estimate(TASK.metrics["R@1"], rows, seed=0)
    assert result.value is not None and result.low is not None and result.high is not None
    share = float(right.mean())
    half = 196 * (share * (1 - share) / 50) ** 0.5  # of 50 images, not of 100 sentences
    assert (result.high - result.low) / 2 == pytest.approx(half, rel=0.15)


@np.errstate(invalid="ignore")
def mdetr_recall(boxes: tuple[Box, ...], true: tuple[Box, ...], k: int) -> bool:
    """Whether MDETR's evaluator counts a phrase as right at k: areas with a sign, 0 / 0 is NaN, NaN >= 0.5 is false."""
    ious = []
    for left, top, right, bottom in boxes[:k]:
        for x0, y0, x1, y1 in true:
            both = max(0.0, min(right, x1) - max(left, x0)) * max(0.0, min(bottom, y1) - max(top, y0))
            either = (right - left) * (bottom - top) + (x1 - x0) * (y1 - y0) - both
            ious.append(np.float64(both) / np.float64(either))
    return bool(np.max(ious) >= 0.5)


def test_boxes_of_area_zero_are_remarked_on_with_the_recall_of_mdetr() -> None:
    point, square, far = (5.0, 5.0, 5.0, 5.0), (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)
    phrases = [  # predicted boxes, and true boxes
        ((square, point), (square, point)),  # right here at 1 and at 5; with MDETR at neither: square is on the point
        ((square, far), (square,)),
        ((far, point, square), (square, (2.0, 3.0, 2.0, 9.0))),  # right here at 5; with MDETR NaN at 5
        ((far,), (square, point)),  # wrong in both
    ]
    rows = []
    for number, (boxes, true) in enumerate(phrases):
        sample = Sample(f"{number}/0", sample_of(number, 1), Grounded((true,), (("people",),)), f"{number}.jpg")
        answer = Answer(("",), Grounded((boxes,)))
        rows.append(Row(sample, answer, TASK.score(sample, answer)))
    ours = {k: estimate(TASK.metrics[f"R@{k}"], rows, seed=0).value for k in (1, 5, 10)}
    theirs = {k: 25.0 * sum(mdetr_recall(boxes, true, k) for boxes, true in phrases) for k in (1, 5, 10)}
    [remark] = TASK.remarks(rows)
    for k in (1, 5, 10):
        changed = f"R@{k} {theirs[k]:.1f} (here {ours[k]:.1f})"
        assert (changed in remark) == (theirs[k] != ours[k])
    assert theirs[5] != ours[5]
    assert TASK.remarks(rows[1:2] + rows[3:]) == []


# ---------------------------------------------------------------------------- predictions


def entry(number: int, boxes: Any) -> dict[str, Any]:
    return {"image_id": "5", "sentence_id": number, "boxes": boxes}


@pytest.mark.parametrize(("content", "message"), [
    ([entry(0, [[], []])], r"1 image_id/sentence_ids have no answer \(first: 5/2\)"),
    ([entry(0, [[]]), entry(2, [[], []])], "5/0: it has boxes for 1 phrases; the sentence has 2"),
    ([entry(0, [[], []]), entry(2, [[], []]), entry(1, [])], "1 image_id/sentence_ids are not in this split"),
    ([entry(0, [[[1, 2, 3]], []]), entry(2, [[], []])], r"\$\[0\]\.boxes\[0\]\[0\]"),
])  # fmt: skip
def test_predictions_of_other_samples_are_a_data_error(tmp_path: Path, content: Any, message: str) -> None:
    write(tmp_path)
    (tmp_path / "p.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        flickr30k.BOXES.read(tmp_path / "p.json", list(TASK.load(Source(tmp_path, "test"))))


def test_written_predictions_are_read_back(tmp_path: Path) -> None:
    write(tmp_path)
    samples = list(TASK.load(Source(tmp_path, "test")))
    values = [Grounded((((1.5, 2.0, 3.25, 4.0), (0.0, 0.0, 1.0, 1.0)), ())), None]
    rows = [Row(s, a := Answer(("x",), v), TASK.score(s, a)) for s, v in zip(samples, values, strict=True)]
    flickr30k.BOXES.write(tmp_path / "p.json", rows)
    read = flickr30k.BOXES.read(tmp_path / "p.json", samples)
    assert read["5/0"].value == values[0]
    assert read["5/2"].value == Grounded(((), ()))  # an unparsable answer has no boxes
