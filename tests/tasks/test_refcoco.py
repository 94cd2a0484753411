"""The six RefCOCO tasks: scores by hand, by a plain loop, and by pycocotools; floor and ceiling."""

from __future__ import annotations

import json
import pickle
import random
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

import harness
from baselines.oracle import Oracle, OracleQuantised
from baselines.trivial import WholeImage
from harness import runner
from harness.core import (
    Answer,
    Box,
    Boxes,
    Mask,
    Model,
    Polygons,
    Question,
    Ring,
    Row,
    Sample,
    Score,
    Size,
    Source,
    Text,
    Value,
)
from harness.errors import DataError
from harness.geometry.masks import area, rasterise
from harness.geometry.polygons import rectangle
from harness.report.text import describe
from tasks import TASKS, refcoco
from tests import refer_files

SIZE = Size(20, 10)
SQUARE = Boxes(((2.0, 2.0, 6.0, 6.0),), ("square",))


def boxed(answer: Value | None) -> Any:
    sample = Sample("1", Question("x.jpg", SIZE, "refer", "square"), SQUARE, "x.jpg")
    return refcoco.score_box(sample, Answer(("x",), answer))


@pytest.mark.parametrize(("value", "iou", "readable"), [
    (SQUARE, 1.0, True),
    (Boxes(((4.0, 2.0, 8.0, 6.0),)), 8 / 24, True),  # intersection 2 x 4, union 16 + 16 - 8
    (Boxes(((10.0, 2.0, 12.0, 6.0), (2.0, 2.0, 6.0, 6.0))), 0.0, True),  # the first box counts
    (Boxes(()), 0.0, True),
    (Boxes(((6.0, 6.0, 2.0, 2.0),)), 0.0, True),  # inverted
    (Text(("a square",)), 0.0, False),
    (None, 0.0, False),
])  # fmt: skip
def test_box_score_is_the_iou_of_the_first_box(value: Value | None, iou: float, readable: bool) -> None:
    score = boxed(value)
    assert score.values["iou"] == pytest.approx(iou)
    assert score.readable is readable


def test_box_score_of_half_is_exact() -> None:
    # 4 x 2 of 4 x 4: an IoU of exactly 0.5
    assert boxed(Boxes(((2.0, 2.0, 6.0, 4.0),))).values["iou"] == 0.5


def toolkit_iou(one: Box, other: Box) -> float:
    """The refer toolkit's IoU of boxes [x, y, width, height], every step in float32."""
    f = np.float32
    (x, y, w, h), (p, q, u, v) = [tuple(map(f, (a, b, c - a, d - b))) for a, b, c, d in (one, other)]
    last_x, last_y = min(x + w - f(1), p + u - f(1)), min(y + h - f(1), q + v - f(1))
    start_x, start_y = max(x, p), max(y, q)
    both = f(0)
    if start_x < last_x and start_y < last_y:
        both = (last_x - start_x + f(1)) * (last_y - start_y + f(1))
    return float(both / (w * h + u * v - both))


def test_iou_in_float32_of_the_refer_toolkit_is_remarked_on_where_a_box_changes_sides() -> None:
    draw = random.Random(5)
    rows = []
    for number in range(400):
        x, y, width, height = (draw.randrange(1, 40_000) / 100 for _ in range(4))
        target = (x, y, x + width, y + height)
        answer = Answer(("x",), Boxes(((x, y, x + width, y + height / 2),)))  # an IoU of 0.5, up to rounding
        sample = Sample(str(number), Question("x.jpg", None, "refer", "it"), Boxes((target,)), "x.jpg")
        rows.append(Row(sample, answer, refcoco.score_box(sample, answer)))
    here = [row.score.values["iou"] >= 0.5 for row in rows]
    there = [toolkit_iou(row.answer.value.boxes[0], row.sample.target.boxes[0]) >= 0.5 for row in rows]  # type: ignore
    changed = sum(a != b for a, b in zip(here, there, strict=True))
    assert changed > 10
    [remark] = TASKS["refcoco"].remarks(rows)
    assert f"{changed} boxes change sides, and Acc@0.5 is {sum(there) / 4:.2f} (here {sum(here) / 4:.2f}" in remark
    same = [row for row, a, b in zip(rows, here, there, strict=True) if a == b]
    unparsed = Row(rows[0].sample, Answer(("x",), None), Score({"iou": 0.0}, readable=False))
    assert TASKS["refcoco"].remarks([*same, unparsed]) == []


