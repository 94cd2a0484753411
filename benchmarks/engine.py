"""What each filter of the data engine is worth, on simulated specialists whose errors are known.

    python benchmarks/engine.py --out OUT [--images 1200] [--only filters|confusion|speed]

filters     precision, recall and F1 of regions before and after the stage `boxes`, and with each rule left out in turn,
            at three levels of noise, with one specialist and with two
confusion   systematic confusion alone: what one origin can mend, and two origins with other confusions
speed       images per CPU second of the stage `boxes`, and of the folder around it

Thresholds are chosen on scenes of one set of seeds, and every number is of another.  Intervals are by image.  The noise
is declared in `tasks/miniature/specialists.py`; no filter reads it.  Results are printed, and written to
OUT/engine.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.core import Estimate
from harness.data_engine.calibration import Object, calibrated, curve, right_of
from harness.data_engine.filtering import filter_annotations
from harness.data_engine.questions import annotations_of, questions
from harness.data_engine.recipes import Recipe
from harness.data_engine.records import ImageRow, Origin, Record
from harness.data_engine.regions import Boxes
from harness.data_engine.shards import Engine
from harness.provenance import provenance
from harness.statistics import interval
from tasks.miniature.engine_world import Truth, sketched
from tasks.miniature.specialists import Noise, Simulated

TUNED, TOLD = 9_200_000, 9_300_000  # first seeds: thresholds are chosen on the first, numbers are of the second
LEVELS = (0.5, 1.0, 1.5)
OTHER = replace(
    Noise(), systematic=(("car", "boat"), ("tree", "umbrella")), right=(0.64, 0.2), wrong=(0.1, 0.165)
)  # the second specialist: other confusions, other scores
LEFT_OUT: Mapping[str, Mapping[str, Any]] = {
    "score": {"score": 0.0, "scores": {}},
    "nms": {"nms": 1.0},
    "across": {"across": 1.0},
    "agreement": {"agree": 1.0},
    "precisions": {"precisions": {}},
}
NONE = Noise().scaled(0.0)


@dataclass(frozen=True)
class Counts:
    """By image, (images,): right and kept regions, objects, dropped regions, and dropped ones that were wrong."""

    right: NDArray[np.float64]
    kept: NDArray[np.float64]
    objects: NDArray[np.float64]
    dropped: NDArray[np.float64]
    dropped_wrong: NDArray[np.float64]

    def precision(self, weights: NDArray[np.float64]) -> float:
        """In percent."""
        return float(100 * (weights @ self.right) / (weights @ self.kept))

    def recall(self, weights: NDArray[np.float64]) -> float:
        """In percent."""
        return float(100 * (weights @ self.right) / (weights @ self.objects))

    def f1(self, weights: NDArray[np.float64]) -> float:
        """In percent: twice the right ones over kept and objects."""
        return float(200 * (weights @ self.right) / (weights @ (self.kept + self.objects)))

    def dropped_rightly(self, weights: NDArray[np.float64]) -> float:
        """The share of dropped regions that were wrong, in percent."""
        return float(100 * (weights @ self.dropped_wrong) / (weights @ self.dropped))


def truths(first: int, images: int) -> dict[str, Truth]:
    """Scenes by name."""
    return {str(seed): sketched(seed) for seed in range(first, first + images)}


def objects_of(scenes: Mapping[str, Truth]) -> dict[str, list[Object]]:
    """The objects of each scene."""
    return {name: [(thing.category, thing.box) for thing in truth.things] for name, truth in scenes.items()}


def annotated(scenes: Mapping[str, Truth], noises: Sequence[Noise]) -> tuple[list[Record], dict[str, Origin]]:
    """What specialists with these noises say of each scene."""
    records = [Record(image=ImageRow(reference=name, sha256=name, size=scenes[name].size)) for name in scenes]
    origins: dict[str, Origin] = {}
    for place, noise in enumerate(noises):
        model = Simulated(scenes, noise, f"detector {place}")
        origin = Origin(kind="specialist", name=f"detector {place}", fingerprint=model.fingerprint)
        origins[origin.id] = origin
        asked = [each for record in records for each in questions("detect", record, origin.id)]
        answers = dict(model.answer(enumerate(each.question for each in asked)))
        for ticket, each in enumerate(asked):
            value = answers[ticket].value  # type: ignore[union-attr]
            records[ticket] = records[ticket].extended(annotations_of(each, value, origin.id))
    return records, origins


def counted(records: Sequence[Record], stage: Boxes | None, objects: Mapping[str, Sequence[Object]]) -> Counts:
    """The counts after a stage; as they were given, without one."""
    rows = []
    for record in records:
        told = record if stage is None else stage(record)
        true = objects[record.image.reference]
        kept = sorted(told.kept("region"), key=lambda each: (-(each.score or 0.0), each.id))
        status = told.status()
        dropped = wrong = 0
        for origin in {each.origin for each in record.annotations}:
            own = sorted(
                (each for each in record.annotations if each.origin == origin), key=lambda each: -(each.score or 0.0)
            )
            for each, right in zip(own, right_of(own, true), strict=True):
                if each.id in status and status[each.id].status == "dropped":
                    dropped += 1
                    wrong += not right
        rows.append((sum(right_of(kept, true)), len(kept), len(true), dropped, wrong))
    return Counts(*np.array(rows, np.float64).T)


def tuned(records: Sequence[Record], origins: Mapping[str, Origin], objects: Mapping[str, Sequence[Object]]) -> Boxes:
    """The stage with each origin's threshold of the best F1 alone, and its precision by label, on these records."""
    recipe = Recipe(name="tuned", stages=(Boxes(),))
    curves = []
    for origin in origins.values():
        found = curve(records, objects, origin, Boxes(), 0.9)
        f1 = [2 * p * r / (p + r) if p + r else 0.0 for p, r in zip(found.precision, found.recall, strict=True)]
        chosen = found.thresholds[int(np.argmax(f1))]
        curves.append(replace(found, chosen=chosen))
    stage = calibrated(recipe, curves).resolved(origins).stages[0]
    assert isinstance(stage, Boxes)
    return stage


