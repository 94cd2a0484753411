"""COCO's box AP and AR from tables of truths and detections, by COCOeval and by matching of our own.

    evaluate(truth, detections, images, categories)               COCOeval's twelve numbers, by the official code
    match(truth, detections, images, categories)                  COCOeval's matches, for AP under other image weights
    precision_recall_f1(truth, detections, images, categories)    counts for each image at one IoU, without scores
    constant_score_ap(truth, detections, images, categories)      mAP where all scores are equal

A table has a row for each box.  Boxes are COCO's [x, y, width, height] in float64, as in the files: converting them
could change an IoU that equals a threshold.  Images and categories are numbered from 0 in the order of evaluation, and
include those without boxes.  COCOeval sorts detections of equal score by image; within an image and category, it keeps
the order of the table.  So AP depends on both orders where many scores are equal; `constant_score_ap` measures how
much.

Matching follows COCOeval (pycocotools 2.0.11).  Within an image and category, the 100 detections with the highest
scores are matched, highest first.  Each detection takes the free truth with the highest IoU that reaches the threshold
(the later of equals).  It takes an ignored truth only if no other truth is left.  Ignored truths are crowds and truths
outside the area range.  Any number of detections may match one crowd; their IoU is the intersection over the
detection's own area.  Detections matched with ignored truths, and unmatched detections outside the area range, count
neither as right nor as wrong.
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
    Flags,
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
MOST = 100  # detections that count for each category and image
HIGHEST = 1 - 1e-10  # COCOeval's cap on thresholds, so that an IoU just below 1 by rounding reaches a threshold of 1


# ---------------------------------------------------------------------------- COCOeval's own numbers


def evaluate(
    truth: Truth,
    detections: Detections,
    images: int,
    categories: int,
    *,
    engine: Engine = "pycocotools",
    zero: int | None = None,
) -> dict[str, float]:
    """COCOeval's twelve numbers in percent; NaN where no truth has the size (COCOeval gives -1).

    Categories without truths are left out, as in COCOeval.  Annotation ids start at 1, because COCOeval counts a
    detection that is matched with annotation 0 as wrong; `zero` is the number of a truth that keeps the id 0.
    ValueError where a record's image or category number is out of range; UsageError where the engine is not installed.
    """
    evaluation = _evaluated(truth, detections, images, categories, engine, zero)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.summarize()
    stats = np.asarray(evaluation.stats, np.float64)
    return dict(zip(NAMES, np.where(stats < 0, np.nan, PERCENT * stats).tolist(), strict=True))


def _evaluated(
    truth: Truth, detections: Detections, images: int, categories: int, engine: Engine, zero: int | None = None
) -> Any:
    """A COCOeval after `evaluate` and `accumulate`; `zero` is as for `evaluate`."""
    check(truth, detections, images, categories)
    coco, evaluator = _engine(engine)
    areas = detections.boxes[:, 2] * detections.boxes[:, 3]
    truths = _data_set(truth, images, categories, area=truth.area.tolist(), iscrowd=truth.crowd.astype(int).tolist())
    if zero is not None:
        truths["annotations"][zero]["id"] = 0
    predictions = _data_set(
        detections, images, categories, area=areas.tolist(), iscrowd=[0] * len(areas), score=detections.scores.tolist()
    )
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = evaluator(coco(truths), coco(predictions), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _engine(engine: Engine) -> tuple[Any, Any]:
    """The engine's COCO, built from a dictionary, and its COCOeval."""
    if engine == "hotcoco":
        try:
            hotcoco: Any = import_module("hotcoco")
        except ImportError:
            raise UsageError('hotcoco is not installed: pip install "florence2-harness[fast]"') from None
        return hotcoco.COCO, hotcoco.COCOeval
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def indexed(content: dict[str, Any]) -> Any:
        coco = COCO()
        coco.dataset = content
        coco.createIndex()
        return coco

    return indexed, COCOeval


