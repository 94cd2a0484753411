"""Runs and scored rows for tests of reports."""

from __future__ import annotations

from typing import Any

from harness.core import Answer, Boxes, Estimate, Question, Row, Run, RunSpec, Sample, Score, Size
from harness.published import WEIGHTS

IMAGE_SIZE = Size(640, 480)


def published_source(model: str) -> dict[str, str]:
    """What the record of a run with published weights on a whole published split says."""
    return {"entry": model, "weights revision": WEIGHTS.get(model, ""), "published counts": "same"}


def a_run(model: str = "florence2-l", value: float = 136.1, **changes: Any) -> Run:
    """A complete zero-shot run of COCO captioning whose CIDEr is `value` plus or minus 1; `changes` are spec fields."""
    fields = {"data": "coco", "task": "coco_caption", "version": 1, "split": "test", "protocol": "zero_shot", **changes}
    spec = RunSpec(data_hash="0", model=model, fingerprint="f", **fields)
    provenance = {"date": "2026-11-26T08:00:00Z", "model": {"device": "cuda:0"}, **published_source(model)}
    metrics = {"CIDEr": Estimate(value, value - 1, value + 1, 5000)}
    return Run(
        schema=1, id="abc", spec=spec, status="complete", headline="CIDEr", metrics=metrics, provenance=provenance
    )


def a_box_run(data: str = "coco", model: str = "florence2-l", value: float = 55.25, **changes: Any) -> Run:
    """A complete run of RefCOCO val with Acc@0.5 and `unreadable`; `changes` are fields of the run."""
    spec = RunSpec(data=data, data_hash="0", task="refcoco", version=1, split="val", model=model, fingerprint="f")
    metrics = {"Acc@0.5": Estimate(value, value - 1.25, value + 1.25, 10), "unreadable": Estimate(0.0, None, None, 10)}
    fields = {"counts": {"answered": 10, "samples": 10, "images": 4}, "metrics": metrics, **changes}
    fields.setdefault("provenance", published_source(model))
    return Run(schema=1, id=f"{data}{model}", spec=spec, status="complete", headline="Acc@0.5", **fields)


def box_row(place: int, side: float, overlap: float, score: float | None, empty: bool = False) -> Row[Any]:
    """A row of a referring expression with a square target of `side` pixels; two rows share an image.

    `overlap` is the IoU of the prediction and `score` its confidence; `empty` is an unparsable prediction.
    """
    sample: Sample[Any] = Sample(
        f"s{place}", Question("x.png", IMAGE_SIZE, "refer", "it"), Boxes(((0.0, 0.0, side, side),)), f"i{place // 2}"
    )
    scores = None if score is None else (score,)
    value = None if empty else Boxes(((0.0, 0.0, 9.0, 9.0),), ("",), scores)
    return Row(sample, Answer(("x",), value), Score({"iou": overlap}, value is not None))
