"""The choice of a region's text: ties, labels as categories, merged regions, and what was not measured."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.core import Text
from harness.data_engine import choose
from harness.data_engine.choose import Choice, candidates, chunk_origin, with_chunks
from harness.data_engine.records import Annotation, Record, Verdict
from tests.harness.data_engine.rows import reasons, record, region, statuses, text

BOX = region((10, 10, 50, 50))
CATEGORY = text("dog", "category", parents=(BOX.id,))
BRIEF = text("a black dog with a ball", "brief", parents=(BOX.id,))
CHUNK = text("a black dog", "chunk", parents=(BOX.id, BRIEF.id))
TEXTS = (CATEGORY, BRIEF, CHUNK)
CAPTION = text("A dog runs.", "brief")


def decided(numbers: Sequence[float | None], margin: float = 0.0) -> Record:
    """The record after the choice, with these similarities of TEXTS; None: not measured."""
    measures = {each.id: {"similarity": n} for each, n in zip(TEXTS, numbers, strict=True) if n is not None}
    return Choice(margin=margin)(record(BOX, *TEXTS, CAPTION).extended(measures=measures))


@pytest.mark.parametrize(
    ("numbers", "margin", "chosen"),
    [
        ((0.3, 0.2, 0.1), 0.0, CATEGORY),
        ((0.2, 0.3, 0.1), 0.0, BRIEF),
        ((0.1, 0.2, 0.3), 0.0, CHUNK),
        ((0.3, 0.3, 0.3), 0.0, CATEGORY),  # ties go to the category
        ((0.3, 0.1, 0.3), 0.0, CATEGORY),
        ((0.1, 0.3, 0.3), 0.0, BRIEF),
        ((0.25, 0.5, 0.1), 0.25, CATEGORY),  # not more similar by more than the margin
        ((0.25, 0.51, 0.1), 0.25, BRIEF),
        ((-0.5, -0.2, -0.4), 0.0, BRIEF),
    ],
)
def test_most_similar_text_is_kept_and_others_are_superseded_by_it(
    numbers: tuple[float, ...], margin: float, chosen: Annotation
) -> None:
    after = decided(numbers, margin)
    assert [each for each in after.kept("text") if each.parents] == [chosen]
    assert {verdict.by for verdict in after.verdicts} == {chosen.id}
    assert {verdict.status for verdict in after.verdicts} == {"superseded"}
    loser = next(verdict for verdict in after.verdicts)
    place = [each.id for each in TEXTS].index(loser.annotation)
    assert (loser.measured, loser.bound) == (numbers[place], numbers[TEXTS.index(chosen)])


@pytest.mark.parametrize("numbers", [(0.3, None, 0.1), (None, None, None)])
def test_region_with_a_text_that_was_not_measured_loses_its_chunks_alone(numbers: Sequence[float | None]) -> None:
    after = decided(numbers)
    assert reasons(after) == {CHUNK.id: "choice.unmeasured"}
    assert statuses(after, TEXTS) == ["kept", "kept", "dropped"]


def test_label_of_a_region_is_its_category() -> None:
    labelled = region((10, 10, 50, 50), "dog")
    brief = text("a black dog with a ball", parents=(labelled.id,))
    for of_label, of_brief, status in ((0.3, 0.3, "superseded"), (0.2, 0.3, "kept")):
        measures = {labelled.id: {"similarity": of_label}, brief.id: {"similarity": of_brief}}
        after = Choice()(record(labelled, brief).extended(measures=measures))
        assert statuses(after, [labelled, brief]) == ["kept", status]


def test_each_region_has_its_own_choice_and_the_caption_stays() -> None:
    other = region((60, 60, 90, 90), "cat")
    of_other = text("a cat", parents=(other.id,))
    measures = {
        each.id: {"similarity": n} for each, n in ((CATEGORY, 0.9), (BRIEF, 0.1), (other, 0.1), (of_other, 0.2))
    }
    after = Choice()(record(BOX, CATEGORY, BRIEF, other, of_other, CAPTION).extended(measures=measures))
    assert statuses(after, [CATEGORY, BRIEF, of_other, CAPTION]) == ["kept", "superseded", "kept", "kept"]


def test_chunks_of_a_brief_text_are_its_things() -> None:
    """Noun chunks: "a black dog" and "a ball"; the caption of the image has none of a region."""
    after = with_chunks(record(BOX, CATEGORY, BRIEF, CAPTION))
    chunks = [each for each in after.annotations if each.length == "chunk"]
    assert [each.value for each in chunks] == [Text(("a black dog",)), Text(("a ball",))]
    assert {each.parents for each in chunks} == {(BOX.id, BRIEF.id)}
    assert {each.origin for each in chunks} == {chunk_origin().id}
    assert with_chunks(after) == after == choose.Chunks()(record(BOX, CATEGORY, BRIEF, CAPTION))
    assert choose.Chunks().makes == (chunk_origin(),)


def test_chunk_that_repeats_the_text_or_the_label_is_left_out() -> None:
    labelled = region((10, 10, 50, 50), "a ball")
    whole, with_label = text("a black dog", parents=(labelled.id,)), text("A ball on grass", parents=(labelled.id,))
    chunks = [each.value for each in with_chunks(record(labelled, whole, with_label)).annotations[3:]]
    assert chunks == [Text(("grass",))]


def test_text_of_a_merged_region_is_a_candidate_of_the_merged_one() -> None:
    """Two boxes became one, and that one another: their texts describe the last."""
    first, second, last = region((0, 0, 9, 9)), region((0, 0, 9, 8)), region((0, 0, 9, 8.5), "dog")
    of_first, of_last = text("a black dog", parents=(first.id,)), text("a wet dog", parents=(last.id,))
    verdicts = [
        Verdict(annotation=one.id, status="merged", stage="boxes.agreement", by=other.id)
        for one, other in ((first, second), (second, last))
    ]
    told = record(first, second, last, of_first, of_last).extended(verdicts=verdicts)
    assert candidates(told) == {last.id: [last, of_first, of_last]}
    assert [each.parents for each in with_chunks(told).annotations[5:]] == []  # each text is one chunk


def test_negative_margin_is_refused() -> None:
    with pytest.raises(ValueError, match="margin"):
        Choice(margin=-0.1)
    assert choose.LENGTHS[0] == "category"
