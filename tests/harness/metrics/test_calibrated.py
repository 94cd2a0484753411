"""Calibration of box scores, against scipy's optimiser, pycocotools and plain loops."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from harness.core import Answer, Boxes, Objects, Phrase, Question, Row, Sample, Score, Text
from harness.errors import DataError, UsageError
from harness.metrics import coco_eval
from harness.metrics.calibrated import BINS, Calibration, calibrated, fit
from harness.metrics.detection import scene
from tasks import detection, odinw, vqa

DOG, FAR = (0.0, 0.0, 10.0, 10.0), (20.0, 20.0, 30.0, 30.0)
PHRASES = (Phrase("dog"), Phrase("person"))
TASK = detection.TASK


def image(number: int, value: Boxes | Text | None, groups: tuple[str, ...] = ()) -> Row[Any]:
    """A row whose image holds one dog at the origin."""
    target = Objects(((0.0, 0.0, 10.0, 10.0),), (0,), (100.0,), (False,), (1, 2))
    question = Question(f"{number}", None, "detect", phrases=PHRASES)
    return Row(Sample(f"{number}", question, target, f"{number}", groups), Answer(("",), value), Score({}))


def drawn(images: int = 300, seed: int = 0) -> list[Row[Any]]:
    """Images with one box, right with the probability 1 / (1 + exp(-(3 + 2 log region + log label)))."""
    draw = np.random.default_rng(seed)
    rows = []
    for number in range(images):
        region, label = draw.uniform(0.01, 1, 2).tolist()
        right = draw.random() < 1 / (1 + math.exp(-(3 + 2 * math.log(region) + math.log(label))))
        rows.append(image(number, Boxes((DOG if right else FAR,), ("dog",), (region,), (label,))))
    return rows


def rights(rows: list[Row[Any]]) -> np.ndarray[Any, Any]:
    return np.array([row.answer.value.boxes[0] == DOG for row in rows])


def test_fit_equals_scipys_minimum_of_the_same_loss() -> None:
    rows = drawn()
    calibration, count = fit(TASK, rows)
    logs = np.log([[*row.answer.value.region_scores, *row.answer.value.label_scores] for row in rows])
    right = rights(rows)
    targets = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))  # Platt's

    def loss(c: np.ndarray[Any, Any]) -> float:
        exponents = c[0] + logs @ c[1:]
        return float(np.sum(np.logaddexp(0, exponents) - targets * exponents))

    best = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-8}).x
    assert count == 300
    assert [calibration.constant, calibration.region, calibration.label] == pytest.approx(best, abs=1e-4)


def test_scores_of_a_model_without_label_scores_are_fitted_alone() -> None:
    rows = [replace(row, answer=Answer(("",), replace(row.answer.value, label_scores=None))) for row in drawn()]
    calibration, _ = fit(TASK, rows)
    assert calibration.label == 0.0 and calibration.region > 0
    changed = calibration(rows[0].answer.value)
    assert changed.region_scores == pytest.approx([calibration.probability(rows[0].answer.value.region_scores[0], 1.0)])


def test_ap_is_pycocotools_of_the_calibrated_scores_and_the_own_ap_stays() -> None:
    rows = drawn()
    calibration = Calibration(1.0, 0.5, 3.0)  # another order of the boxes than that of their products
    task = calibrated(TASK, calibration, "arithmetic")
    ones = np.ones(len(rows))
    tables = scene(rows, {})
    values = [row.answer.value for row in rows]
    scores = [
        1 / (1 + math.exp(-(1 + 0.5 * math.log(value.region_scores[0]) + 3 * math.log(value.label_scores[0]))))
        for value in values
    ]
    found = replace(tables.found, scores=np.array(scores))
    official = coco_eval.evaluate(tables.truth, found, len(rows), 2)
    own = coco_eval.evaluate(tables.truth, tables.found, len(rows), 2)
    for name in ("mAP", "AP50", "AP75"):
        assert task.metrics[f"{name} calibrated"].prepare(rows)(ones) == pytest.approx(official[name])
        assert task.metrics[name].prepare(rows)(ones) == own[name] != official[name]


def test_calibration_error_equals_a_plain_loop_and_falls_on_other_images() -> None:
    calibration, count = fit(TASK, drawn(seed=1))
    rows = drawn(seed=2)
    task = calibrated(TASK, calibration, f"{count} boxes")
    scores = [row.answer.value.region_scores[0] * row.answer.value.label_scores[0] for row in rows]
    order = np.argsort(scores)
    expected = sum(
        len(places) / 300 * abs(np.mean([scores[p] for p in places]) - rights(rows)[places].mean())
        for places in np.array_split(order, BINS)  # ten bins of 30 boxes; no score occurs twice
    )
    ones = np.ones(300)
    before = task.metrics["calibration error"].prepare(rows)(ones)
    after = task.metrics["calibration error calibrated"].prepare(rows)(ones)
    assert before == pytest.approx(100 * expected)
    assert after < 8 < 25 < before
    weights = np.zeros(300)
    weights[order[:30]] = 2.0  # the first bin alone
    alone = abs(np.mean([scores[p] for p in order[:30]]) - rights(rows)[order[:30]].mean())
    assert task.metrics["calibration error"].prepare(rows)(weights) == pytest.approx(100 * alone)


def test_boxes_of_zero_score_and_answers_without_boxes_are_calibrated() -> None:
    rows = [*drawn(), image(900, Boxes((FAR,), ("dog",), (0.0,), (0.0,))), image(901, None), image(902, Boxes((), ()))]
    calibration, count = fit(TASK, rows)
    assert count == 301
    assert 0 <= calibration.probability(0.0, 0.0) < 1e-6
    task = calibrated(TASK, calibration, "")
    assert math.isfinite(task.metrics["mAP calibrated"].prepare(rows)(np.ones(len(rows))))


def test_separable_boxes_have_finite_coefficients() -> None:
    rows = [image(n, Boxes((DOG if n % 2 else FAR,), ("dog",), (0.9 if n % 2 else 0.1,), (0.5,))) for n in range(60)]
    calibration, _ = fit(TASK, rows)
    # Platt's targets are 31/32 and 1/32, and both groups have one score: the fit meets them exactly.
    assert calibration.probability(0.9, 0.5) == pytest.approx(31 / 32)
    assert calibration.probability(0.1, 0.5) == pytest.approx(1 / 32)


@pytest.mark.parametrize(("rows", "said"), [
    ([image(n, Boxes((DOG,), ("dog",))) for n in range(30)], "the boxes have no scores"),
    ([image(n, Boxes((DOG,), ("dog",), (0.5,), (0.5,))) for n in range(30)], "30 boxes, 30 of them right"),
    (drawn(10), "10 boxes, "),
])  # fmt: skip
def test_what_cannot_be_calibrated(rows: list[Row[Any]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        fit(TASK, rows)


def test_task_without_ranked_boxes_is_refused() -> None:
    with pytest.raises(UsageError, match="only detection can be calibrated"):
        fit(vqa.TASKS[0], drawn())
    with pytest.raises(UsageError, match="only detection can be calibrated"):
        calibrated(vqa.TASKS[0], Calibration(0, 1, 1), "")


def test_record_states_the_calibration() -> None:
    task = calibrated(TASK, Calibration(1, 2, 3), "1,550 boxes of run 3f2a")
    assert task.corpus is not None and TASK.corpus is not None
    assert task.corpus.policy.startswith(TASK.corpus.policy)
    assert "1 + 2 * log(region score) + 3 * log(label score)" in task.corpus.policy
    assert "fitted on 1,550 boxes of run 3f2a" in task.corpus.policy
    assert task.marking == ("calibrated",)


def test_mean_over_data_sets_is_of_the_calibrated_ap_of_each() -> None:
    [task] = [task for task in odinw.TASKS if task.name == "odinw_miniature"]
    names = [name for name in task.metrics if name.startswith("mAP ")]
    assert names  # one for each data set, beside their mean
    assert "mAP calibrated" in calibrated(task, Calibration(1, 2, 3), "").metrics
