"""The gRefCOCO tasks versus plain loops over the definitions of the authors' two evaluators."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import harness
from harness import runner
from harness.core import Answer, Box, Boxes, Mask, Polygons, Question, Row, Sample, Size, Source, Text, Value
from harness.geometry.masks import pixels, rasterise
from harness.geometry.polygons import rectangle
from tasks import TASKS, grefcoco
from tests import grefer_files, refer_files

SIZE = Size(20, 10)
LEFT, RIGHT = (0.0, 0.0, 4.0, 4.0), (10.0, 0.0, 14.0, 4.0)


def boxed(true: tuple[Box, ...], value: Value | None) -> Any:
    sample = Sample("1/1", Question("x.jpg", SIZE, "refer", "it"), Boxes(true), "x.jpg")
    return grefcoco.score_boxes(sample, Answer(("x",), value))


@pytest.mark.parametrize(("true", "value", "right", "readable"), [
    ((LEFT, RIGHT), Boxes((RIGHT, LEFT)), 1, True),  # in any order
    ((LEFT, RIGHT), Boxes((LEFT,)), 0, True),  # one is missed
    ((LEFT,), Boxes((LEFT, RIGHT)), 0, True),  # one too many
    ((LEFT,), Boxes((LEFT, LEFT)), 0, True),  # a true box is matched once
    ((LEFT,), Boxes(((0.0, 0.0, 4.0, 2.0),)), 1, True),  # an IoU of exactly 0.5
    ((LEFT,), Boxes(((0.0, 0.0, 4.0, 1.9),)), 0, True),
    ((LEFT,), Boxes(()), 0, True),
    ((), Boxes(()), 1, True),
    ((), Boxes((LEFT,)), 0, True),
    ((), None, 0, False),
    ((), Text(("nothing",)), 0, False),
    ((LEFT,), None, 0, False),
])  # fmt: skip
def test_box_score_is_whether_all_boxes_and_no_others_are_found(
    true: tuple[Box, ...], value: Value | None, right: int, readable: bool
) -> None:
    score = boxed(true, value)
    assert (score.values["right"], score.readable) == (right, readable)


def authors_f1(boxes: np.ndarray, true: np.ndarray, measure: str) -> float:
    """F1 of one expression, as the authors' evaluator counts: the best pair of a table, whose row and column go."""
    table = np.array(
        [[grefcoco.giou(tuple(b), tuple(t)) if measure == "giou" else plain_iou(b, t) for t in true] for b in boxes]
    )
    hits = 0
    for _ in range(min(table.shape)):
        row, column = np.unravel_index(table.argmax(), table.shape)
        if table[row, column] < 0.5:
            break
        hits += 1
        table[row, :] = table[:, column] = 0.0
    return 2 * hits / (2 * hits + (len(boxes) - hits) + (len(true) - hits))


def plain_iou(a: Any, b: Any) -> float:
    """IoU of boxes with integer coordinates, by counting unit cells."""
    cells = [{(x, y) for x in range(int(c[0]), int(c[2])) for y in range(int(c[1]), int(c[3]))} for c in (a, b)]
    return len(cells[0] & cells[1]) / len(cells[0] | cells[1])


def random_rows(count: int) -> list[Row[Any]]:
    """Expressions for 0 to 3 objects, with predictions near the objects, or elsewhere, or none, or unparsable."""
    draw = random.Random(11)

    def box() -> Box:
        x, y = draw.randrange(12), draw.randrange(6)
        return (float(x), float(y), float(x + draw.randrange(2, 7)), float(y + draw.randrange(2, 4)))

    def near(other: Box) -> Box:
        x, y, right, bottom = (int(v + draw.choice((-1, 0, 0, 0, 1))) for v in other)
        return (float(x), float(y), float(max(right, x + 1)), float(max(bottom, y + 1)))

    rows = []
    for number in range(count):
        true = tuple(box() for _ in range(draw.choice((0, 1, 1, 2, 3))))
        found = [near(other) for other in true if draw.random() < 0.9]
        found += [box() for _ in range(draw.choice((0, 0, 0, 1)))]
        draw.shuffle(found)
        value = Boxes(tuple(found)) if draw.random() < 0.95 else None
        sample = Sample(f"{number}/0", Question("x.jpg", SIZE, "refer", str(number)), Boxes(true), f"{number}.jpg")
        answer = Answer(("x",), value)
        rows.append(Row(sample, answer, grefcoco.score_boxes(sample, answer)))
    return rows