@pytest.mark.parametrize(
    "box", [(0.0, 0.0, 0.0, 0.0), (5.0, 5.0, 1.0, 1.0), (0.0, 0.0, 1e300, 1.0), (0.0, 0.0, nan, 1.0)]
)
def test_remark_of_impossible_boxes_counts_them_as_wrong(box: Box) -> None:
    sample = Sample("1", Question("x.jpg", SIZE, "refer", "square"), SQUARE, "x.jpg")
    answer = Answer(("x",), Boxes((box,)))
    assert TASKS["refcoco"].remarks([Row(sample, answer, refcoco.score_box(sample, answer))]) == []


def outlined(target: Value, answer: Value | None) -> Any:
    sample: Sample[Any] = Sample("1", Question("x.jpg", SIZE, "segment", "square"), target, "x.jpg")
    return refcoco.score_outline(sample, Answer(("x",), answer))


def ring(*points: tuple[float, float]) -> Ring:
    return tuple(points)


TRIANGLE = Polygons((ring((2, 1), (15, 2), (8, 9)),))
PAIR = Polygons((ring((1, 1), (6, 1), (6, 6), (1, 6)), ring((4, 4), (12, 4), (12, 9), (4, 9))))


@pytest.mark.parametrize(("one", "other"), [(TRIANGLE, PAIR), (PAIR, TRIANGLE), (PAIR, PAIR)])
def test_outline_score_equals_pycocotools_and_a_plain_loop(one: Polygons, other: Polygons) -> None:
    codes = []
    for value in (one, other):
        flat = [[coordinate for point in part for coordinate in point] for part in value.rings]
        codes.append(coco.merge(coco.frPyObjects(flat, SIZE.height, SIZE.width)))
    score = outlined(one, other)
    assert score.values["iou"] == pytest.approx(float(coco.iou([codes[1]], [codes[0]], [0])[0, 0]))
    masks = [_pixels(code) for code in codes]
    both = sum(masks[0][y][x] and masks[1][y][x] for y in range(10) for x in range(20))
    either = sum(masks[0][y][x] or masks[1][y][x] for y in range(10) for x in range(20))
    assert (score.values["both"], score.values["either"]) == (both, either)


def _pixels(code: dict[str, Any]) -> list[list[bool]]:
    """The mask from COCO's runs: down each column, zeros first."""
    runs = runs_of(code)
    flat = [bool(place % 2) for place, run in enumerate(runs) for _ in range(run)]
    return [[flat[x * 10 + y] for x in range(20)] for y in range(10)]


def runs_of(code: dict[str, Any]) -> list[int]:
    """Run lengths from the compressed code, by the steps of pycocotools' rleFrString."""
    runs: list[int] = []
    place, text = 0, code["counts"]
    while place < len(text):
        value = shift = 0
        more = True
        while more:
            bits = text[place] - 48
            value |= (bits & 31) << 5 * shift
            more = bool(bits & 32)
            place, shift = place + 1, shift + 1
            if not more and bits & 16:
                value |= -1 << 5 * shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs


