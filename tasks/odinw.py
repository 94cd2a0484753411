"""Object Detection in the Wild: small data sets of unlike things, 13 or 35 of them, found by their categories' names.

Marked as COCO box AP of each data set, and their plain mean, recomputed here from those; it is given only where every
data set is there.  The data sets, files and splits are GLIP's (configs/odinw_13 and odinw_35): `val` is what GLIP tests
on (its `minival` for the large ones), `test` what ELEVATER does; numbers of the two are not comparable.  A category's
name is that of its annotation file; `--prompt find=said` words it as GLIP's overrides and caption prompts do.

Intervals resample the images of each data set apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from harness.core import (
    EMBEDDED,
    Answer,
    FileNeed,
    Intervals,
    Objects,
    PredictionFormat,
    Question,
    Row,
    Sample,
    Source,
    Task,
    Variant,
)
from harness.data import detection as files
from harness.errors import DataError
from harness.metrics.coco_eval import Engine
from harness.metrics.detection import POLICY, Detector, OverDataSets, found_in, score

ORIGIN = "https://github.com/microsoft/GLIP (odinw, one archive a data set)"


@dataclass(frozen=True, slots=True)
class DataSet:
    """One of them: by split, its annotation file and image folder below the benchmark's; `said` words a category."""

    name: str
    annotations: Mapping[str, str]
    images: Mapping[str, str]
    said: Mapping[str, str]
    val_is: str = "val"


def read_table() -> tuple[tuple[DataSet, ...], tuple[DataSet, ...]]:
    """The 13 and the 35, from odinw.json."""
    table = json.loads(Path(__file__).with_name("odinw.json").read_text())
    every = [DataSet(one["name"], one["annotations"], one["images"], one["said"], one["val_is"]) for one in table]
    among = [one["among_13"] for one in table]
    return tuple(one for one, chosen in zip(every, among, strict=True) if chosen), tuple(every)


def load(source: Source, sets: Sequence[DataSet], folder: str) -> Iterator[Sample[Objects]]:
    """A sample an image, data set by data set; `source.annotations` is a folder that holds what is below `folder`.

    DataError where a data set is missing: no mean is of fewer than all.
    """
    root = source.annotations or source.root / folder
    missing = [one.name for one in sets if not (root / one.annotations[source.split]).is_file()]
    if missing:
        raise DataError(
            f"{root} lacks {len(missing)} of {len(sets)} data sets ({', '.join(missing[:3])}); a mean over the others "
            f"would be of another benchmark; they come from {ORIGIN}"
        )
    for one in sets:
        for image in files.read(root / one.annotations[source.split], ORIGIN):
            phrases = tuple(replace(phrase, said=one.said.get(phrase.text, "")) for phrase in image.phrases)
            where = f"{folder}/{one.images[source.split]}/{image.file_name}"
            question = Question(where, image.size, "find", "", phrases)
            yield Sample(f"{one.name}/{image.id}", question, image.objects, where, (one.name,))


# ---------------------------------------------------------------------------- predictions


def read_folder(path: Path, samples: Sequence[Sample[Any]]) -> dict[str, Answer]:
    """A result file for each data set; DataError where one is missing, or is of none."""
    by_set: dict[str, list[Sample[Any]]] = {}
    for sample in samples:
        by_set.setdefault(sample.groups[0], []).append(sample)
    there = {file.stem: file for file in sorted(path.glob("*.json"))} if path.is_dir() else {}
    if there.keys() != by_set.keys():
        odd = sorted(there.keys() ^ by_set.keys())
        raise DataError(
            f"{path} should be a folder of {len(by_set)} files, a data set's name and .json each; missing, or of no "
            f"data set: {', '.join(odd[:3])}{', ...' if odd[3:] else ''}"
        )
    answers: dict[str, Answer] = {}
    for name, theirs in by_set.items():
        answers |= files.read_results(there[name], theirs)
    return answers


