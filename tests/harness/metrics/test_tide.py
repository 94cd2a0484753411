"""Mistakes of detections, against the authors' own code, a plain loop after the paper, COCOeval, and by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.metrics import coco_eval, tide
from harness.metrics.average_precision import Detections, Truth

AUTHORS = json.loads((Path(__file__).parent / "data/tidecv.json").read_text())


def truth_of(rows: list[tuple[int, int, list[float], bool]]) -> Truth:
    boxes = np.array([row[2] for row in rows], np.float64).reshape(-1, 4)
    image, category, crowd = (np.array([row[place] for row in rows]) for place in (0, 1, 3))
    return Truth(
        image.astype(np.int64), category.astype(np.int64), boxes, boxes[:, 2] * boxes[:, 3], crowd.astype(bool)
    )


def found_of(rows: list[tuple[int, int, list[float], float]]) -> Detections:
    boxes = np.array([row[2] for row in rows], np.float64).reshape(-1, 4)
    image, category = (np.array([row[place] for row in rows], np.int64) for place in (0, 1))
    return Detections(image, category, boxes, np.array([row[3] for row in rows], np.float64))


@pytest.mark.parametrize("case", AUTHORS, ids=range(len(AUTHORS)))
def test_mistakes_agree_with_the_authors_code(case: dict[str, Any]) -> None:
    """Random boxes with the results of tidecv 1.0.1: 12 images, and 3 categories that all have truths.

    Rounding may move a recall across one of the 101 levels.  For one of 3 categories that is 100 / 101 / 3 = 0.33 of
    AP50 times a difference in precision, so the tolerance is 0.2.
    """
    truth = truth_of([(*row, False) for row in zip(case["ti"], case["tc"], case["tb"], strict=True)])
    found = found_of(list(zip(case["di"], case["dc"], case["db"], case["ds"], strict=True)))
    ours, authors = tide.mistakes(truth, found, 12, 3), case["tide"]
    assert ours.counts == authors["counts"]
    for kind in tide.KINDS:
        assert ours.costs[kind] == pytest.approx(authors["costs"][kind], abs=0.2)
    assert ours.ap50 == pytest.approx(authors["ap"], abs=0.2)


def plain_iou(one: Any, other: Any) -> float:
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    both = max(width, 0.0) * max(height, 0.0)
    return both / (one[2] * one[3] + other[2] * other[3] - both)


def plain(truths: list[Any], found: list[Any]) -> tuple[dict[int, str], set[int], dict[int, tuple[int, str]]]:
    """Kinds by detection, missed truths, and by detection the truth and kind to which it is corrected."""
    kinds, owner = {}, {}
    by_score = sorted(range(len(found)), key=lambda place: -found[place][3])
    for place in by_score:
        image, category, box, _ = found[place]
        here = [t for t, one in enumerate(truths) if one[0] == image and one[1] == category]
        fits = [(plain_iou(box, truths[t][2]), t) for t in here if t not in owner and not truths[t][3]]
        crowds = [t for t in here if truths[t][3]]
        inside = [(lambda b, c: max(0, min(b[0] + b[2], c[0] + c[2]) - max(b[0], c[0]))
                   * max(0, min(b[1] + b[3], c[1] + c[3]) - max(b[1], c[1])) / (b[2] * b[3]))(box, truths[t][2])
                  for t in crowds]  # fmt: skip
        if fits and max(fits)[0] >= 0.5:
            owner[max(fits)[1]] = place
            kinds[place] = "right"
        elif any(share >= 0.5 for share in inside):
            kinds[place] = "ignored"
    claims: dict[int, list[tuple[float, int, str]]] = {}
    for place in by_score:
        if place in kinds:
            continue
        image, category, box, score = found[place]
        real = [(plain_iou(box, one[2]), t, one[1]) for t, one in enumerate(truths) if one[0] == image and not one[3]]
        same = max(((iou, t) for iou, t, its in real if its == category), default=(0.0, -1))
        other = max(((iou, t) for iou, t, its in real if its != category), default=(0.0, -1))
        if 0.1 <= same[0] <= 0.5:
            kinds[place], target = "localisation", same[1]
        elif other[0] >= 0.5:
            kinds[place], target = "classification", other[1]
        else:
            low = max([one[0] for one in real], default=0.0) <= 0.1
            kinds[place], target = "duplicate" if same[0] > 0.5 else "background" if low else "both", -1
        if target >= 0 and target not in owner:
            claims.setdefault(target, []).append((score, place, kinds[place]))
    missed = {t for t, one in enumerate(truths) if not one[3] and t not in owner and t not in claims}
    return kinds, missed, {max(some)[1]: (target, max(some)[2]) for target, some in claims.items()}


def random_boxes(seed: int) -> tuple[list[Any], list[Any]]:
    """Truths, some of them crowds, and detections near and far from them, of 3 categories in 8 images."""
    draw = np.random.default_rng(seed)

    def box() -> list[float]:
        return [*draw.uniform(0, 60, 2).tolist(), *draw.uniform(15, 40, 2).tolist()]

    truths = [(int(draw.integers(8)), int(draw.integers(3)), box(), bool(draw.random() < 0.1)) for _ in range(20)]
    near = [
        (image, category if draw.random() < 0.7 else int(draw.integers(3)),
         np.clip(np.array(its) + draw.normal(0, draw.choice([1, 6, 15]), 4), 1, None).tolist())
        for image, category, its, _ in truths for _ in range(draw.integers(0, 4))
    ]  # fmt: skip
    far = [(int(draw.integers(8)), int(draw.integers(3)), box()) for _ in range(6)]
    scores = draw.permutation(len(near) + len(far)) / 100
    return truths, [(*one, float(score)) for one, score in zip(near + far, scores, strict=True)]


@pytest.mark.parametrize("seed", range(12))
def test_mistakes_agree_with_a_plain_loop_and_costs_with_cocoeval(seed: int) -> None:
    truths, found = random_boxes(seed)
    truth, detections = truth_of(truths), found_of(found)
    result = tide.mistakes(truth, detections, 8, 3)
    kinds, missed, taken = plain(truths, found)
    assert dict(enumerate(result.kinds)) == kinds
    assert set(np.flatnonzero(result.missed).tolist()) == missed
    assert result.ap50 == pytest.approx(coco_eval.evaluate(truth, detections, 8, 3)["AP50"])
    for kind in ("localisation", "classification"):  # corrected here: the box moved to its truth, or removed
        corrected = [
            (truths[taken[place][0]][0], truths[taken[place][0]][1], truths[taken[place][0]][2], one[3])
            if kinds[place] == kind and place in taken else one
            for place, one in enumerate(found) if kinds[place] != kind or place in taken
        ]  # fmt: skip
        gained = coco_eval.evaluate(truth, found_of(corrected), 8, 3)["AP50"] - result.ap50
        assert result.costs[kind] == pytest.approx(max(0.0, gained), abs=1e-9)
    for kind in ("both", "duplicate", "background"):
        left = [one for place, one in enumerate(found) if kinds[place] != kind]
        gained = coco_eval.evaluate(truth, found_of(left), 8, 3)["AP50"] - result.ap50
        assert result.costs[kind] == pytest.approx(max(0.0, gained), abs=1e-9)
    there = [one for place, one in enumerate(truths) if place not in missed]
    gained = coco_eval.evaluate(truth_of(there), detections, 8, 3)["AP50"] - result.ap50
    assert result.costs["missed"] == pytest.approx(max(0.0, gained), abs=1e-9)


def test_one_mistake_of_each_kind_by_hand() -> None:
    """Two truths of category 0 (of 10 by 10, at 0 and at 50) and one of category 1 at 100, all in one image."""
    truths = [(0, 0, [0.0, 0, 10, 10], False), (0, 0, [50.0, 0, 10, 10], False), (0, 1, [100.0, 0, 10, 10], False)]
    found = [
        (0, 0, [0.0, 0, 10, 10], 0.9),  # right
        (0, 0, [1.0, 0, 10, 10], 0.8),  # IoU 9/11, but the truth is matched
        (0, 0, [56.0, 0, 10, 10], 0.7),  # IoU 4/16
        (0, 0, [100.0, 0, 10, 10], 0.6),  # equal to the truth of the other category
        (0, 0, [106.0, 0, 10, 10], 0.5),  # IoU 4/16 with the truth of the other category
        (0, 1, [300.0, 300, 10, 10], 0.4),  # no overlap
    ]
    result = tide.mistakes(truth_of(truths), found_of(found), 1, 2)
    assert result.kinds == ("right", "duplicate", "localisation", "classification", "both", "background")
    assert not result.missed.any()  # each is matched, or a detection is corrected to it
    assert result.overlap.tolist() == pytest.approx([1.0, 0.25, 0.0])
    # Category 0: the first detection matches one of two truths, so 51 of 101 recalls have a precision of 1.  Category
    # 1: nothing is matched.
    assert result.ap50 == pytest.approx(100 * 51 / 101 / 2)
    # Corrected, the third detection matches the second truth at a precision of 2/3, for the other 50 recalls.
    assert result.costs["localisation"] == pytest.approx(100 * 50 / 101 * 2 / 3 / 2)
    # Corrected, the fourth detection is right and the first of category 1.
    assert result.costs["classification"] == pytest.approx(100 / 2)


def test_no_detections_or_no_truths_give_nan_where_ap50_is_undefined() -> None:
    nothing, one = found_of([]), truth_of([(0, 0, [0.0, 0, 10, 10], False)])
    result = tide.mistakes(one, nothing, 1, 1)
    assert result.counts["missed"] == 1 and result.ap50 == 0
    assert np.isnan(result.costs["missed"]) and result.costs["both"] == 0  # no truth would be left
    empty = tide.mistakes(truth_of([]), found_of([(0, 0, [0.0, 0, 10, 10], 1.0)]), 1, 1)
    assert empty.kinds == ("background",) and np.isnan(empty.ap50)
