"""Published figures, each with its source: `published.csv`, read once asked for."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

CSV = Path(__file__).with_name("published.csv")
RESULTS_OF_TASKS = {
    "refcoco": "RefCOCO REC",
    "refcoco_plus": "RefCOCO+ REC",
    "refcocog": "RefCOCOg REC",
    "refcoco_res": "RefCOCO RES",
    "refcoco_plus_res": "RefCOCO+ RES",
    "refcocog_res": "RefCOCOg RES",
}  # our names for what the csv calls `task`


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
    wanted = (RESULTS_OF_TASKS.get(task), split, metric)
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
