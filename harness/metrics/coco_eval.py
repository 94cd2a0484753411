"""COCO's box AP and AR of two tables, truths and detections: COCOeval's own numbers, and its matches computed here.

    evaluate(truth, detections, images, categories)               COCOeval's twelve numbers, run as published
    match(truth, detections, images, categories)                  its matches, to sum again under other image weights
    precision_recall_f1(truth, detections, images, categories)    counts of each image at one IoU, without scores
    constant_score_ap(truth, detections, images, categories)      mAP where all scores are equal

A table has a row for each box.  Boxes are COCO's [x, y, width, height] in float64, as in the files: converted boxes
could lose an IoU that equals a threshold.  Images and categories are numbered from 0 in the order of evaluation, and
include those without boxes.  COCOeval takes images in that order, and detections of equal score within an image and
category in the order of the table.  So AP depends on both orders where many scores are equal; `constant_score_ap`
measures by how much.

Matching follows COCOeval (pycocotools 2.0.11).  Within an image and category, the 100 detections of the highest scores
are matched, highest first.  Each takes the free truth of the highest IoU that reaches the threshold (the later of
equals), and an ignored truth only where no other is left.  Ignored truths are crowds and truths outside the area range.
Any number of detections may share a crowd; their IoU is the intersection over the detection's own area.  Detections
matched with ignored truths, and unmatched detections outside the area range, count neither as right nor as wrong.
"""

from __future__ import annotations

import contextlib
import io
from importlib import import_module
from typing import Any, Literal

import numpy as np

from harness.errors import UsageError
from harness.metrics.average_precision import (
    AREAS,
    THRESHOLDS,
    Detections,
    Indices,
    Matches,
    MatchTable,
    Numbers,
    Truth,
    check,
)
from harness.metrics.reduce import PERCENT

__all__ = [
    "Detections",
    "MatchTable",
    "Truth",
    "constant_score_ap",
    "evaluate",
    "match",
    "precision_recall_f1",
]

