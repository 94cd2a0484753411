"""What is said about a region, a text or a phrase goes with it."""

from __future__ import annotations

from harness.core import Boxes, Polygons, Text
from harness.data_engine.parents import Parents
from harness.data_engine.records import Annotation, Status, Verdict
from tests.harness.data_engine.engines import IMAGE, ONE, record, region, stages_of

CAT = region((0.0, 0.0, 9.0, 9.0))
MERGED = region((0.0, 0.0, 9.0, 8.0))


def text(parent: Annotation | str, words: str = "a cat") -> Annotation:
    id_ = parent if isinstance(parent, str) else parent.id
    return Annotation(image=IMAGE.sha256, kind="text", value=Text((words,)), origin=ONE.id, parents=(id_,))


def on(annotation: Annotation, status: Status, by: Annotation | None = None) -> Verdict:
    return Verdict(annotation=annotation.id, status=status, stage="boxes.test", by=by.id if by else None)


def test_text_of_a_dropped_region_is_dropped_and_names_it() -> None:
    said = text(CAT)
    told = Parents()(record(CAT, said).extended(verdicts=[on(CAT, "dropped")]))
    assert told.status()[said.id] == Verdict(annotation=said.id, status="dropped", stage="parents.lost", by=CAT.id)
    assert list(told.kept()) == []


def test_text_of_a_merged_region_is_kept_while_what_replaced_it_is() -> None:
    said = text(CAT)
    merged = record(CAT, MERGED, said).extended(verdicts=[on(CAT, "merged", MERGED)])
    assert said in Parents()(merged).kept()
    assert said not in Parents()(merged.extended(verdicts=[on(MERGED, "dropped")])).kept()


def test_loss_passes_on_to_phrases_and_their_outlines() -> None:
    brief = Annotation(image=IMAGE.sha256, kind="text", value=Text(("a cat",)), origin=ONE.id, length="brief")
    phrase = Annotation(
        image=IMAGE.sha256, kind="phrase", value=Boxes(((0.0, 0.0, 9.0, 9.0),), ("a cat",)), origin=ONE.id,
        parents=(brief.id,), span=(0, 5),
    )  # fmt: skip
    ring = ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0))
    outline = Annotation(
        image=IMAGE.sha256, kind="outline", value=Polygons((ring,)), origin=ONE.id, parents=(phrase.id,)
    )
    told = Parents()(record(outline, phrase, brief).extended(verdicts=[on(brief, "dropped")]))
    assert {id_: stage for id_, (_, stage) in stages_of(told).items()} == {
        brief.id: "boxes.test", phrase.id: "parents.lost", outline.id: "parents.lost",
    }  # fmt: skip


def test_text_of_a_region_that_is_not_there_is_dropped() -> None:
    said = text("gone")
    assert list(Parents()(record(said)).kept()) == []


def test_parents_that_replace_each_other_are_no_endless_loop() -> None:
    said = text(CAT)
    loop = record(CAT, MERGED, said).extended(verdicts=[on(CAT, "merged", MERGED), on(MERGED, "merged", CAT)])
    assert stages_of(Parents()(loop))[said.id] == ("dropped", "parents.lost")


def test_merged_box_keeps_itself_and_a_kept_parent_keeps_its_text() -> None:
    told = Parents()(record(CAT, text(CAT)))
    assert told.verdicts == ()
