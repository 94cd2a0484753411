"""The way from raw to kept of two images counted by hand, and agreement in both directions."""

from __future__ import annotations

from dataclasses import replace

from harness.core import Size
from harness.data_engine.records import ImageRow, Origin, Record, Verdict
from harness.data_engine.waterfall import Agreement, Flow, waterfall
from tests.harness.data_engine.rows import ORIGINS, record, region, text

TEACHER = Origin(kind="model", name="nano", fingerprint="n", round=1)
RULE = Origin(kind="rule", name="boxes.agreement", fingerprint="v1")
ALL = {**ORIGINS, TEACHER.id: TEACHER, RULE.id: RULE}
DOG = region((0, 0, 10, 10), "dog")
CAT = region((50, 50, 60, 60), "cat")
FAR = region((90, 90, 99, 99), "bird")
SAME = region((0, 0, 10, 9), "Dog", origin=TEACHER)  # IoU 0.9 with DOG
OTHER = region((50, 50, 60, 60), "fox", origin=TEACHER)
FUSED = region((0, 0, 10, 10), "dog", origin=RULE, parents=(DOG.id, SAME.id))
CAPTION = text("A dog.")
RECORD = record(DOG, CAT, FAR, SAME, OTHER, FUSED, CAPTION).extended(
    measures={FUSED.id: {"witnesses": 2.0}, OTHER.id: {"witnesses": 1.0}},
    verdicts=[
        Verdict(annotation=FAR.id, status="dropped", stage="boxes.score", measured=0.1, bound=0.4),
        Verdict(annotation=DOG.id, status="merged", stage="boxes.agreement", by=FUSED.id),
        Verdict(annotation=SAME.id, status="merged", stage="boxes.agreement", by=FUSED.id),
        Verdict(annotation=CAT.id, status="dropped", stage="boxes.score"),
        Verdict(annotation=CAT.id, status="kept", stage="combine.confirmed"),  # the last verdict holds
    ],
)


def test_flows_count_raw_kept_and_reasons_by_kind_and_origin() -> None:
    found = waterfall([RECORD, RECORD], ALL)
    assert found.flows == (
        Flow("region", "boxes.agreement", 2, 2, ()),
        Flow("region", "detector", 6, 2, (("dropped", "boxes.score", 2), ("merged", "boxes.agreement", 2))),
        Flow("region", "nano round 1", 4, 2, (("merged", "boxes.agreement", 2),)),
        Flow("text", "captioner", 2, 2, ()),
    )
    assert (found.images, found.dropped_images, found.witnesses) == (2, {}, {1: 2, 2: 2})


def test_agreement_is_of_raw_regions_in_both_directions_and_leaves_rules_out() -> None:
    """The detector's dog is confirmed; its cat is where the other saw a fox; its bird is alone."""
    assert waterfall([RECORD], ALL).agreements == (
        Agreement("detector", "nano round 1", images=1, regions=3, located=2, same=1),
        Agreement("nano round 1", "detector", images=1, regions=2, located=2, same=1),
    )


def test_images_on_which_one_origin_is_silent_do_not_count_as_disagreement() -> None:
    found = waterfall([RECORD, record(DOG)], ALL)
    assert [each.images for each in found.agreements] == [1, 1]


def test_dropped_image_takes_its_annotations_with_it() -> None:
    image = ImageRow(reference="b.png", sha256="0" * 64, size=Size(9, 9), stage="images.benchmark")
    found = waterfall([Record(image=image, annotations=(DOG,)), RECORD], ALL)
    assert found.dropped_images == {"images.benchmark": 1}
    detector = next(flow for flow in found.flows if flow.origin == "detector")
    assert ("dropped", "images.benchmark", 1) in detector.reasons
    assert detector.raw == detector.kept + sum(n for *_, n in detector.reasons) == 4


def test_origin_that_is_not_listed_is_unknown() -> None:
    found = waterfall([record(replace(DOG, origin="0" * 24))], ALL)
    assert [flow.origin for flow in found.flows] == ["unknown"]