Engine = Literal["pycocotools", "hotcoco"]
NAMES = ("mAP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
MOST = 100  # detections of a category in an image
HIGHEST = 1 - 1e-10  # a threshold of 1 is reached by what is 1 but for rounding


# ---------------------------------------------------------------------------- COCOeval's own numbers


def evaluate(
    truth: Truth, detections: Detections, images: int, categories: int, *, engine: Engine = "pycocotools"
) -> dict[str, float]:
    """COCOeval's twelve numbers in percent; NaN where there is no truth of that size, for which COCOeval gives -1.

    Categories without truth are left out, as there.  UsageError where the engine is not installed.
    """
    evaluation = _evaluated(truth, detections, images, categories, engine)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.summarize()
    stats = np.asarray(evaluation.stats, np.float64)
    return dict(zip(NAMES, np.where(stats < 0, np.nan, PERCENT * stats).tolist(), strict=True))


def _evaluated(truth: Truth, detections: Detections, images: int, categories: int, engine: Engine) -> Any:
    """A COCOeval that has evaluated and accumulated.  Ids start at 1: a match with annotation 0 counts as none."""
    check(truth, detections, images, categories)
    coco, evaluator = _engine(engine)
    areas = detections.boxes[:, 2] * detections.boxes[:, 3]
    there = _data_set(truth, images, categories, area=truth.area.tolist(), iscrowd=truth.crowd.astype(int).tolist())
    found = _data_set(
        detections, images, categories, area=areas.tolist(), iscrowd=[0] * len(areas), score=detections.scores.tolist()
    )
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = evaluator(coco(there), coco(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _engine(engine: Engine) -> tuple[Any, Any]:
    """How an engine makes a data set of a dictionary, and its COCOeval."""
    if engine == "hotcoco":
        try:
            hotcoco: Any = import_module("hotcoco")
        except ImportError:
            raise UsageError('hotcoco is not installed: pip install "florence2-harness[fast]"') from None
        return hotcoco.COCO, hotcoco.COCOeval
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def made(content: dict[str, Any]) -> Any:
        coco = COCO()
        coco.dataset = content
        coco.createIndex()
        return coco

    return made, COCOeval


def _data_set(records: Truth | Detections, images: int, categories: int, **columns: list[Any]) -> dict[str, Any]:
    """COCO's dictionary, whose ids are one more than ours."""
    indices = zip((records.image + 1).tolist(), (records.category + 1).tolist(), records.boxes.tolist(), strict=True)
    rows = zip(indices, zip(*columns.values(), strict=True), strict=True)
    return {
        "images": [{"id": image + 1} for image in range(images)],
        "categories": [{"id": category + 1, "name": str(category)} for category in range(categories)],
        "annotations": [
            {
                "id": place,
                "image_id": image,
                "category_id": category,
                "bbox": box,
                **dict(zip(columns, more, strict=True)),
            }
            for place, ((image, category, box), more) in enumerate(rows, start=1)
        ],
    }


# ---------------------------------------------------------------------------- our own matching


def match(truth: Truth, detections: Detections, images: int, categories: int) -> MatchTable:
    """All matches that COCOeval makes, in a table whose AP can be summed anew under other weights of the images."""
    check(truth, detections, images, categories)
    ranges = np.array(list(AREAS.values()))
    return MatchTable(_matches(truth, detections, categories, THRESHOLDS, ranges, MOST), images, categories)


def precision_recall_f1(
    truth: Truth, detections: Detections, images: int, categories: int, iou: float = 0.5
) -> Indices:
    """(images, 3): detections that are right, detections that count, and truths that count, at one IoU in (0, 1].

    Precision, recall and F1 are ratios of their sums.  All detections count, not only the first 100; crowds, and
    what is matched with them, do not.
    """
    check(truth, detections, images, categories)
    if not 0 < iou <= 1:
        raise ValueError(f"an IoU of {iou} is none to reach")
    everything = np.array([[0.0, np.inf]])
    found = _matches(truth, detections, categories, np.array([iou]), everything, len(detections.image))
    return np.stack(
        [
            np.bincount(detections.image[found.right[0, 0]], minlength=images),
            np.bincount(detections.image[found.counted[0, 0]], minlength=images),
            np.bincount(truth.image[found.sought[0]], minlength=images),
        ],
        axis=1,
    )


def constant_score_ap(
    truth: Truth, detections: Detections, images: int, categories: int, *, orders: int = 10, seed: int = 0
) -> tuple[float, float, float]:
    """mAP with all scores alike: the mean over random orders of the ties, the lowest and the highest of them.

    Images are shuffled, and detections within each; the latter decides the matching too.  NaN where there is no truth.
    """
    if orders < 1:
        raise ValueError(f"{orders} orders have no mean")
    check(truth, detections, images, categories)
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(orders):
        place = draw.permutation(images)
        order = draw.permutation(len(detections.image))
        shuffled = Detections(
            place[detections.image[order]], detections.category[order], detections.boxes[order], np.ones(len(order))
        )
        there = Truth(place[truth.image], truth.category, truth.boxes, truth.area, truth.crowd)
        found.append(match(there, shuffled, images, categories).average_precision(np.ones(images)))
    return float(np.mean(found)), min(found), max(found)


def _matches(
    truth: Truth, detections: Detections, categories: int, thresholds: Numbers, ranges: Numbers, most: int
) -> Matches:
    """Greedy matching under each area range and threshold: the first of every group at once, then the seconds, ...

    A group is an image and category.  `ranges` is (A, 2), both ends within.
    """
    group = detections.image * categories + detections.category
    rank = _ranks(group, detections.scores)
    areas = detections.boxes[:, 2] * detections.boxes[:, 3]
    outside = (areas < ranges[:, :1]) | (areas > ranges[:, 1:])  # (A, N)
    ignored = truth.crowd | (truth.area < ranges[:, :1]) | (truth.area > ranges[:, 1:])  # (A, M)

    shape = len(ranges), len(thresholds), len(rank)
    right, matched = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    taken = np.zeros((*shape[:2], len(truth.image)), np.bool_)
    limits = np.minimum(thresholds, HIGHEST)
    mine, its, iou = _pairs(truth, detections, group, truth.image * categories + truth.category)
    near = np.flatnonzero((iou >= limits.min()) & (rank[mine] < most))
    near = near[np.lexsort((iou[near], mine[near], rank[mine[near]]))]  # the best of a detection's pairs is last
    edges = np.searchsorted(rank[mine[near]], np.arange(rank.max(initial=-1) + 2))
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if start == end:
            continue
        pair = near[start:end]
        targets, size = its[pair], end - start
        free = (~taken[:, :, targets] | truth.crowd[targets]) & (iou[pair] >= limits[:, None])  # (A, T, P)
        worth = np.arange(size) + size * ~ignored[:, targets]  # (A, P): those that count before all ignored
        firsts = np.flatnonzero(np.diff(mine[pair], prepend=-1))
        best = np.maximum.reduceat(np.where(free, worth[:, None], -1), firsts, axis=2)
        area, threshold, place = np.nonzero(best >= 0)
        target = targets[best[area, threshold, place] % size]
        detection = mine[pair][firsts[place]]
        taken[area, threshold, target] = True
        matched[area, threshold, detection] = True
        right[area, threshold, detection] = ~ignored[area, target]
    counted = np.where(matched, right, ~outside[:, None]) & (rank < most)
    return Matches(
        image=detections.image,
        category=detections.category,
        scores=detections.scores,
        rank=rank,
        right=right,
        counted=counted,
        truth_image=truth.image,
        truth_category=truth.category,
        sought=~ignored,
    )


def _ranks(group: Indices, scores: Numbers) -> Indices:
    """(N,): each one's place in its group by falling score, then as given; from 0."""
    order = np.lexsort((-scores, group))
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.searchsorted(group[order], group[order])
    return rank


def _pairs(truth: Truth, detections: Detections, mine: Indices, its: Indices) -> tuple[Indices, Indices, Numbers]:
    """Detections and truths of the same group that overlap, truths of a detection as given, and their IoU.

    The IoU is pycocotools' `bbIou` step by step, so that it is the same to the last bit.
    """
    by_group = np.argsort(its, kind="stable")
    start = np.searchsorted(its[by_group], mine, side="left")
    lengths = np.searchsorted(its[by_group], mine, side="right") - start
    one = np.repeat(np.arange(len(mine)), lengths)
    other = by_group[np.arange(len(one)) - np.repeat(np.cumsum(lengths) - lengths - start, lengths)]
    box, target = detections.boxes[one].T, truth.boxes[other].T
    width = np.minimum(box[2] + box[0], target[2] + target[0]) - np.maximum(box[0], target[0])
    height = np.minimum(box[3] + box[1], target[3] + target[1]) - np.maximum(box[1], target[1])
    meet = np.flatnonzero((width > 0) & (height > 0))
    one, other, box, target = one[meet], other[meet], box[:, meet], target[:, meet]
    both = width[meet] * height[meet]
    own = box[2] * box[3]
    either = np.where(truth.crowd[other], own, own + target[2] * target[3] - both)
    return one, other, np.divide(both, either, out=np.zeros_like(both), where=either > 0)
