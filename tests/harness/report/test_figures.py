"""What a run gets wrong, and its figures: by hand, against scipy, and the same bytes twice."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, mannwhitneyu

from harness.core import (
    Answer,
    Boxes,
    Estimate,
    Grounded,
    Kind,
    Objects,
    Phrase,
    Polygons,
    Question,
    Row,
    Run,
    RunSpec,
    Sample,
    Score,
    Size,
    Text,
    Value,
)
from harness.report import figures
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
    bins,
    breakdown,
    calibration_error,
    told_apart,
)
from harness.report.canvas import Told
from tasks import TASKS

SIZE = Size(640, 480)


def boxed(place: int, side: float, overlap: float, score: float | None, empty: bool = False) -> Row[Any]:
    sample: Sample[Any] = Sample(
        f"s{place}", Question("x.png", SIZE, "refer", "it"), Boxes(((0.0, 0.0, side, side),)), f"i{place // 2}"
    )
    scores = None if score is None else (score,)
    value = None if empty else Boxes(((0.0, 0.0, 9.0, 9.0),), ("",), scores)
    return Row(sample, Answer(("x",), value), Score({"iou": overlap}, value is not None))


@pytest.mark.parametrize(("kind", "value"), [
    ("name", Text(("dog",))),
    ("describe", Text(("a dog on a mat",))),
    ("read", Text(("STOP",))),
    ("regions", Boxes(((1.0, 2.0, 3.0, 4.0),), ("a dog",))),
    ("propose", Boxes(((1.0, 2.0, 3.0, 4.0),))),
])  # fmt: skip
def test_kind_about_regions_without_overlaps_has_no_breakdown(kind: Kind, value: Value) -> None:
    question = Question("x.png", SIZE, kind, region=(1.0, 2.0, 3.0, 4.0))
    sample: Sample[Any] = Sample("1", question, value, "x")
    assert breakdown(TASKS["refcoco"], [Row(sample, Answer(("",), value), Score({"score": 1.0}))]) == Breakdown()


def test_outline_of_a_region_is_broken_down_as_any_outline() -> None:
    # The target covers 40 x 40 pixels, which is medium; an IoU of 0.4 is a mistake of localisation (0.1 to 0.5).
    target = Polygons((((0.0, 0.0), (40.0, 0.0), (40.0, 40.0), (0.0, 40.0)),))
    question = Question("x.png", SIZE, "outline", region=(0.0, 0.0, 40.0, 40.0))
    sample: Sample[Any] = Sample("1", question, target, "x")
    found = breakdown(TASKS["refcoco_res"], [Row(sample, Answer(("",), target), Score({"iou": 0.4}))])
    assert found.mistakes == {"1": ["localisation"]}
    assert [bar.name for bar in found.bars[BY_SIZE]] == ["medium"]


def test_of_one_box_a_sentence() -> None:
    rows = [
        boxed(0, 20, 0.9, 0.7), boxed(1, 20, 0.05, 0.2), boxed(2, 50, 0.3, 0.4), boxed(3, 50, 0.5, 0.6),
        boxed(4, 200, 0.0, None, empty=True),
    ]  # fmt: skip
    found = breakdown(TASKS["refcoco"], rows)
    assert found.overlaps == [0.9, 0.05, 0.3, 0.5, 0.0]
    assert found.mistakes == {"s0": [], "s1": ["background"], "s2": ["localisation"], "s3": [], "s4": ["missed"]}
    given = [Confidence(0.7, True), Confidence(0.2, False), Confidence(0.4, False), Confidence(0.6, True)]
    assert found.confidences == given
    bars = {bar.name: bar.estimate for bar in found.bars[BY_SIZE]}
    assert {name: (round(one.value or 0, 6), one.n) for name, one in bars.items()} == {
        "small": (47.5, 2), "medium": (40.0, 2), "large": (0.0, 1),
    }  # fmt: skip


def test_of_phrases() -> None:
    """A phrase is right by its first box; one of two types counts under both; a second box does not help."""
    true = ((0.0, 0.0, 20.0, 20.0), (0.0, 0.0, 90.0, 90.0), (0.0, 0.0, 300.0, 300.0))
    target = Grounded(tuple((box,) for box in true), (("people",), ("people", "clothing"), ("other",)))
    phrases = tuple(Phrase(name, 0, 1) for name in "abc")
    sample: Sample[Any] = Sample("1", Question("x.png", SIZE, "ground", "abc", phrases), target, "x")
    found = Grounded(((true[0],), ((400.0, 0.0, 410.0, 10.0), true[1]), ()))
    row = Row(sample, Answer(("x",), found), Score({"share": 1 / 3}))
    unread = Row(replace(sample, id="2", cluster="y"), Answer(("x",), None), Score({"share": 0.0}, False))
    told = breakdown(TASKS["flickr30k"], [row, unread])
    assert told.overlaps == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert told.mistakes == {"1": ["background", "missed"], "2": ["missed"]}
    types = {bar.name: (bar.estimate.value, bar.estimate.n) for bar in told.bars[BY_TYPE]}
    assert types == {"people": (25.0, 4), "clothing": (0.0, 2), "other": (0.0, 2)}
    sizes = {bar.name: (bar.estimate.value, bar.estimate.n) for bar in told.bars[BY_PHRASE_SIZE]}
    assert sizes == {"small": (50.0, 2), "medium": (0.0, 2), "large": (0.0, 2)}


def test_of_detections() -> None:
    """One object found, one called by the other category's name, one not found; and a box on nothing."""
    phrases = (Phrase("cat"), Phrase("dog"))
    boxes = ((0.0, 0.0, 40.0, 40.0), (100.0, 0.0, 40.0, 40.0), (200.0, 0.0, 40.0, 40.0))
    target = Objects(boxes, (0, 0, 1), (1600.0,) * 3, (False,) * 3, (1, 2))
    sample: Sample[Any] = Sample("7", Question("x.png", SIZE, "detect", "", phrases), target, "x")
    found = Boxes(
        ((0.0, 0.0, 40.0, 40.0), (100.0, 0.0, 140.0, 40.0), (400.0, 400.0, 440.0, 440.0)), ("cat", "dog", "dog"),
        (0.5, 0.4, 0.3), (1.0, 1.0, 1.0),
    )  # fmt: skip
    told = breakdown(TASKS["coco_detection"], [Row(sample, Answer(("x",), found), Score({"F1": 0.5}))])
    assert told.mistakes == {"7": ["classification", "background", "missed"]}
    assert told.overlaps == [1.0, 0.0, 0.0]
    assert told.confidences == [Confidence(0.5, True), Confidence(0.4, False), Confidence(0.3, False)]
    assert {bar.name: bar.estimate.n for bar in told.bars[COSTS]} == {
        "classification": 1, "localisation": 0, "both": 0, "duplicate": 0, "background": 1, "missed": 1,
    }  # fmt: skip