def told(counts: Counts, seed: int = 0) -> dict[str, Any]:
    """Every measure with its interval by image."""
    images = len(counts.right)
    measures = {"precision": counts.precision, "recall": counts.recall, "F1": counts.f1}
    if counts.dropped.sum():
        measures["dropped rightly"] = counts.dropped_rightly
    return {name: asdict(interval(each, images, n=images, seed=seed)) for name, each in measures.items()}


def gain(before: Counts, after: Counts, seed: int = 0) -> dict[str, Any]:
    """The difference of F1 and of recall, after minus before, with intervals of paired images."""
    images = len(before.right)
    return {
        "F1": asdict(interval(lambda w: after.f1(w) - before.f1(w), images, n=images, seed=seed)),
        "recall": asdict(interval(lambda w: after.recall(w) - before.recall(w), images, n=images, seed=seed)),
    }


def filters(images: int, levels: Sequence[float] = LEVELS) -> Iterator[dict[str, Any]]:
    """A row for each level of noise, one or two specialists, and each rule that is left out."""
    for level in levels:
        for noises in ([Noise()], [Noise(), OTHER]):
            scaled = [noise.scaled(level) for noise in noises]
            scenes = truths(TUNED, images)
            stage = tuned(*annotated(scenes, scaled), objects_of(scenes))
            scenes = truths(TOLD, images)
            records, _ = annotated(scenes, scaled)
            objects = objects_of(scenes)
            raw, whole = counted(records, None, objects), counted(records, stage, objects)
            row = {"noise": level, "specialists": len(noises), "images": images}
            yield row | {"arm": "raw", **told(raw)}
            yield row | {"arm": "all", **told(whole), "gain over raw": gain(raw, whole)}
            yield row | {"arm": "score 0.4", **told(counted(records, replace(stage, score=0.4, scores={}), objects))}
            for rule, settings in LEFT_OUT.items():
                without = counted(records, replace(stage, **settings), objects)
                yield row | {"arm": f"without {rule}", **told(without), "worth of the rule": gain(without, whole)}
            if len(noises) > 1:
                strict = counted(records, replace(stage, witnesses=2), objects)
                yield row | {"arm": "two witnesses", **told(strict), "gain over raw": gain(raw, strict)}


