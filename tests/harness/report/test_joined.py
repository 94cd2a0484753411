"""Which runs stand beside published figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import baselines
from harness import store
from harness.core import Estimate, Run
from harness.published import WEIGHTS, tables
from harness.report.joined import why_not
from tests.harness.report.runs import a_run


def with_provenance(**changes: Any) -> Run:
    run = a_run()
    kept = {key: value for key, value in {**run.provenance, **changes}.items() if value is not None}
    return replace(run, provenance=kept)


def test_run_of_published_weights_on_the_published_split_is_comparable() -> None:
    assert why_not(a_run()) == ""
    assert why_not(with_provenance(**{"weights from": WEIGHTS["florence2-l"], "weights revision": None})) == ""


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (a_run(data="miniature"), "the embedded benchmark"),
        (a_run(model="mine"), "no source publishes mine"),
        (a_run(limit=6), "a sample of at most 6 images"),
        (replace(a_run(), status="incomplete"), "the run is incomplete"),
        (with_provenance(entry="florence2-nano"), "its model is florence2-nano"),
        (with_provenance(entry=None), "its model is None"),
        (
            with_provenance(**{"weights from": "weights/nano"}),
            "its weights are weights/nano, published are microsoft/Florence-2-large@f0acedb",
        ),
        (
            with_provenance(**{"weights revision": "microsoft/Florence-2-large@main"}),
            "its weights are microsoft/Florence-2-large@main, published are microsoft/Florence-2-large@f0acedb",
        ),
        (
            with_provenance(**{"weights revision": None}),
            "the record does not name its weights; published are microsoft/Florence-2-large@f0acedb",
        ),
        (with_provenance(**{"published counts": None}), "its data was not compared with the published counts"),
        (
            with_provenance(**{"published counts": "6 images (published: 5,000)"}),
            "its data has 6 images (published: 5,000)",
        ),
        (with_provenance(contradicted="x"), "its kept answers contradict the record"),
        (
            replace(store.sealed(a_run()), metrics={"CIDEr": Estimate(99.0, None, None, 5000)}),
            "the record was edited after scoring",
        ),
    ],
)  # fmt: skip
def test_run_that_is_not_comparable_says_why(run: Run, reason: str) -> None:
    assert why_not(run) == reason


def test_run_of_clip_is_comparable_with_the_bare_caption_only() -> None:
    """open_clip's figures; CLIP's own template gives one or two points more, so it is another protocol."""
    run = a_run(model="clip-vit-l-14")
    bare = replace(run, spec=replace(run.spec, fingerprint="CLIPModel:1:float32 clip:v1 template '{}'"))
    assert why_not(bare) == ""
    paper = replace(run, spec=replace(run.spec, fingerprint="CLIPModel:1:float32 clip:v1 template 'a photo of {}'"))
    assert why_not(paper) == "its published figures are with template '{}'"


def test_published_weights_are_those_of_the_models_in_the_tables() -> None:
    named = {ours.model for spec in tables().values() for ours in spec.ours if ours.published_as}
    assert {name: f"{baselines.MODELS[name].repo}@{baselines.MODELS[name].revision}" for name in named} == WEIGHTS
