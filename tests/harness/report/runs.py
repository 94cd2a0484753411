"""Runs of the COCO caption task, for tests of tables."""

from __future__ import annotations

from typing import Any

from harness.core import Estimate, Run, RunSpec


def a_run(model: str = "florence2-l", value: float = 136.1, **more: Any) -> Run:
    """A complete zero-shot run whose CIDEr is `value`, plus or minus 1; `more` replaces fields of the spec."""
    fields = {"data": "coco", "task": "coco_caption", "version": 1, "split": "test", "protocol": "zero_shot", **more}
    spec = RunSpec(data_hash="0", model=model, fingerprint="f", **fields)
    told = {"date": "2026-11-26T08:00:00Z", "model": {"device": "cuda:0"}}
    metrics = {"CIDEr": Estimate(value, value - 1, value + 1, 5000)}
    return Run(schema=1, id="abc", spec=spec, status="complete", headline="CIDEr", metrics=metrics, provenance=told)
