"""Object Detection in the Wild, and Roboflow100-VL: small data sets, whose objects a model finds by category name.

The metric is COCO's box AP of each data set, and the mean over data sets.  The mean is computed only where all data
sets are present.  The data sets, files and splits are GLIP's (configs/odinw_13 and odinw_35).  `val` is the split of
GLIP's evaluation (`minival` for the large data sets); `test` is that of ELEVATER.  Numbers on `val` and `test` are not
comparable.  A category has the name in its annotation file; with `--prompt find=said` it has the wording of GLIP's
overrides and caption prompts.

Roboflow100-VL (arXiv:2505.20612) has 100 data sets in seven domains, with the names and domains of its package
`rf100vl`.  Its zero-shot protocol evaluates the split `test`, and the mean over data sets is over all or one domain.
The package publishes no evaluator: AP is COCOeval's, with its 100 detections for each category and image.  Papers that
count 500 report other numbers where an image has more objects.

Intervals resample the images of each data set separately.
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
    Reading,
    Row,
    Sample,
    Source,
    Task,
    Variant,
)
from harness.data import detection as files
from harness.errors import DataError
from harness.metrics.coco_eval import Engine
from harness.metrics.detection import POLICY, Detector, OverDataSets, score
from harness.metrics.labels import detections_in

ORIGIN = "https://github.com/microsoft/GLIP (odinw, one archive for each data set)"
RF100_VL_ORIGIN = "https://github.com/roboflow/rf100-vl (download_rf100vl, with a free account of Roboflow)"


@dataclass(frozen=True, slots=True)
class DataSet:
    """One data set of the benchmark.  Paths are below the benchmark's folder."""

    name: str
    annotations: Mapping[str, str]  # split to annotation file
    images: Mapping[str, str]  # split to folder of images
    said: Mapping[str, str]  # category to GLIP's wording for it
    val_is: str = "val"  # the data set's own name of the split `val`
    domain: str = ""  # of Roboflow100-VL, whose files may have the category 0 of Roboflow's exports


def read_table() -> tuple[tuple[DataSet, ...], tuple[DataSet, ...]]:
    """The 13 and the 35 data sets, from odinw.json."""
    table = json.loads(Path(__file__).with_name("odinw.json").read_text())
    every = [DataSet(row["name"], row["annotations"], row["images"], row["said"], row["val_is"]) for row in table]
    return tuple(data for data, row in zip(every, table, strict=True) if row["among_13"]), tuple(every)


def read_rf100_vl() -> tuple[DataSet, ...]:
    """The 100 data sets of Roboflow100-VL in order of their names, from rf100_vl.json."""
    domains = json.loads(Path(__file__).with_name("rf100_vl.json").read_text())
    return tuple(_of_rf100_vl(name, domain) for name, domain in sorted((n, d) for d in domains for n in domains[d]))


def _of_rf100_vl(name: str, domain: str) -> DataSet:
    return DataSet(name, {"test": f"{name}/test/_annotations.coco.json"}, {"test": f"{name}/test"}, {}, domain=domain)


def load(source: Source, sets: Sequence[DataSet], folder: str, origin: str = ORIGIN) -> Iterator[Sample[Objects]]:
    """One sample for each image, data set by data set.

    `source.annotations` is a folder with the files below `folder`.  DataError where a data set is missing, since a mean
    over the others would be another benchmark's.
    """
    root = source.annotations or source.root / folder
    missing = [data.name for data in sets if not (root / data.annotations[source.split]).is_file()]
    if missing:
        raise DataError(
            f"{root} lacks {len(missing)} of {len(sets)} data sets ({', '.join(missing[:3])}); a mean over the others "
            f"would be another benchmark's; they come from {origin}"
        )
    for data in sets:
        path = root / data.annotations[source.split]
        for image in files.read(path, source.origin(origin), source.reading, placeholder=bool(data.domain)):
            phrases = tuple(replace(phrase, said=data.said.get(phrase.text, "")) for phrase in image.phrases)
            key = f"{folder}/{data.images[source.split]}/{image.file_name}"
            question = Question(key, image.size, "find", "", phrases)
            yield Sample(f"{data.name}/{image.id}", question, image.objects, key, (data.name,))


# ---------------------------------------------------------------------------- predictions


def read_folder(path: Path, samples: Sequence[Sample[Any]], reading: Reading | None = None) -> dict[str, Answer]:
    """The answers of a folder with one result file for each data set; `reading` as for a single file.

    DataError where a file is missing or has the name of no data set.
    """
    by_set: dict[str, list[Sample[Any]]] = {}
    for sample in samples:
        by_set.setdefault(sample.groups[0], []).append(sample)
    present = {file.stem: file for file in sorted(path.glob("*.json"))} if path.is_dir() else {}
    if present.keys() != by_set.keys():
        odd = sorted(present.keys() ^ by_set.keys())
        raise DataError(
            f"{path} must be a folder of {len(by_set)} files, each named after a data set (Aquarium.json, ...); "
            f"missing or unknown: {', '.join(odd[:3])}{', ...' if odd[3:] else ''}"
        )
    answers: dict[str, Answer] = {}
    for name, of_set in by_set.items():
        answers |= files.read_results(present[name], of_set, reading)
    return answers