def _data_set(records: Truth | Detections, images: int, categories: int, **columns: list[Any]) -> dict[str, Any]:
    """The records as a dictionary in COCO's format; its ids are our numbers plus one."""
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


def match(
    truth: Truth,
    detections: Detections,
    images: int,
    categories: int,
    *,
    most: int = MOST,
    spared: Flags | None = None,
) -> MatchTable:
    """COCOeval's matches, as a table that computes AP and AR under any weights of the images.

    `most` limits the detections of each category and image.  `spared` (N,) marks detections that do not count as wrong
    where they are not matched.  ValueError where a record's image or category number is out of range.
    """
    check(truth, detections, images, categories)
    ranges = np.array(list(AREAS.values()))
    return MatchTable(_matches(truth, detections, categories, THRESHOLDS, ranges, most, spared), images, categories)


def precision_recall_f1(
    truth: Truth,
    detections: Detections,
    images: int,
    categories: int,
    iou: float = 0.5,
    spared: Flags | None = None,
) -> Indices:
    """(images, 3): detections that are right, detections that count, and truths that count, at one IoU threshold.

    Precision, recall and F1 are ratios of sums of these counts.  All detections count, not only the first 100.  Crowds
    and detections matched with crowds do not count.  `spared` is as for `match`.  ValueError where `iou` is not in
    (0, 1].
    """
    check(truth, detections, images, categories)
    if not 0 < iou <= 1:
        raise ValueError(f"the IoU threshold is {iou}; it must be above 0 and at most 1")
    any_area = np.array([[0.0, np.inf]])
    matches = _matches(truth, detections, categories, np.array([iou]), any_area, len(detections.image), spared)
    return np.stack(
        [
            np.bincount(detections.image[matches.right[0, 0]], minlength=images),
            np.bincount(detections.image[matches.counted[0, 0]], minlength=images),
            np.bincount(truth.image[matches.sought[0]], minlength=images),
        ],
        axis=1,
    )


def constant_score_ap(
    truth: Truth, detections: Detections, images: int, categories: int, *, orders: int = 10, seed: int = 0
) -> tuple[float, float, float]:
    """mAP in percent with all scores equal: the mean, lowest and highest over random orders of the ties.

    The images are shuffled, and so are the detections, whose order also affects the matching.  NaN where there are no
    truths.  ValueError where `orders` is below 1.
    """
    if orders < 1:
        raise ValueError(f"the number of orders is {orders}; it must be at least 1")
    check(truth, detections, images, categories)
    draw = np.random.default_rng(seed)
    any_area = np.array([AREAS["all"]])  # the first range of a table
    group = detections.image * categories + detections.category
    found, target, iou = _pairs(truth, detections, group, truth.image * categories + truth.category)
    near = iou >= THRESHOLDS.min()
    found, target, iou = found[near], target[near], iou[near]
    results = []
    for _ in range(orders):
        place = draw.permutation(images)
        order = draw.permutation(len(detections.image))
        shuffled = Detections(
            place[detections.image[order]], detections.category[order], detections.boxes[order], np.ones(len(order))
        )
        moved = Truth(place[truth.image], truth.category, truth.boxes, truth.area, truth.crowd)
        pairs = np.argsort(order)[found], target, iou
        matches = _matches(moved, shuffled, categories, THRESHOLDS, any_area, MOST, pairs=pairs)
        results.append(MatchTable(matches, images, categories).average_precision(np.ones(images)))
    return float(np.mean(results)), min(results), max(results)