def values(task: str, rows: list[Row[Any]]) -> dict[str, Any]:
    return {name: estimate.value for name, estimate in runner.reduce(TASKS[task], rows, 0).items()}


def test_box_metrics_equal_a_plain_loop_of_the_authors_evaluator_with_iou() -> None:
    rows = random_rows(400)
    right = positive = negative = positive_right = negative_right = 0
    for row in rows:
        true, value = row.sample.target.boxes, row.answer.value
        boxes = value.boxes if value is not None else None
        if not true:
            negative += 1
            negative_right += boxes == ()
            right += boxes == ()
        else:
            positive += 1
            positive_right += bool(boxes)
            right += bool(boxes) and authors_f1(np.array(boxes), np.array(true), "iou") >= 1.0
    metrics = values("grefcoco", rows)
    assert metrics["Pr@(F1=1, IoU 0.5)"] == pytest.approx(100 * right / len(rows), abs=1e-12)
    assert metrics["N-acc"] == pytest.approx(100 * negative_right / negative, abs=1e-12)
    assert metrics["T-acc"] == pytest.approx(100 * positive_right / positive, abs=1e-12)
    assert 0 < right < len(rows) and 0 < negative_right < negative


def test_giou_of_the_authors_evaluator_is_remarked_on_with_its_precision() -> None:
    rows = random_rows(400)
    theirs = 0
    for row in rows:
        true, value = row.sample.target.boxes, row.answer.value
        found = value is not None and bool(value.boxes)
        theirs += (
            authors_f1(np.array(value.boxes), np.array(true), "giou") >= 1.0
            if found and true
            else (row.score.values["right"] > 0)
        )
    [remark] = TASKS["grefcoco"].remarks(rows)
    ours = values("grefcoco", rows)["Pr@(F1=1, IoU 0.5)"]
    assert f"gives Pr@(F1=1, IoU 0.5) {theirs / 4:.2f} (here {ours:.2f})" in remark
    assert theirs / 4 < ours
    assert TASKS["grefcoco"].remarks([row for row in rows if not row.sample.target.boxes]) == []


@pytest.mark.parametrize(("one", "other", "expected"), [
    (LEFT, LEFT, 1),
    (LEFT, RIGHT, -24 / 56),  # 32 of the 14 x 4 around both
    (LEFT, (2.0, 2.0, 6.0, 6.0), 4 / 28 - 8 / 36),
    (LEFT, (1.0, 1.0, 3.0, 3.0), 4 / 16),  # within: the box around both is the larger one
    (LEFT, (1.0, 1.0, 1.0, 1.0), 0),
    ((1.0, 1.0, 1.0, 1.0), (1.0, 1.0, 1.0, 1.0), 0),
    (LEFT, (float("nan"), 0.0, 1.0, 1.0), -1),
])  # fmt: skip
def test_giou_by_hand(one: Box, other: Box, expected: float) -> None:
    assert grefcoco.giou(one, other) == grefcoco.giou(other, one) == pytest.approx(expected, abs=1e-12)


# ---------------------------------------------------------------------------- outlines


def outlined(target: Value, value: Value | None) -> Any:
    sample: Sample[Any] = Sample("1/1", Question("x.jpg", SIZE, "segment", "it"), target, "x.jpg")
    return grefcoco.score_outline(sample, Answer(("x",), value))


NOTHING = Polygons(())
SQUARE = Polygons((rectangle((2.0, 2.0, 6.0, 6.0)),))  # 16 pixels
UPPER = Polygons((rectangle((2.0, 2.0, 6.0, 4.0)),))  # 8 of them
FLAT = Polygons((((1.0, 1.0), (9.0, 1.0), (5.0, 1.0)),))  # covers no pixel


@pytest.mark.parametrize(("target", "value", "iou", "both", "either", "readable"), [
    (SQUARE, UPPER, 0.5, 8, 16, True),
    (SQUARE, NOTHING, 0.0, 0, 16, True),
    (SQUARE, None, 0.0, 0, 16, False),
    (SQUARE, Text(("a",)), 0.0, 0, 16, False),
    (SQUARE, Mask(Size(3, 3), b"9"), 0.0, 0, 16, False),  # of another image size
    (NOTHING, NOTHING, 1.0, 0, 0, True),
    (NOTHING, FLAT, 1.0, 0, 0, True),
    (NOTHING, UPPER, 0.0, 0, 8, True),  # predicted pixels count in the union
    (NOTHING, None, 0.0, 0, 0, False),
])  # fmt: skip
def test_outline_score_by_hand(
    target: Value, value: Value | None, iou: float, both: int, either: int, readable: bool
) -> None:
    score = outlined(target, value)
    assert [score.values[key] for key in ("iou", "both", "either")] == [iou, both, either]
    assert score.readable is readable