def write_folder(path: Path, rows: Sequence[Row[Any]]) -> None:
    """Writes a folder with one result file for each data set."""
    path.mkdir(parents=True, exist_ok=True)
    results = files.results(partial(detections_in, synonyms={}))
    for name in dict.fromkeys(row.sample.groups[0] for row in rows):
        results.write(path / f"{name}.json", [row for row in rows if row.sample.groups[0] == name])


RESULTS = PredictionFormat(
    "a folder of COCO result files, each named after its data set (Aquarium.json, ...)",
    read_folder,
    write_folder,
    folder=True,
    read_leniently=read_folder,
)


# ---------------------------------------------------------------------------- tasks


def scored_by(sets: Sequence[DataSet], engine: Engine) -> Mapping[str, Any]:
    """The fields of a task that depend on the engine that computes AP."""
    detector = Detector({}, engine, _policy(sets))
    single = detector.metrics()
    names = tuple(data.name for data in sets)
    averaged = ("mAP", "AP50", "AP75", "AR100", "mAP constant")
    return {
        "metrics": {
            **{name: OverDataSets(single[name], names, "mean") for name in averaged},
            "mAP median": OverDataSets(single["mAP"], names, "median"),
            **{f"mAP {domain}": OverDataSets(single["mAP"], of, "mean") for domain, of in _domains(sets).items()},
            **{name: single[name] for name in ("precision", "recall", "F1")},
        },
        "by_group": {name: single[name] for name in ("mAP", "AP50")},
        "corpus": detector.corpus,
        "remarks": partial(_remarks, detector=detector),
    }


def _remarks(rows: Sequence[Row[Objects]], detector: Detector) -> list[str]:
    """The detector's remarks on each data set, after the set's name."""
    by_set: dict[str, list[Row[Objects]]] = {}
    for row in rows:
        by_set.setdefault(row.sample.groups[0], []).append(row)
    return [f"{name}: {remark}" for name, of_set in by_set.items() for remark in detector.remarks(of_set)]


def _domains(sets: Sequence[DataSet]) -> Mapping[str, tuple[str, ...]]:
    """The names of the data sets of each domain; empty for a benchmark without domains."""
    domains = sorted({data.domain for data in sets} - {""})
    return {domain: tuple(data.name for data in sets if data.domain == domain) for domain in domains}


def _policy(sets: Sequence[DataSet]) -> str:
    """The policy text for records: the order of boxes, and the split that `val` is for each data set."""
    minival = [data.name for data in sets if data.val_is == "minival"]
    val = f"val is the split of GLIP's evaluation: minival of {', '.join(minival)}, val of the others; "
    return (val if minival else "") + POLICY


def task(
    name: str,
    about: str,
    sets: Sequence[DataSet],
    splits: tuple[str, ...],
    folder: str,
    seen: str,
    *,
    origin: str = ORIGIN,
    version: int = 2,
) -> Task[Objects]:
    """A benchmark of several data sets under one folder."""
    return Task(
        name=name,
        version=version,
        about=about,
        kind="find",
        splits=splits,
        load=partial(load, sets=sets, folder=folder, origin=origin),
        score=score,
        **scored_by(sets, "pycocotools"),
        headline="mAP",
        predictions=RESULTS,
        files=tuple(
            need
            for data in sets
            for split in splits
            for need in (
                FileNeed(f"{folder}/{data.annotations[split]}", origin, (split,)),
                FileNeed(f"{folder}/{data.images[split]}", origin, (split,)),
            )
        ),
        seen_in_training=seen,
        intervals=Intervals(resamples=200, stratified=True),
        variants={"hotcoco": Variant(lambda task: replace(task, **scored_by(sets, "hotcoco")))},
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
TINY_RF100_VL = tuple(
    _of_rf100_vl(name, domain)
    for name, domain in (("balloons-2", "Misc"), ("ice-creams", "Misc"), ("snowmen-and-birds", "Flora/Fauna"))
)
_TINY_SEEN = "The project draws the images.  florence2-nano was not trained on their categories."
_SEEN = (
    "Some of the images (PascalVOC, Open Images) are in detection data that models are trained on.  Not all papers "
    "name the split of their figures: GLIP's configuration evaluates on val as it is defined here, ELEVATER on test."
)
TASKS: tuple[Task[Any], ...] = (
    task("odinw13", "Object Detection in the Wild: 13 data sets", THIRTEEN, ("val", "test"), "odinw", _SEEN),
    task("odinw35", "Object Detection in the Wild: 35 data sets", THIRTY_FIVE, ("val", "test"), "odinw", _SEEN),
    task(
        "odinw_miniature",
        "three data sets of the embedded benchmark in ODinW's format, with categories that no training scene has",
        TINY,
        ("val",),
        "odinw_miniature",
        _TINY_SEEN,
        origin=EMBEDDED,
    ),
    task(
        "rf100_vl",
        "Roboflow100-VL: 100 data sets of seven domains",
        read_rf100_vl(),
        ("test",),
        "rf100_vl",
        "The data sets are not among those that the paper of Florence-2 names.  Some are versions of older public data "
        "sets (TACO, DeepPCB, Global Wheat Head 2021).",
        origin=RF100_VL_ORIGIN,
        version=1,
    ),
    task(
        "rf100_vl_miniature",
        "three data sets of the embedded benchmark in Roboflow100-VL's format, as in odinw_miniature",
        TINY_RF100_VL,
        ("test",),
        "rf100_vl_miniature",
        _TINY_SEEN,
        origin=EMBEDDED,
        version=1,
    ),
)
