"""Runs with samples for tests of the viewer, made by hand: no model, no data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from harness.core import Answer, Boxes, Estimate, Question, Row, Run, RunSpec, Sample, Score, Size
from harness.florence2 import locations
from harness.report.page import Shown
from harness.viewer.given import Listed
from harness.viewer.static import Fixed
from tasks import TASKS

BINS = "<loc_12><loc_12><loc_375><loc_375>"  # on 160 pixels: (2.0, 2.0, 60.08, 60.08), the centres of these bins
BOX = (2.0, 2.0, 60.08, 60.08)


def picture(root: Path) -> Path:
    """A folder with the one picture of all samples, x.png, of 160 x 160 pixels."""
    root.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (160, 160), (90, 120, 150)).save(root / "x.png")
    return root


def run_of(model: str, count: int = 0, **changes: Any) -> Run:
    """A run of RefCOCO whose headline is 60 plus the length of the model's name, with an interval of 10 points."""
    fields = {"data": "coco", "task": "refcoco", "version": TASKS["refcoco"].version, "split": "val", **changes}
    spec = RunSpec(data_hash="0", model=model, fingerprint="f", **fields)
    value = 60.0 + len(model)
    return Run(
        schema=2, id=f"id-{model}", spec=spec, status="complete", headline="Acc@0.5",
        metrics={"Acc@0.5": Estimate(value, value - 5, value + 5, count)},
        counts={"answered": count, "samples": count, "images": count},
        timings={"answers/s": 3.0, "images/s": 3.0, "tokens/s": 9.0, "seconds": 1.0},
        provenance={"date": "2026-11-26T08:00:00Z", "command": f"python -m harness run --model {model}"},
    )  # fmt: skip


def shown_of(model: str, root: Path, count: int = 12, text: str = "thing") -> Shown:
    """A run with one box per sample; every third is wrong, every fifth is unparsable.

    The length of the model's name decides which are wrong.
    """
    rows: list[Row[Any]] = []
    for place in range(count):
        question = Question("x.png", Size(160, 160), "refer", text=f"{text} {place}")
        sample = Sample(f"s{place}", question, Boxes(((1.0, 1.0, 60.0, 60.0),), ("",)), f"i{place}")
        wrong, readable = (place + len(model)) % 3 == 0, place % 5 != 0
        value = Boxes((BOX,), ("car",), (0.9 - place / 100,), (1.0,)) if readable else None
        raw = f"car{BINS}" if readable else f"{text}?"
        recorded = {"prompts": (f"Where is {text} {place}?",), "log_probs": tokens_of(raw)}
        answer = Answer((raw,), value, tokens=5, seconds=0.25, **recorded)  # type: ignore[arg-type]
        score = {"hit": float(readable and not wrong), "iou": 0.05 if wrong or not readable else 0.8}
        rows.append(Row(sample, answer, Score(score, readable=readable)))
    return Shown(run_of(model, count), TASKS["refcoco"], tuple(rows), root)


def tokens_of(raw: str) -> tuple[tuple[tuple[str, float], ...], ...]:
    """Tokens of an output: log-probabilities of -0.5, -1, -1.5 and so on."""
    texts = [item.text for item in locations.items(raw)] + ["</s>"]
    return (tuple((text, -0.5 * (place + 1)) for place, text in enumerate(texts)),)


def library(shown: Sequence[Shown], pictures: int = 100) -> Fixed:
    """The library of these runs as `report` writes them."""
    return Fixed([(listed(item), item, "") for item in shown], pictures)


def listed(shown: Shown) -> Listed:
    """The entry of a run in a list of runs; its folder's name is wider than a phone."""
    return Listed(shown.run, shown.run.status, f"/{'long-folder-name' * 4}/results/{shown.run.id}")


def renamed(shown: Shown, **changes: Any) -> Shown:
    """The run with other fields of its spec."""
    return replace(shown, run=replace(shown.run, spec=replace(shown.run.spec, **changes)))