def test_outline_metrics_equal_a_plain_loop_of_relas_evaluator() -> None:
    rows = []
    for row in random_rows(300):
        target = Polygons(tuple(map(rectangle, row.sample.target.boxes)))
        value = Polygons(tuple(map(rectangle, row.answer.value.boxes))) if row.answer.value is not None else None
        sample: Sample[Any] = Sample(row.sample.id, Question("x.jpg", SIZE, "segment", "x"), target, row.sample.cluster)
        answer = Answer(("x",), value)
        rows.append(Row(sample, answer, grefcoco.score_outline(sample, answer)))
    total_iou = total_both = total_either = 0.0
    counts = dict.fromkeys(("TP", "TN", "FP", "FN"), 0)
    above = dict.fromkeys((0.7, 0.8, 0.9), 0)
    for row in rows:
        guess = pixels(rasterise(row.answer.value or NOTHING, SIZE))
        truth = pixels(rasterise(row.sample.target, SIZE))
        both, either = int((guess & truth).sum()), int((guess | truth).sum())
        says_nothing = row.answer.value is not None and not guess.any()
        if not row.sample.target.rings:
            counts["TP" if says_nothing else "FN"] += 1
            total_iou += says_nothing
            total_either += 0 if says_nothing else either
            continue
        counts["TN" if guess.any() else "FP"] += 1
        total_iou += both / either
        total_both += both
        total_either += either
        for least in above:
            above[least] += both / either >= least
    metrics = values("grefcoco_res", rows)
    assert metrics["gIoU"] == pytest.approx(100 * total_iou / len(rows), abs=1e-9)
    assert metrics["cIoU"] == pytest.approx(100 * total_both / total_either, abs=1e-9)
    assert metrics["N-acc"] == pytest.approx(100 * counts["TP"] / (counts["TP"] + counts["FN"]), abs=1e-9)
    assert metrics["T-acc"] == pytest.approx(100 * counts["TN"] / (counts["TN"] + counts["FP"]), abs=1e-9)
    for least, count in above.items():
        assert metrics[f"P@{least}"] == pytest.approx(100 * count / (counts["TN"] + counts["FP"]), abs=1e-9)
    assert 0 < counts["TP"] < counts["TP"] + counts["FN"] and 0 < above[0.9] < above[0.7]


def test_accuracies_are_undefined_without_expressions_of_their_kind() -> None:
    sample: Sample[Any] = Sample("1/1", Question("x.jpg", SIZE, "segment", "it"), SQUARE, "x.jpg")
    answer = Answer(("x",), SQUARE)
    metrics = values("grefcoco_res", [Row(sample, answer, grefcoco.score_outline(sample, answer))])
    assert (metrics["N-acc"], metrics["T-acc"], metrics["gIoU"]) == (None, 100, 100)


# ---------------------------------------------------------------------------- whole runs


@pytest.mark.parametrize("task", ["grefcoco", "grefcoco_res"])
def test_oracle_reaches_the_ceiling_and_its_export_scores_the_same(task: str, tmp_path: Path) -> None:
    folder = grefer_files.write(tmp_path)
    images = tmp_path / "images"
    images.mkdir()
    for image in refer_files.instances()["images"]:
        Image.new("RGB", SIZE).save(images / image["file_name"])
    run = harness.evaluate(
        task, "oracle", annotations=folder, images=images, out=tmp_path / "r", export=tmp_path / "exported"
    )
    names = TASKS[task].metrics
    assert {run.metrics[name].value for name in names} == {100.0}
    assert run.counts["samples"] == 5
    again = harness.score(task, tmp_path / f"exported/{task}_val.json", annotations=folder, out=tmp_path / "s")
    assert {again.metrics[name].value for name in names} == {100.0}


def test_expression_whose_objects_cannot_be_drawn_is_excluded(tmp_path: Path) -> None:
    instances = refer_files.instances()
    instances["annotations"][0]["segmentation"] = [[20, 10, 60, 40]]
    grefer_files.write(tmp_path, instances=instances)
    excluded = {s.id: bool(s.excluded) for s in TASKS["grefcoco_res"].load(Source(tmp_path, "val"))}
    assert excluded == {"1/101": True, "2/102": False, "2/103": False, "3/104": False, "4/101": False}