@pytest.mark.parametrize(("answer", "readable"), [
    (None, False),
    (Text(("a square",)), False),
    (SQUARE, False),  # a box is not an outline
    (Mask(Size(10, 10), b"d3"), False),  # of another image size
    (Polygons(()), True),  # an empty outline is readable
])  # fmt: skip
def test_missing_or_wrong_outline_scores_zero(answer: Value | None, readable: bool) -> None:
    score = outlined(TRIANGLE, answer)
    assert score.values["iou"] == 0
    assert score.values["either"] > 0  # the sample stays in the denominator of oIoU
    assert score.readable is readable


def test_two_empty_masks_score_zero() -> None:
    empty = rasterise(Polygons(()), SIZE)
    assert outlined(empty, Polygons(())).values == {"iou": 0.0, "both": 0, "either": 0}


def test_tasks_have_the_published_splits_and_metrics() -> None:
    splits = {task.name: task.splits for task in refcoco.TASKS}
    unc, umd = ("val", "testA", "testB"), ("val", "test")
    assert splits == {
        "refcoco": unc, "refcoco_plus": unc, "refcocog": umd,
        "refcoco_res": unc, "refcoco_plus_res": unc, "refcocog_res": umd,
    }  # fmt: skip
    assert {task.headline for task in refcoco.TASKS} == {"Acc@0.5", "mIoU"}
    assert set(TASKS["refcoco"].metrics) == {"mIoU", *(f"Acc@0.{tenths}" for tenths in range(1, 10))}
    assert set(TASKS["refcoco_res"].metrics) == {"mIoU", "oIoU", *(f"P@0.{tenths}" for tenths in range(5, 10))}


def headline(task: str, root: Path, split: str, make: Any) -> float:
    samples = list(TASKS[task].load(Source(root, split)))
    model: Model = make(samples)
    answers = dict(model.answer((place, sample.question) for place, sample in enumerate(samples)))
    by_id = {sample.id: answers[place] for place, sample in enumerate(samples)}
    rows = runner.mark(TASKS[task], samples, {i: a for i, a in by_id.items() if isinstance(a, Answer)})
    value = runner.reduce(TASKS[task], rows, 0)[TASKS[task].headline].value
    assert value is not None
    return value


@pytest.mark.parametrize("task", [task.name for task in refcoco.TASKS])
def test_oracle_reaches_the_ceiling_and_whole_image_the_floor_on_the_miniature(task: str, miniature: Path) -> None:
    assert headline(task, miniature, "val", Oracle) == 100
    quantised = headline(task, miniature, "val", OracleQuantised)
    assert 99 <= quantised <= 100
    assert headline(task, miniature, "val", lambda _: WholeImage()) < 20


@pytest.mark.parametrize("task", ["refcoco", "refcoco_res"])
def test_oracle_reaches_the_ceiling_on_published_files(task: str, tmp_path: Path) -> None:
    refer_files.write(tmp_path)
    assert headline(task, tmp_path, "val", Oracle) == 100


def scored(task: str, root: Path, values: list[Value | None]) -> tuple[dict[str, float | None], int]:
    """The metrics of answers to the tiny val split, and the number of unreadable answers."""
    refer_files.write(root)
    samples = list(TASKS[task].load(Source(root, "val")))
    answers = {sample.id: Answer(("x",), value) for sample, value in zip(samples, values, strict=True)}
    rows = runner.mark(TASKS[task], samples, answers)
    estimates = runner.reduce(TASKS[task], rows, 0)
    return {name: estimate.value for name, estimate in estimates.items()}, sum(not row.score.readable for row in rows)


def test_box_metrics_by_hand(tmp_path: Path) -> None:
    # Targets: (2, 2, 6, 6) twice, (10.5, 1.25, 14.5, 5.75), (2, 0, 3, 10).  IoUs: 1, 0.5 (half of it), unreadable, 0.
    values = [SQUARE, Boxes(((2.0, 2.0, 6.0, 4.0),)), None, Boxes(((10.0, 0.0, 12.0, 10.0), (2.0, 0.0, 3.0, 10.0)))]
    metrics, unreadable = scored("refcoco", tmp_path, values)
    assert unreadable == 1
    assert metrics["mIoU"] == pytest.approx(100 * (1 + 0.5) / 4)  # over all four
    assert [metrics[f"Acc@0.{tenths}"] for tenths in range(1, 10)] == [50] * 5 + [
        25
    ] * 4  # an IoU of 0.5 is right at 0.5


