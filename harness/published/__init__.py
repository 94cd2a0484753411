"""Published figures, each with its source: `published.csv`, read once asked for."""

from __future__ import annotations

import csv
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

CSV = Path(__file__).with_name("published.csv")
# Our task and split to what the csv calls them; nothing is published of TextVQA's and VizWiz's val, and a server marks
# test-dev.
JOINED: dict[tuple[str, str], tuple[str, str]] = {
    ("coco_caption", "test"): ("COCO caption", "Karpathy test"),
    ("nocaps", "val"): ("NoCaps caption", "val"),
    ("textcaps", "val"): ("TextCaps caption", "val"),
    ("coco_detection", "val2017"): ("COCO detection", "val2017"),
    ("flickr30k", "test"): ("Flickr30k Entities phrase grounding", "test"),
    ("flickr30k", "val"): ("Flickr30k Entities phrase grounding", "val"),
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
}
METRICS = {("odinw13", "mAP"): "AP average", ("odinw35", "mAP"): "AP average", ("odinw35", "mAP median"): "AP median"}


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of one paper; `value` in the units it printed (percent, CIDEr x 100), `text` as it printed it."""

    table: str
    model: str
    parameters: str
    protocol: str
    training: str
    task: str
    split: str
    metric: str
    text: str
    source: str
    locator: str
    confidence: str  # high, or medium: quoted second-hand, read off a figure, or inferred

    @property
    def value(self) -> float:
        """The number; ValueError where the paper says no more than "about"."""
        return float(self.text)

    @property
    def exact(self) -> bool:
        """Whether a number is printed, and not "about" one."""
        return not self.text.startswith("~")


def figures(task: str, split: str, metric: str) -> list[Figure]:
    """What is published for one of our tasks, best first; empty where nothing is."""
    wanted = (*JOINED.get((task, split), ("", "")), METRICS.get((task, metric), metric))
    found = [one for one in every() if (one.task, one.split, one.metric) == wanted and one.exact]
    return sorted(found, key=lambda figure: -figure.value)


def ours(task: str, split: str, metric: str) -> tuple[str, str, str] | None:
    """Our task, split and metric for what the csv calls a task; None where it is none of ours."""
    for (name, part), (published, of) in JOINED.items():
        if (published, of) == (task, split):
            names = {theirs: mine for (one, mine), theirs in METRICS.items() if one == name}
            return name, part, names.get(metric, metric)
    return None


@cache
def every() -> tuple[Figure, ...]:
    """All of `published.csv`, in its order."""
    with CSV.open(encoding="utf-8", newline="") as stream:
        return tuple(
            Figure(
                row["table"],
                row["model"],
                row["params"],
                row["protocol"],
                row["training"],
                row["task"],
                row["split"],
                row["metric"],
                row["value"],
                row["source"],
                row["source_locator"],
                row["confidence"],
            )
            for row in csv.DictReader(stream)
        )


def tables() -> dict[str, dict[str, Any]]:
    """All of `tables.toml`: title, notes and so on, by the key that rows of `published.csv` carry."""
    return tomllib.loads(CSV.with_name("tables.toml").read_text(encoding="utf-8"))


def claims() -> list[dict[str, str]]:
    """All of `claims.csv`: what a summary of the paper says, and what the paper says."""
    with CSV.with_name("claims.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