def worded(place: int, kind: Any, texts: Sequence[str], said: str, score: float, groups: tuple[str, ...]) -> Row[Any]:
    sample: Sample[Any] = Sample(str(place), Question("x.png", SIZE, kind, ""), Text(tuple(texts)), f"i{place}", groups)
    return Row(sample, Answer((said,), Text((said,))), Score({"score": score}))


def test_of_questions_and_captions() -> None:
    kinds = [("yes/no", "is it"), ("number", "how many"), ("yes/no", "is it"), ("yes/no", "are they")]
    rows = [worded(place, "vqa", ["a"], "a", place / 4, groups) for place, groups in enumerate(kinds)]
    told = breakdown(TASKS["vqav2"], rows)
    answers = [(bar.name, bar.estimate.value, bar.estimate.n) for bar in told.bars[BY_ANSWER]]
    assert answers == [("yes/no", pytest.approx(100 * 1.25 / 3), 3), ("number", pytest.approx(25.0), 1)]
    assert [bar.name for bar in told.bars[BY_QUESTION]] == ["is it", "are they", "how many"]
    captions = [
        worded(place, "caption", ["word " * (place + 1), "word " * (place + 3)], "word " * (8 - place), place, ())
        for place in range(8)
    ]  # fmt: skip
    told = breakdown(TASKS["coco_caption"], captions)
    by_reference = [(bar.name, bar.estimate.value, bar.estimate.n) for bar in told.bars[BY_REFERENCE]]
    assert by_reference == [
        ("2 to 3 words", 50.0, 2), ("4 to 5 words", 250.0, 2), ("6 to 7 words", 450.0, 2), ("8 to 9 words", 650.0, 2),
    ]  # fmt: skip
    assert [bar.estimate.value for bar in told.bars[BY_CAPTION]] == [650.0, 450.0, 250.0, 50.0]