def confusion(images: int) -> Iterator[dict[str, Any]]:
    """Systematic confusion alone: one origin, and two whose confusions differ."""
    one = replace(NONE, systematic=Noise().systematic, systematically=0.35)
    other = replace(NONE, systematic=OTHER.systematic, systematically=0.35, right=OTHER.right)
    for name, noises in (("one origin", [one]), ("two origins", [one, other])):
        scenes = truths(TUNED, images)
        stage = replace(tuned(*annotated(scenes, noises), objects_of(scenes)), score=0.0, scores={})
        scenes = truths(TOLD, images)
        records, origins = annotated(scenes, noises)
        objects = objects_of(scenes)
        whole = counted(records, stage, objects)
        first = next(iter(origins))
        alone = [replace(r, annotations=tuple(a for a in r.annotations if a.origin == first)) for r in records]
        before = counted(alone, None, objects)
        arms = {"calibrated": whole, "not calibrated": counted(records, replace(stage, precisions={}), objects)}
        for arm, counts in arms.items():
            yield {
                "origins": name, "arm": arm, "lost by one origin": 100 - before.f1(np.ones(images)), **told(counts),
                "share recovered": asdict(recovered(before, counts)), "gain over one origin": gain(before, counts),
            }  # fmt: skip


def recovered(before: Counts, after: Counts) -> Estimate:
    """The share of the F1 that `before` lacks to 100 and `after` gains, in percent."""

    def share(weights: NDArray[np.float64]) -> float:
        return 100 * (after.f1(weights) - before.f1(weights)) / (100 - before.f1(weights))

    return interval(share, len(before.right), n=len(before.right), seed=0)


def speed(images: int) -> dict[str, Any]:
    """Images per CPU second: the stage alone, and reading, deciding and writing a folder."""
    scenes = truths(TOLD, images)
    records, origins = annotated(scenes, [Noise(), OTHER])
    stage = Boxes()
    start = time.process_time()
    for record in records:
        stage(record)
    alone = time.process_time() - start
    with tempfile.TemporaryDirectory() as folder:
        rows = [record.image for record in records]
        engine = Engine.create(Path(folder), rows, Recipe(name="speed", stages=(stage,)), "scenes")
        engine.add_origins(origins.values())
        by_image = {record.image.sha256: record.annotations for record in records}
        for number in engine.shards:
            of_shard = [each for image in engine.images_of(number) for each in by_image[image.sha256]]
            engine.write_part(0, number, "speed", [], of_shard)
        start = time.process_time()
        filter_annotations(engine)
        whole = time.process_time() - start
    annotations = sum(len(record.annotations) for record in records)
    return {
        "images": images, "annotations": annotations, "stage, images per CPU second": images / alone,
        "folder, images per CPU second": images / whole,
    }  # fmt: skip


def _line(row: Mapping[str, Any]) -> str:
    measures = [
        f"{name} {value['value']:.1f} [{value['low']:.1f}, {value['high']:.1f}]"
        for name, value in row.items()
        if isinstance(value, dict) and "value" in value
    ]
    gains = [
        f"{name}: F1 {value['F1']['value']:+.2f} [{value['F1']['low']:+.2f}, {value['F1']['high']:+.2f}], recall "
        f"{value['recall']['value']:+.2f}"
        for name, value in row.items()
        if isinstance(value, dict) and "F1" in value and name != "F1"
    ]
    named = [f"{row[key]}" for key in ("noise", "specialists", "origins", "arm") if key in row]
    return " | ".join([" ".join(named), ", ".join(measures), *gains])


def main() -> None:
    """Measures, prints and writes what `--only` names, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of engine.json")
    parser.add_argument(
        "--images", type=int, default=1200, help="number of scenes to tune on, and as many to report on"
    )
    parser.add_argument("--only", choices=("filters", "confusion", "speed"), help="one part (default: all)")
    given = parser.parse_args()
    record: dict[str, Any] = {"provenance": provenance(["benchmarks/engine.py", "--images", str(given.images)])}
    parts = {"filters": filters, "confusion": confusion}
    for name, part in parts.items():
        if given.only in (None, name):
            record[name] = []
            for row in part(given.images):
                print(_line(row), flush=True)
                record[name].append(row)
    if given.only in (None, "speed"):
        record["speed"] = speed(given.images)
        print(record["speed"])
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "engine.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