def _matches(
    truth: Truth,
    detections: Detections,
    categories: int,
    thresholds: Numbers,
    ranges: Numbers,
    most: int,
    spared: Flags | None = None,
    pairs: tuple[Indices, Indices, Numbers] | None = None,
) -> Matches:
    """Greedy matching for each area range and threshold.

    A group is all detections of one image and category.  The first detections of all groups are matched in one step,
    then the second, and so on.  `ranges` is (A, 2), lowest and highest area, both included; `most` limits the
    detections of a group; `spared` is as for `match`; `pairs` are those of `_pairs` that reach the lowest threshold,
    where they are known.  Axis P: the pairs of one step.
    """
    group = detections.image * categories + detections.category
    rank = ranks(group, detections.scores)
    areas = detections.boxes[:, 2] * detections.boxes[:, 3]
    outside = (areas < ranges[:, :1]) | (areas > ranges[:, 1:])  # (A, N)
    if spared is not None:
        outside |= spared
    ignored = truth.crowd | (truth.area < ranges[:, :1]) | (truth.area > ranges[:, 1:])  # (A, M)

    shape = len(ranges), len(thresholds), len(rank)
    right, matched = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    taken = np.zeros((*shape[:2], len(truth.image)), np.bool_)
    limits = np.minimum(thresholds, HIGHEST)
    if pairs is None:
        pairs = _pairs(truth, detections, group, truth.image * categories + truth.category)
    pair_detection, pair_truth, iou = pairs
    near = np.flatnonzero((iou >= limits.min()) & (rank[pair_detection] < most))
    order = np.lexsort((iou[near], pair_detection[near], rank[pair_detection[near]]))
    near = near[order]  # by rank, detection and IoU: the best pair of a detection is last
    edges = np.searchsorted(rank[pair_detection[near]], np.arange(rank.max(initial=-1) + 2))
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if start == end:
            continue
        pair = near[start:end]
        targets, size = pair_truth[pair], end - start
        free = (~taken[:, :, targets] | truth.crowd[targets]) & (iou[pair] >= limits[:, None])  # (A, T, P)
        worth = np.arange(size) + size * ~ignored[:, targets]  # (A, P): truths that count are above all ignored ones
        firsts = np.flatnonzero(np.diff(pair_detection[pair], prepend=-1))
        best = np.maximum.reduceat(np.where(free, worth[:, None], -1), firsts, axis=2)
        area, threshold, place = np.nonzero(best >= 0)
        target = targets[best[area, threshold, place] % size]
        detection = pair_detection[pair][firsts[place]]
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


def ranks(group: Indices, scores: Numbers) -> Indices:
    """(N,): the rank of each detection in its group, by falling score, then in the order given; from 0."""
    order = np.lexsort((-scores, group))
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.searchsorted(group[order], group[order])
    return rank


def _pairs(
    truth: Truth, detections: Detections, group: Indices, truth_group: Indices
) -> tuple[Indices, Indices, Numbers]:
    """The pairs of a detection and a truth in one group that overlap: detection numbers, truth numbers and IoU.

    `group` (N,) and `truth_group` (M,) are group numbers.  The truths of a detection are in the order given.  The IoU
    has the same steps as pycocotools' `bbIou`, so it is equal to the last bit.
    """
    by_group = np.argsort(truth_group, kind="stable")
    start = np.searchsorted(truth_group[by_group], group, side="left")
    lengths = np.searchsorted(truth_group[by_group], group, side="right") - start
    pair_detection = np.repeat(np.arange(len(group)), lengths)
    pair_truth = by_group[np.arange(len(pair_detection)) - np.repeat(np.cumsum(lengths) - lengths - start, lengths)]
    box, target = detections.boxes[pair_detection].T, truth.boxes[pair_truth].T
    width = np.minimum(box[2] + box[0], target[2] + target[0]) - np.maximum(box[0], target[0])
    height = np.minimum(box[3] + box[1], target[3] + target[1]) - np.maximum(box[1], target[1])
    meet = np.flatnonzero((width > 0) & (height > 0))
    pair_detection, pair_truth, box, target = pair_detection[meet], pair_truth[meet], box[:, meet], target[:, meet]
    both = width[meet] * height[meet]
    own = box[2] * box[3]
    either = np.where(truth.crowd[pair_truth], own, own + target[2] * target[3] - both)
    return pair_detection, pair_truth, np.divide(both, either, out=np.zeros_like(both), where=either > 0)
