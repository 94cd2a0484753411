"""Published figures, each with its source: `published.csv`, read once asked for."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

CSV = Path(__file__).with_name("published.csv")
JOINED: dict[tuple[str, str], tuple[str, str]] = {
    ("coco_caption", "test"): ("COCO caption", "Karpathy test"),
    ("nocaps", "val"): ("NoCaps caption", "val"),
    ("textcaps", "val"): ("TextCaps caption", "val"),
    ("coco_detection", "val2017"): ("COCO detection", "val2017"),
    ("flickr30k", "test"): ("Flickr30k Entities phrase grounding", "test"),
    ("flickr30k", "val"): ("Flickr30k Entities phrase grounding", "val"),
    ("vqav2", "test-dev"): ("VQAv2", "test-dev"),
    ("odinw13", "val"): ("ODinW-13 detection", "test"),  # what GLIP's configuration tests on, and most papers with it
    ("odinw35", "val"): ("ODinW-35 detection", "test"),
    **{
        (task, split): (name, split)
        for task, name, splits in (
            ("refcoco", "RefCOCO REC", ("val", "testA", "testB")),
            ("refcoco_plus", "RefCOCO+ REC", ("val", "testA", "testB")),
            ("refcocog", "RefCOCOg REC", ("val", "test")),
            ("refcoco_res", "RefCOCO RES", ("val",)),
            ("refcoco_plus_res", "RefCOCO+ RES", ("val",)),
            ("refcocog_res", "RefCOCOg RES", ("val",)),
        )
        for split in splits
    },
}  # our task and split to what the csv calls them; no figure is published of the others (TextVQA val, VizWiz val)
METRICS = {("odinw13", "mAP"): "AP average", ("odinw35", "mAP"): "AP average", ("odinw35", "mAP median"): "AP median"}


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of one paper; `value` in the units it printed (percent, CIDEr x 100)."""

    model: str
    parameters: str
    protocol: str
    task: str
    split: str
    metric: str
    value: float
    source: str
    locator: str


def figures(task: str, split: str, metric: str) -> list[Figure]:
    """What is published for one of our tasks, best first; empty where nothing is."""
    wanted = (*JOINED.get((task, split), ("", "")), METRICS.get((task, metric), metric))
    found = [figure for figure in _read() if (figure.task, figure.split, figure.metric) == wanted]
    return sorted(found, key=lambda figure: -figure.value)


def _read() -> list[Figure]:
    with CSV.open(encoding="utf-8", newline="") as stream:
        return [
            Figure(
                row["model"],
                row["params"],
                row["protocol"],
                row["task"],
                row["split"],
                row["metric"],
                float(row["value"]),
                row["source"],
                row["source_locator"],
            )
            for row in csv.DictReader(stream)
            if _is_number(row["value"])
        ]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