def test_outline_metrics_by_hand(tmp_path: Path) -> None:
    # Targets of 16, 16, 18 and 10 pixels.  Answers: the square; its upper half (8 of 16); a mask of another image size
    # (unreadable, 0 of 18); columns 2 and 3 (20 pixels with an intersection of 10).
    upper = Polygons((ring((2, 2), (6, 2), (6, 4), (2, 4)),))
    square = Polygons((ring((2, 2), (6, 2), (6, 6), (2, 6)),))
    columns = Polygons((ring((2, 0), (4, 0), (4, 10), (2, 10)),))
    other = Mask(Size(10, 10), coco.frPyObjects({"size": [10, 10], "counts": [0, 100]}, 10, 10)["counts"])
    metrics, unreadable = scored("refcoco_res", tmp_path, [square, upper, other, columns])
    assert unreadable == 1
    assert metrics["mIoU"] == pytest.approx(100 * (1 + 0.5 + 0 + 0.5) / 4)
    assert metrics["oIoU"] == pytest.approx(100 * (16 + 8 + 0 + 10) / (16 + 16 + 18 + 20))
    assert [metrics[f"P@0.{tenths}"] for tenths in range(5, 10)] == [75, 25, 25, 25, 25]


def test_whole_image_score_by_hand(tmp_path: Path) -> None:
    # The whole image is 200 pixels.  Boxes of 4 x 4, 4 x 4, 4 x 4.5 and 1 x 10; outlines of 16, 16, 18 and 10 pixels.
    whole = (0.0, 0.0, 20.0, 10.0)
    shares = 100 * (16 + 16 + 18 + 10) / 200 / 4
    metrics, _ = scored("refcoco", tmp_path / "boxes", [Boxes((whole,))] * 4)
    assert (metrics["mIoU"], metrics["Acc@0.5"]) == (pytest.approx(shares), 0)
    metrics, _ = scored("refcoco_res", tmp_path / "outlines", [Polygons((rectangle(whole),))] * 4)
    assert (metrics["mIoU"], metrics["oIoU"]) == (pytest.approx(shares), pytest.approx(shares))
    [answer] = dict(WholeImage().answer([(0, Question("x.jpg", SIZE, "refer", "it"))])).values()
    assert isinstance(answer, Answer) and answer.value == Boxes((whole,), ("it",))


def test_quantised_oracle_keeps_boxes_within_half_a_bin(tmp_path: Path) -> None:
    # Bins are 0.02 and 0.01 pixels, and no coordinate moves by more than half a bin.  So a box of 4 x 4 keeps an IoU of
    # at least (4 - 0.02) x (4 - 0.01) / 16 > 0.99, and one of 1 x 10 at least (1 - 0.02) x (10 - 0.01) / 10 > 0.97.
    refer_files.write(tmp_path)
    assert headline("refcoco", tmp_path, "val", OracleQuantised) == 100  # all IoUs are above 0.5
    samples = list(TASKS["refcoco"].load(Source(tmp_path, "val")))
    for place, answer in OracleQuantised(samples).answer(enumerate(sample.question for sample in samples)):
        assert isinstance(answer, Answer)
        assert 0.97 < refcoco.score_box(samples[place], answer).values["iou"] < 1


# ---------------------------------------------------------------------------- targets that cannot be drawn


def with_outline(root: Path, segmentation: Any) -> Path:
    """The tiny data set, in which the object of sentences 101 and 102 has this segmentation; its folder."""
    instances = refer_files.instances()
    instances["annotations"][0]["segmentation"] = segmentation
    return refer_files.write(root, instances=instances)