def test_where_there_is_nothing_to_tell() -> None:
    assert breakdown(TASKS["refcoco"], []).bars == {}
    hidden = Row(Sample("1", Question("x.png", SIZE, "vqa", "?"), None, "x"), Answer(("a",), None), Score({}))
    assert breakdown(TASKS["vqav2"], [hidden]) == breakdown(TASKS["vqav2"], [])


def test_calibration_against_scipy() -> None:
    draw = np.random.default_rng(0)
    given = draw.random(500) ** 3
    some = [Confidence(float(one), bool(draw.random() < one)) for one in given]
    found = bins(some, 5)
    assert [one.n for one in found] == [100] * 5
    ordered = sorted(some)
    for place, one in enumerate(found):
        part = ordered[100 * place : 100 * (place + 1)]
        right = sum(confidence.right for confidence in part)
        wilson = binomtest(right, 100).proportion_ci(method="wilson")
        assert one.given == pytest.approx(np.mean([confidence.given for confidence in part]))
        assert (one.right, one.low, one.high) == pytest.approx((right / 100, wilson.low, wilson.high), abs=1e-4)
    assert calibration_error(found) == pytest.approx(np.mean([abs(one.given - one.right) for one in found]))
    right, wrong = ([one.given for one in some if one.right is kind] for kind in (True, False))
    assert told_apart(some) == pytest.approx(mannwhitneyu(right, wrong).statistic / len(right) / len(wrong))
    ties = [Confidence(0.5, True), Confidence(0.5, False), Confidence(0.7, True), Confidence(0.5, False)]
    assert told_apart(ties) == pytest.approx((0.5 + 1) / 2)
    assert len(bins(ties)) == 2 and math.isnan(told_apart(ties[:1]))


def a_run(model: str, data: str, rate: float) -> Run:
    spec = RunSpec(
        data=data, data_hash="0", task="refcoco", version=1, split="val", model=model, fingerprint="f",
    )  # fmt: skip
    return Run(
        schema=1, id=f"{data}{model}", spec=spec, status="complete", headline="Acc@0.5",
        metrics={"Acc@0.5": Estimate(rate, rate - 1, rate + 1, 5)}, timings={"answers/s": rate, "p50 s": 1 / rate},
        provenance={"model": {"device": "cpu", "batch size": 1}},
    )  # fmt: skip


def test_figures_of_each_data_set_apart_and_the_same_twice(tmp_path: Path) -> None:
    rows = [boxed(place, 40, place / 10, place / 20) for place in range(10)]
    parts = breakdown(TASKS["refcoco"], rows)
    told = [
        Told(a_run(model, data, rate), parts)
        for data in ("coco", "miniature") for rate, model in ((5.0, "a"), (7.0, "b/<i>"))
    ]  # fmt: skip
    drawn = figures.write(told, tmp_path / "one")
    assert [one.file for one in drawn] == [
        f"{data}-{name}" for data in ("coco", "miniature")
        for name in ("iou", "calibration", "object-size", "throughput", "latency")
    ]  # fmt: skip
    figures.write(told, tmp_path / "two")
    made = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert made == sorted([f"{one.file}.{kind}" for one in drawn for kind in ("svg", "png")] + ["figures.csv"])
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in made)
    lines = list(csv.DictReader((tmp_path / "one/figures.csv").read_text().splitlines()))
    [half] = [
        float(line["value"]) for line in lines
        if line["data"] == "coco" and line["model"] == "a" and line["name"] == "IoU of 0.5 or more"
    ]  # fmt: skip
    assert half == 50.0  # 0.5 to 0.9 of 0.0 to 0.9
    assert {line["model"] for line in lines if line["figure"] == "latency"} == {"a", "b/<i>"}


