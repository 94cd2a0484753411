"""Chooses the thresholds of an engine's recipe on images whose truth is known: `harness.engine.calibrate`."""

from __future__ import annotations

import logging
from pathlib import Path

import tasks
from harness.core import Boxes, Objects, Source
from harness.data_engine import filtering
from harness.data_engine.calibration import Curve, Object, calibrated, curve
from harness.data_engine.regions import Boxes as BoxesStage
from harness.data_engine.shards import Engine
from harness.errors import UsageError
from harness.evaluation.engine_data import root_of

log = logging.getLogger(__name__)


def calibrate(
    to: str | Path,
    *,
    truth: str | None = None,
    precision: float = 0.9,
    data: str | Path | None = None,
    limit: int | None = None,
) -> list[Curve]:
    """Chooses the threshold of each origin's regions that has this precision on images with truth, and keeps both.

    `truth` is TASK:SPLIT with a split for training, such as "coco_detection:train2017" (None: the truth of the embedded
    scenes).  `precision` is from 0 to 1.  `limit` is a number of images.  `filter` then uses the thresholds.

    UsageError for a split that is evaluated, since a threshold may not be chosen on it, and for another precision.
    """
    if not 0 < precision <= 1:
        raise UsageError(f"--precision {precision}: above 0 and at most 1")
    engine = Engine.open(Path(to))
    if not engine.rounds:
        raise UsageError(f"{engine.path} has no annotations yet; `engine annotate` asks for them")
    stage = next((each for each in engine.recipe.stages if isinstance(each, BoxesStage)), None)
    if stage is None:
        raise UsageError(f"the recipe {engine.recipe.name} has no stage boxes, whose thresholds are calibrated")
    objects = truth_of(truth, root_of(engine.data if data is None else data))
    records = [record for record in filtering.raw_records(engine) if record.image.reference in objects]
    records = records[:limit]
    if not records:
        raise UsageError(f"{engine.path} has no image of the {len(objects):,} with truth")
    given = {each.origin for record in records for each in record.annotations if each.kind == "region"}
    curves = [
        curve(records, objects, origin, stage, precision)
        for id_, origin in engine.origins_of(engine.current).items()
        if id_ in given and origin.kind in ("specialist", "model")
    ]
    for each in curves:
        if each.chosen is None:
            why = "gives no scores" if not each.thresholds else f"never has a precision of {precision:g}"
            log.warning("%s %s: its threshold stays", each.origin, why)
    engine.with_recipe(calibrated(engine.recipe, curves))
    return curves


def truth_of(truth: str | None, root: Path) -> dict[str, list[Object]]:
    """The objects of each image by reference; UsageError for a split that is evaluated, and where none is named."""
    if truth is None:
        from tasks.miniature.engine_world import TRUTH, objects, truths_of

        if not (root / TRUTH).exists():
            raise UsageError(
                "--truth TASK:SPLIT is needed, a split for training such as coco_detection:train2017: only the "
                f"embedded scenes have their truth with them, and {root} is none of theirs"
            )
        scenes: dict[str, list[Object]] = {}
        for reference, category, box in objects(truths_of(root)):
            scenes.setdefault(reference, []).append((category, box))
        return scenes
    name, colon, split = truth.partition(":")
    if not colon:
        raise UsageError(f"--truth {truth}: TASK:SPLIT, such as coco_detection:train2017")
    (task,) = tasks.select(name)
    if split not in task.train_splits:
        trained = ", ".join(task.train_splits) or "none"
        what = "is evaluated" if split in (*task.splits, *task.hidden_splits) else "is no split of it"
        raise UsageError(
            f"--truth {truth}: {split} {what}; thresholds are chosen on splits for training, {task.name} has {trained}"
        )
    found: dict[str, list[Object]] = {}
    for sample in task.load(Source(root, split)):
        target = sample.target
        of_image = found.setdefault(sample.question.image_name, [])
        if isinstance(target, Objects):
            named = [sample.question.phrases[category].text for category in target.categories]
            of_image += [
                pair
                for pair, crowd in zip(zip(named, target.boxes, strict=True), target.crowd, strict=True)
                if not crowd
            ]
        elif isinstance(target, Boxes) and target.labels:
            of_image += zip(target.labels, target.boxes, strict=True)
        else:
            raise UsageError(f"--truth {truth}: {task.name} has no boxes of categories")
    return found