def write_folder(path: Path, rows: Sequence[Row[Any]]) -> None:
    """A result file for each data set."""
    path.mkdir(parents=True, exist_ok=True)
    for name in dict.fromkeys(row.sample.groups[0] for row in rows):
        found = files.results(FOUND)
        found.write(path / f"{name}.json", [row for row in rows if row.sample.groups[0] == name])


FOUND = partial(found_in, synonyms={})
RESULTS = PredictionFormat(
    "a folder of COCO result files, each called after its data set (Aquarium.json, ...)",
    read_folder,
    write_folder,
    folder=True,
)


# ---------------------------------------------------------------------------- tasks


def marked_by(sets: Sequence[DataSet], engine: Engine) -> Mapping[str, Any]:
    """The fields of a task that depend on how AP is computed."""
    detector = Detector({}, engine, _policy(sets))
    ones = detector.metrics()
    names = tuple(one.name for one in sets)
    over = {name: OverDataSets(ones[name], names, "mean") for name in ("mAP", "AP50", "AP75", "AR100", "mAP constant")}
    return {
        "metrics": {
            **over,
            "mAP median": OverDataSets(ones["mAP"], names, "median"),
            **{name: ones[name] for name in ("precision", "recall", "F1")},
        },
        "by_group": {name: ones[name] for name in ("mAP", "AP50")},
        "corpus": detector.corpus,
    }


def _policy(sets: Sequence[DataSet]) -> str:
    """How boxes are ordered, and which split val is, which differs among data sets."""
    lesser = [one.name for one in sets if one.val_is == "minival"]
    val = f"val is what GLIP's configuration tests on: minival of {', '.join(lesser)}, val of the others; "
    return (val if lesser else "") + POLICY


def task(
    name: str, about: str, sets: Sequence[DataSet], splits: tuple[str, ...], folder: str, seen: str
) -> Task[Objects]:
    """A benchmark of several data sets under one folder."""
    return Task(
        name=name,
        version=2,
        about=about,
        splits=splits,
        load=partial(load, sets=sets, folder=folder),
        score=score,
        **marked_by(sets, "pycocotools"),
        headline="mAP",
        predictions=RESULTS,
        files=tuple(
            need
            for one in sets
            for split in splits
            for need in (
                FileNeed(f"{folder}/{one.annotations[split]}", EMBEDDED if sets is TINY else ORIGIN, (split,)),
                FileNeed(f"{folder}/{one.images[split]}", EMBEDDED if sets is TINY else ORIGIN, (split,)),
            )
        ),
        seen_in_training=seen,
        intervals=Intervals(resamples=200, stratified=True),
        variants={"hotcoco": Variant(lambda task: replace(task, **marked_by(sets, "hotcoco")))},
    )


THIRTEEN, THIRTY_FIVE = read_table()
TINY = tuple(
    DataSet(name, {"val": f"{name}/valid/annotations_without_background.json"}, {"val": f"{name}/valid"}, said)
    for name, said in (
        ("SnowmenAndBirds", {"snowman": "white thing", "bird": "blue thing"}),
        ("Balloons", {"balloon": "red thing"}),
        ("IceCreams", {"ice cream": "pink thing"}),
    )
)
_SEEN = (
    "Its images come from many places; some (PascalVOC, OpenImages) are in detection data that models train on.  "
    "Papers do not all say which split their figures are of: GLIP's configuration tests on what is val here, ELEVATER "
    "on test."
)
TASKS: tuple[Task[Any], ...] = (
    task("odinw13", "Object Detection in the Wild: 13 data sets", THIRTEEN, ("val", "test"), "odinw", _SEEN),
    task("odinw35", "Object Detection in the Wild: 35 data sets", THIRTY_FIVE, ("val", "test"), "odinw", _SEEN),
    task(
        "odinw_miniature",
        "the embedded benchmark's three data sets of things that no training scene has, in ODinW's files",
        TINY,
        ("val",),
        "odinw_miniature",
        "Drawn by the project; florence2-nano has seen none of its categories.",
    ),
)