def test_one_run_stands_for_all_of_the_same(tmp_path: Path) -> None:
    """A part and an older version beside the whole run, another protocol, and a name that TeX would not take."""
    parts = breakdown(TASKS["refcoco"], [boxed(place, 40, place / 10, None) for place in range(10)])
    other = breakdown(TASKS["refcoco"], [boxed(0, 40, 1.0, None)])
    whole = a_run("m$\\foo$", "coco", 5.0)
    part = replace(whole, status="partial", provenance={"date": "2099"})
    older = replace(whole, spec=replace(whole.spec, version=0))
    tuned = replace(whole, spec=replace(whole.spec, protocol="fine_tuned"))
    told = [Told(run, some) for run, some in ((part, other), (older, other), (whole, parts), (tuned, other))]
    figures.write(told, tmp_path)
    lines = list(csv.DictReader((tmp_path / "figures.csv").read_text().splitlines()))
    counts = {line["model"]: line["n"] for line in lines if line["name"] == "IoU of 0.5 or more"}
    assert counts == {"m$\\foo$, zero-shot": "10", "m$\\foo$, fine-tuned": "1"}


def test_targets_and_answers_of_other_kinds_stop_nothing() -> None:
    """A phrase without boxes, types that are too few or told twice, no target at all, an outline without rings."""
    target = Grounded(((), ((0.0, 0.0, 9.0, 9.0),)), (("people", "people"),))
    phrases = (Phrase("a", 0, 1), Phrase("b", 1, 2))
    sample: Sample[Any] = Sample("1", Question("x.png", SIZE, "ground", "ab", phrases), target, "x")
    row = Row(sample, Answer(("x",), Grounded(((), ()))), Score({"share": 0.0}))
    hidden = Row(replace(sample, id="2", target=None), Answer(("x",), None), Score({"share": 0.0}))
    told = breakdown(TASKS["flickr30k"], [row, hidden])
    assert [(bar.name, bar.estimate.n) for bar in told.bars[BY_TYPE]] == [("people", 1)]
    assert told.mistakes == {"1": ["missed"]}
    outline = Polygons((((0.0, 0.0), (30.0, 0.0), (30.0, 30.0), (0.0, 30.0)),) * 2)
    asked: Sample[Any] = Sample("3", Question("x.png", SIZE, "segment", "it"), outline, "x")
    none = Row(asked, Answer(("x",), Polygons(())), Score({"iou": 0.0}))
    told = breakdown(TASKS["refcoco_res"], [none])
    assert told.mistakes == {"3": ["missed"]}
    assert [bar.name for bar in told.bars[BY_SIZE]] == ["medium"]  # two rings of 900 pixels: more than 32 squared
    unscored = Row(
        replace(asked, question=Question("x.png", SIZE, "vqa", "?"), target=Text(("a",))), none.answer, Score({})
    )
    assert breakdown(TASKS["vqav2"], [unscored]).bars == {}


def test_nothing_to_draw_is_no_figure(tmp_path: Path) -> None:
    one = Told(a_run("a", "coco", 5.0), breakdown(TASKS["refcoco"], []))
    assert figures.write([one], tmp_path) == []  # one run alone is no trade-off
    assert [path.name for path in tmp_path.iterdir()] == ["figures.csv"]
