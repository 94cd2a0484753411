"""What a person reads about an image: who said what, what was measured, who won."""

from __future__ import annotations

from harness.core import Boxes, Mask, Polygons, Quads, Size, Text
from harness.data_engine.records import Annotation, Verdict
from harness.data_engine.stories import described, numbers, reasons, story
from tests.harness.data_engine.engines import IMAGE, ONE, ORIGINS, OTHER, record, region

CAT = region((1.0, 2.0, 30.4, 40.0), score=0.9)
DOG = region((1.0, 2.0, 31.0, 40.0), "dog", 0.31, OTHER)
RECORD = record(CAT, DOG).extended(
    measures={CAT.id: {"witnesses": 2.0, "area": 0.125}},
    verdicts=[
        Verdict(annotation=DOG.id, status="dropped", stage="boxes.score", measured=0.31, bound=0.4),
        Verdict(annotation=DOG.id, status="dropped", stage="boxes.across", measured=0.975, bound=0.8, by=CAT.id),
    ],
)


def test_story_has_each_annotation_with_its_maker_measures_and_every_verdict() -> None:
    assert list(story(RECORD, ORIGINS)) == [
        "a.png: 100 x 80 pixels, 2 annotations",
        "kept: region cat (1, 2, 30, 40), by one, score 0.900",
        "    measured area 0.125, witnesses 2",
        "dropped: region dog (1, 2, 31, 40), by other, score 0.310",
        "    dropped by boxes.score: 0.31 against 0.4",
        "    dropped by boxes.across: 0.975 against 0.8, for region cat (1, 2, 30, 40)",
    ]


def test_reasons_are_of_the_verdict_that_holds_by_rule_or_by_stage() -> None:
    assert list(reasons([RECORD], ORIGINS, "boxes.score")) == []
    for rule in ("boxes.across", "boxes"):
        (reason,) = reasons([RECORD], ORIGINS, rule)
        assert (reason.reference, reason.annotation, reason.origin) == ("a.png", "region dog (1, 2, 31, 40)", "other")
        assert reason.by == "region cat (1, 2, 30, 40)"
    assert list(reasons([RECORD], ORIGINS, "box")) == []


def test_every_kind_has_a_short_description() -> None:
    def annotation(kind: object, value: object, **more: object) -> Annotation:
        return Annotation(image=IMAGE.sha256, kind=kind, value=value, origin=ONE.id, **more)  # type: ignore[arg-type]

    quad = ((0.0, 0.0), (9.0, 0.0), (9.0, 3.0), (0.0, 3.0))
    boxes = Boxes(((1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0)), ("cats", "cats"))
    said = [
        described(annotation("text", Text(("x" * 70,)), length="more_detailed")),
        described(annotation("phrase", boxes, parents=("t",), span=(0, 4))),
        described(annotation("written", Quads((quad,), ("STOP",)))),
        described(annotation("outline", Polygons((quad[:3],)), parents=("r",))),
        described(annotation("outline", Mask(Size(4, 4), b"04P1"), parents=("r",))),
        described(region((1.0, 2.0, 3.0, 4.0), "")),
    ]
    assert said == [
        f"more detailed text '{'x' * 57}...'",
        "phrase cats (1, 2, 3, 4) and 1 more",
        "written 'STOP'",
        "outline of 3 points",
        "outline",
        "region (1, 2, 3, 4)",
    ]


def test_verdict_without_numbers_has_none() -> None:
    assert numbers(Verdict(annotation="a", status="dropped", stage="parents.lost")) == ""
    assert numbers(Verdict(annotation="a", status="dropped", stage="x", measured=2.0)) == ": 2"