@pytest.mark.parametrize("segmentation", [[[20, 10, 60, 40]], [[]], [], [[1.0, 2.0]], [[20, 10, 60, 40], []]])
def test_target_that_pycocotools_raises_on_is_excluded_and_counted(tmp_path: Path, segmentation: Any) -> None:
    with pytest.raises(Exception):  # noqa: B017  # TypeError, IndexError, or a plain Exception
        coco.frPyObjects(segmentation, SIZE.height, SIZE.width)
    folder = with_outline(tmp_path, segmentation)
    square = [[2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0]]
    predictions = [{"sent_id": number, "segmentation": square} for number in (101, 102, 103, 104)]
    (tmp_path / "p.json").write_text(json.dumps(predictions))
    run = harness.score("refcoco_res", tmp_path / "p.json", annotations=folder, out=tmp_path / "r")
    assert run.counts["samples"] == 2 and run.counts["excluded"] == 2
    # Sentences 103 and 104 remain: 0 pixels in common with the square; and 4 of 16 + 10 - 4, in the column.
    assert run.metrics["mIoU"].value == pytest.approx(100 * (0 + 4 / 22) / 2) and run.metrics["mIoU"].n == 2
    assert "2 samples are excluded: they have an outline without a ring of three points" in run.provenance["notes"][0]
    assert "(first: 101, 102)" in run.provenance["notes"][0]
    assert "2 excluded" in describe(run, tmp_path) and "they have an outline" in describe(run, tmp_path)
    (tmp_path / "p.json").write_text(json.dumps(predictions[2:]))  # excluded samples need no prediction
    again = harness.score("refcoco_res", tmp_path / "p.json", annotations=folder, out=tmp_path / "r")
    assert again.metrics["mIoU"] == run.metrics["mIoU"]


def test_oracle_reaches_the_ceiling_where_some_targets_cannot_be_drawn(tmp_path: Path) -> None:
    folder = with_outline(tmp_path, [[20, 10, 60, 40]])
    images = tmp_path / "images"
    images.mkdir()
    for image in refer_files.instances()["images"]:
        Image.new("RGB", SIZE).save(images / image["file_name"])
    run = harness.evaluate(
        "refcoco_res", "oracle", annotations=folder, images=images, out=tmp_path / "r", export=tmp_path / "exported"
    )
    assert run.metrics["mIoU"].value == 100 and run.counts["excluded"] == 2
    exported = json.loads((tmp_path / "exported/refcoco_res_val.json").read_text())
    assert [(e["sent_id"], bool(e["segmentation"])) for e in exported] == [
        (103, True), (104, True), (101, False), (102, False),
    ]  # fmt: skip


def test_split_without_a_target_that_can_be_drawn_is_refused_with_the_reason(tmp_path: Path) -> None:
    refs = refer_files.refs()[:1]
    folder = with_outline(tmp_path, [[]])
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs))
    (tmp_path / "p.json").write_text("[]")
    with pytest.raises(DataError, match=r"no samples in split val .*; 2 samples are excluded: .*\(first: 101, 102\)"):
        harness.score("refcoco_res", tmp_path / "p.json", annotations=folder, out=tmp_path / "r")


def test_ring_that_cannot_be_drawn_beside_one_that_can_is_no_reason_to_exclude(tmp_path: Path) -> None:
    square = [2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0]
    with_outline(tmp_path, [square, [1.0, 1.0, 3.0, 3.0]])
    first, *_ = TASKS["refcoco_res"].load(Source(tmp_path, "val"))
    assert not first.excluded and first.target is not None
    rings = coco.frPyObjects([square, [1.0, 1.0, 3.0, 3.0]], SIZE.height, SIZE.width)
    assert area(rasterise(first.target, SIZE)) == coco.area(coco.merge(rings)) == 16
