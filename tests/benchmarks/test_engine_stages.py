"""The worth of the stages `outlines` and `choice`: one image counted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.engine_stages import judged, told
from harness.core import Polygons, Ring, Size
from harness.data_engine.records import Annotation, Verdict
from tasks.miniature.engine_world import Thing, Truth
from tests.harness.data_engine.engines import IMAGE, ONE, record, region
from tests.harness.data_engine.rows import text

RINGS: tuple[Ring, ...] = (((10, 10), (50, 10), (50, 50), (10, 50)),)
TRUTH = Truth(Size(100, 80), (Thing("cat", "red", True, (10.0, 10.0, 50.0, 50.0), RINGS),))
REGION = region((10.0, 10.0, 50.0, 48.0), "dog")


def test_outlines_texts_and_names_are_judged_by_the_thing_in_the_box() -> None:
    """The label is wrong; of two texts, the right one is kept; of two outlines, the small one (1/16) is dropped."""
    good, small = (
        Annotation(image=IMAGE.sha256, kind="outline", value=Polygons(rings), origin=ONE.id, parents=(REGION.id,))
        for rings in (RINGS, (((10, 10), (20, 10), (20, 20), (10, 20)),))
    )  # fmt: skip
    right, wrong = (
        replace(text(said, parents=(REGION.id,)), image=IMAGE.sha256) for said in ("a red cat", "a red dog")
    )
    verdicts = [
        Verdict(annotation=each.id, status="dropped", stage="outlines.box") for each in (small, wrong)
    ]  # fmt: skip
    told_ = record(REGION, good, small, right, wrong).extended(verdicts=verdicts)
    assert sorted(judged(told_, TRUTH)) == [
        ("labels", False, True), ("names", True, True), ("outlines", False, False), ("outlines", True, True),
        ("texts", False, False), ("texts", True, True),
    ]  # fmt: skip


def test_shares_are_of_counts() -> None:
    """Two images: 3 of 4 right, of which 2 are kept; 1 of the 2 that are not kept is wrong."""
    table = np.array([[1.0, 2.0, 1.0, 2.0], [1.0, 1.0, 1.0, 2.0]])
    names = np.array([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    values = [
        estimate.value for _, estimate in told({"outlines": table, "texts": table, "labels": names, "names": names})
    ]
    assert values == [75.0, 100.0, 100 * 2 / 3, 50.0] * 2 + [50.0, 50.0]
