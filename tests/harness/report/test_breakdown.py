"""The error analysis of a run: versus arithmetic by hand, and calibration versus scipy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, mannwhitneyu

from harness.core import (
    Answer,
    Boxes,
    Grounded,
    Kind,
    Objects,
    Phrase,
    Polygons,
    Question,
    Row,
    Sample,
    Score,
    Text,
    Value,
)
from harness.report.breakdown import (
    BY_ANSWER,
    BY_CAPTION,
    BY_PHRASE_SIZE,
    BY_QUESTION,
    BY_REFERENCE,
    BY_SIZE,
    BY_TYPE,
    COSTS,
    Breakdown,
    Confidence,
    auroc,
    bins,
    breakdown,
    calibration_error,
    error_type,
)
from tasks import TASKS
from tests.harness.report.runs import IMAGE_SIZE as SIZE
from tests.harness.report.runs import box_row


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [(0.0, "background"), (0.0999, "background"), (0.1, "localisation"), (0.4999, "localisation"), (0.5, "")],
)
def test_error_type_follows_the_thresholds_of_tide(overlap: float, expected: str) -> None:
    assert error_type(overlap) == expected  # TIDE: background below 0.1, localisation from 0.1 to 0.5


@pytest.mark.parametrize(("kind", "value"), [
    ("name", Text(("dog",))),
    ("describe", Text(("a dog on a mat",))),
    ("read", Text(("STOP",))),
    ("regions", Boxes(((1.0, 2.0, 3.0, 4.0),), ("a dog",))),
    ("propose", Boxes(((1.0, 2.0, 3.0, 4.0),))),
])  # fmt: skip
def test_breakdown_of_a_region_kind_without_overlaps_is_empty(kind: Kind, value: Value) -> None:
    question = Question("x.png", SIZE, kind, region=(1.0, 2.0, 3.0, 4.0))
    sample: Sample[Any] = Sample("1", question, value, "x")
    assert breakdown(TASKS["refcoco"], [Row(sample, Answer(("",), value), Score({"score": 1.0}))]) == Breakdown()


def test_breakdown_of_an_outline_in_a_region_has_error_type_and_size() -> None:
    # The target covers 40 x 40 pixels, which is medium; an IoU of 0.4 is a localisation error (0.1 to 0.5).
    target = Polygons((((0.0, 0.0), (40.0, 0.0), (40.0, 40.0), (0.0, 40.0)),))
    question = Question("x.png", SIZE, "outline", region=(0.0, 0.0, 40.0, 40.0))
    sample: Sample[Any] = Sample("1", question, target, "x")
    result = breakdown(TASKS["refcoco_res"], [Row(sample, Answer(("",), target), Score({"iou": 0.4}))])
    assert result.mistakes == {"1": ["localisation"]}
    assert [bar.name for bar in result.bars[BY_SIZE]] == ["medium"]


def test_breakdown_of_an_expression_without_objects_has_no_size_and_an_error_only_if_something_is_predicted() -> None:
    nothing, square = Polygons(()), Polygons((((0.0, 0.0), (40.0, 0.0), (40.0, 40.0), (0.0, 40.0)),))
    rows = []
    for number, (target, value, iou) in enumerate(
        [(nothing, nothing, 1.0), (nothing, square, 0.0), (square, nothing, 0.0)]
    ):
        sample: Sample[Any] = Sample(str(number), Question("x.png", SIZE, "segment"), target, "x")
        rows.append(Row(sample, Answer(("",), value), Score({"iou": iou})))
    result = breakdown(TASKS["grefcoco_res"], rows)
    assert result.mistakes == {"0": [], "1": ["background"], "2": ["missed"]}
    assert [(bar.name, bar.estimate.n) for bar in result.bars[BY_SIZE]] == [("medium", 1)]


def test_breakdown_of_referring_boxes_has_overlaps_errors_confidences_and_sizes() -> None:
    rows = [
        box_row(0, 20, 0.9, 0.7), box_row(1, 20, 0.05, 0.2), box_row(2, 50, 0.3, 0.4), box_row(3, 50, 0.5, 0.6),
        box_row(4, 200, 0.0, None, empty=True),
    ]  # fmt: skip
    result = breakdown(TASKS["refcoco"], rows)
    assert result.overlaps == [0.9, 0.05, 0.3, 0.5, 0.0]
    assert result.mistakes == {"s0": [], "s1": ["background"], "s2": ["localisation"], "s3": [], "s4": ["missed"]}
    confidences = [Confidence(0.7, True), Confidence(0.2, False), Confidence(0.4, False), Confidence(0.6, True)]
    assert result.confidences == confidences
    bars = {bar.name: bar.estimate for bar in result.bars[BY_SIZE]}
    # Mean IoU in percent: (90 + 5) / 2 = 47.5, (30 + 50) / 2 = 40, 0.
    assert {name: (round(estimate.value or 0, 6), estimate.n) for name, estimate in bars.items()} == {
        "small": (47.5, 2), "medium": (40.0, 2), "large": (0.0, 1),
    }  # fmt: skip


def test_breakdown_of_boxes_with_scores_that_are_no_probabilities_has_no_confidences() -> None:
    rows = [box_row(0, 20, 0.9, 0.7), box_row(1, 20, 0.9, 1.5)]
    assert breakdown(TASKS["refcoco"], rows).confidences == ()


def test_breakdown_of_phrases_takes_the_first_box_and_counts_each_type() -> None:
    """A phrase with two types counts in both; a second predicted box has no effect."""
    true = ((0.0, 0.0, 20.0, 20.0), (0.0, 0.0, 90.0, 90.0), (0.0, 0.0, 300.0, 300.0))
    target = Grounded(tuple((box,) for box in true), (("people",), ("people", "clothing"), ("other",)))
    phrases = tuple(Phrase(name, 0, 1) for name in "abc")
    sample: Sample[Any] = Sample("1", Question("x.png", SIZE, "ground", "abc", phrases), target, "x")
    predicted = Grounded(((true[0],), ((400.0, 0.0, 410.0, 10.0), true[1]), ()))
    row = Row(sample, Answer(("x",), predicted), Score({"share": 1 / 3}))
    unparsable = Row(replace(sample, id="2", cluster="y"), Answer(("x",), None), Score({"share": 0.0}, False))
    result = breakdown(TASKS["flickr30k"], [row, unparsable])
    assert result.overlaps == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert result.mistakes == {"1": ["background", "missed"], "2": ["missed"]}
    types = {bar.name: (bar.estimate.value, bar.estimate.n) for bar in result.bars[BY_TYPE]}
    assert types == {"people": (25.0, 4), "clothing": (0.0, 2), "other": (0.0, 2)}
    sizes = {bar.name: (bar.estimate.value, bar.estimate.n) for bar in result.bars[BY_PHRASE_SIZE]}
    assert sizes == {"small": (50.0, 2), "medium": (0.0, 2), "large": (0.0, 2)}


def test_breakdown_of_detections_has_the_error_types_of_tide() -> None:
    """One object is found, one has the name of the other category, one is missed; a further box is background."""
    phrases = (Phrase("cat"), Phrase("dog"))
    boxes = ((0.0, 0.0, 40.0, 40.0), (100.0, 0.0, 40.0, 40.0), (200.0, 0.0, 40.0, 40.0))
    target = Objects(boxes, (0, 0, 1), (1600.0,) * 3, (False,) * 3, (1, 2))
    sample: Sample[Any] = Sample("7", Question("x.png", SIZE, "detect", "", phrases), target, "x")
    predicted = Boxes(
        ((0.0, 0.0, 40.0, 40.0), (100.0, 0.0, 140.0, 40.0), (400.0, 400.0, 440.0, 440.0)), ("cat", "dog", "dog"),
        (0.5, 0.4, 0.3), (1.0, 1.0, 1.0),
    )  # fmt: skip
    result = breakdown(TASKS["coco_detection"], [Row(sample, Answer(("x",), predicted), Score({"F1": 0.5}))])
    assert result.mistakes == {"7": ["classification", "background", "missed"]}
    assert result.overlaps == [1.0, 0.0, 0.0]
    assert result.confidences == [Confidence(0.5, True), Confidence(0.4, False), Confidence(0.3, False)]
    assert {bar.name: bar.estimate.n for bar in result.bars[COSTS]} == {
        "classification": 1, "localisation": 0, "both": 0, "duplicate": 0, "background": 1, "missed": 1,
    }  # fmt: skip


def text_row(
    place: int, kind: Any, targets: Sequence[str], output: str, score: float, groups: tuple[str, ...]
) -> Row[Any]:
    question = Question("x.png", SIZE, kind, "")
    sample: Sample[Any] = Sample(str(place), question, Text(tuple(targets)), f"i{place}", groups)
    return Row(sample, Answer((output,), Text((output,))), Score({"score": score}))


def test_breakdown_of_questions_has_answer_and_question_types_the_most_frequent_first() -> None:
    kinds = [("yes/no", "is it"), ("number", "how many"), ("yes/no", "is it"), ("yes/no", "are they")]
    rows = [text_row(place, "vqa", ["a"], "a", place / 4, groups) for place, groups in enumerate(kinds)]
    result = breakdown(TASKS["vqav2"], rows)
    bars = [(bar.name, bar.estimate.value, bar.estimate.n) for bar in result.bars[BY_ANSWER]]
    # Scores 0, 1/4, 2/4, 3/4: yes/no has 0 + 2/4 + 3/4 = 1.25 of 3.
    assert bars == [("yes/no", pytest.approx(100 * 1.25 / 3), 3), ("number", pytest.approx(25.0), 1)]
    assert [bar.name for bar in result.bars[BY_QUESTION]] == ["is it", "are they", "how many"]
    assert breakdown(TASKS["docvqa"], rows).bars == {}  # the charts are of accuracy


def test_breakdown_of_captions_has_quarters_by_length() -> None:
    # Scores are 0 to 7; references have place + 2 words on average, predictions 8 - place words.
    rows = [
        text_row(place, "caption", ["word " * (place + 1), "word " * (place + 3)], "word " * (8 - place), place, ())
        for place in range(8)
    ]  # fmt: skip
    result = breakdown(TASKS["coco_caption"], rows)
    by_reference = [(bar.name, bar.estimate.value, bar.estimate.n) for bar in result.bars[BY_REFERENCE]]
    assert by_reference == [
        ("2 to 3 words", 50.0, 2), ("4 to 5 words", 250.0, 2), ("6 to 7 words", 450.0, 2), ("8 to 9 words", 650.0, 2),
    ]  # fmt: skip
    assert [bar.estimate.value for bar in result.bars[BY_CAPTION]] == [650.0, 450.0, 250.0, 50.0]


def test_breakdown_without_rows_or_targets_is_empty() -> None:
    assert breakdown(TASKS["refcoco"], []).bars == {}
    hidden = Row(Sample("1", Question("x.png", SIZE, "vqa", "?"), None, "x"), Answer(("a",), None), Score({}))
    assert breakdown(TASKS["vqav2"], [hidden]) == breakdown(TASKS["vqav2"], [])


def test_breakdown_of_phrases_without_boxes_or_with_repeated_types_counts_them_once() -> None:
    """A phrase has no true box, a type is listed twice, types are fewer than phrases, and a target is missing."""
    target = Grounded(((), ((0.0, 0.0, 9.0, 9.0),)), (("people", "people"),))
    phrases = (Phrase("a", 0, 1), Phrase("b", 1, 2))
    sample: Sample[Any] = Sample("1", Question("x.png", SIZE, "ground", "ab", phrases), target, "x")
    row = Row(sample, Answer(("x",), Grounded(((), ()))), Score({"share": 0.0}))
    hidden = Row(replace(sample, id="2", target=None), Answer(("x",), None), Score({"share": 0.0}))
    result = breakdown(TASKS["flickr30k"], [row, hidden])
    assert [(bar.name, bar.estimate.n) for bar in result.bars[BY_TYPE]] == [("people", 1)]
    assert result.mistakes == {"1": ["missed"]}


def test_breakdown_of_an_outline_without_rings_is_missed() -> None:
    outline = Polygons((((0.0, 0.0), (30.0, 0.0), (30.0, 30.0), (0.0, 30.0)),) * 2)
    sample: Sample[Any] = Sample("3", Question("x.png", SIZE, "segment", "it"), outline, "x")
    result = breakdown(TASKS["refcoco_res"], [Row(sample, Answer(("x",), Polygons(())), Score({"iou": 0.0}))])
    assert result.mistakes == {"3": ["missed"]}
    assert [bar.name for bar in result.bars[BY_SIZE]] == ["medium"]  # two rings of 900 pixels: more than 32 squared


def test_breakdown_of_unscored_rows_is_empty() -> None:
    sample: Sample[Any] = Sample("3", Question("x.png", SIZE, "vqa", "?"), Text(("a",)), "x")
    assert breakdown(TASKS["vqav2"], [Row(sample, Answer(("x",), Polygons(())), Score({}))]).bars == {}


def calibrated(count: int) -> list[Confidence]:
    """Random confidences, each correct with a probability equal to the confidence."""
    draw = np.random.default_rng(0)
    return [Confidence(float(value), bool(draw.random() < value)) for value in draw.random(count) ** 3]


def test_bins_of_random_confidences_match_scipy() -> None:
    confidences = calibrated(500)
    groups = bins(confidences, 5)
    assert [group.n for group in groups] == [100] * 5
    ordered = sorted(confidences)
    for place, group in enumerate(groups):
        part = ordered[100 * place : 100 * (place + 1)]
        correct = sum(confidence.correct for confidence in part)
        wilson = binomtest(correct, 100).proportion_ci(method="wilson")
        assert group.confidence == pytest.approx(np.mean([confidence.value for confidence in part]))
        # Z is 1.96 here and 1.95996 in scipy: a relative change of 2e-5 of a half width of at most 0.1.
        assert (group.accuracy, group.low, group.high) == pytest.approx(
            (correct / 100, wilson.low, wilson.high), abs=1e-5
        )
    assert calibration_error(groups) == pytest.approx(
        np.mean([abs(group.confidence - group.accuracy) for group in groups])
    )


def test_auroc_of_random_confidences_matches_scipy() -> None:
    confidences = calibrated(500)
    correct, wrong = ([item.value for item in confidences if item.correct is kind] for kind in (True, False))
    assert auroc(confidences) == pytest.approx(mannwhitneyu(correct, wrong).statistic / len(correct) / len(wrong))


def test_auroc_of_ties_counts_half() -> None:
    # Pairs of a correct and a wrong box: (0.5, 0.5) twice, a half each; (0.7, 0.5) twice, 1 each: 3 of 4.
    ties = [Confidence(0.5, True), Confidence(0.5, False), Confidence(0.7, True), Confidence(0.5, False)]
    assert auroc(ties) == pytest.approx((0.5 + 1) / 2)
    assert len(bins(ties)) == 2 and math.isnan(auroc(ties[:1]))
