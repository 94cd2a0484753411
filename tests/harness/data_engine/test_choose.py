"""The choice of a region's text: ties, labels as categories, what was not measured, and a real two-tower model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from PIL import Image

from baselines import find
from baselines.entry import Setting
from harness.core import Answer, Failure, Question, Source, Text, Ticket
from harness.data_engine import choose
from harness.data_engine.choose import Choice, chunk_origin, cropped, measure, similarity_of, with_chunks
from harness.data_engine.records import Annotation, Record
from harness.errors import ResourceError
from harness.images import open_rgb
from tasks import TASKS
from tests.harness.data_engine.rows import record, region, statuses, text

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


def test_region_with_a_text_that_was_not_measured_is_left() -> None:
    assert decided((0.3, None, 0.1)).verdicts == ()
    assert decided((None, None, None)).verdicts == ()


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


def test_measure_asks_once_about_each_region() -> None:
    asked: list[tuple[tuple[int, int], list[str]]] = []

    def similarity(crop: Image.Image, texts: Sequence[str]) -> list[float]:
        asked.append((crop.size, list(texts)))
        return [len(each) / 100 for each in texts]

    image = Image.new("RGB", (100, 100))
    after = measure(record(BOX, *TEXTS, CAPTION, region((200, 200, 300, 300))), image, similarity)
    assert asked == [((40, 40), ["dog", "a black dog with a ball", "a black dog"])]
    assert after.measures[CATEGORY.id] == {"similarity": 0.03} and CAPTION.id not in after.measures
    measure(after, image, similarity)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((10.2, 10.2, 10.4, 10.4), (1, 1)),
        ((-5, -5, 200, 30.5), (100, 31)),
        ((100, 0, 120, 10), None),
        ((5, 5, 5, 9), None),
        ((float("nan"), 0, 9, 9), None),
    ],
)
def test_crop_has_the_pixels_that_the_box_touches(
    box: tuple[float, float, float, float], size: tuple[int, int] | None
) -> None:
    crop = cropped(Image.new("RGB", (100, 100)), box)
    assert (crop.size if crop else None) == size


def test_two_tower_model_prefers_the_caption_of_its_image(miniature: Path) -> None:
    """clip-nano on five drawings: each crop (the whole drawing) is most similar to a caption of its own."""
    samples = {}
    for sample in TASKS["flickr30k_retrieval"].load(Source(miniature, "test")):
        if sample.question.image and isinstance(sample.target, Text):
            samples[sample.question.image_name] = sample.target.texts[0]
    chosen = dict(list(samples.items())[:5])
    model = find("clip-nano").load(Setting(root=miniature, device="cpu"))
    similarity = similarity_of(model)
    hits = 0
    for place, name in enumerate(chosen):
        numbers = similarity(open_rgb(miniature, name), list(chosen.values()))
        assert len(numbers) == 5 and all(-1.001 <= number <= 1.001 for number in numbers)
        hits += max(range(5), key=numbers.__getitem__) == place
    assert hits >= 4


def test_model_that_fails_is_named() -> None:
    class Broken:
        fingerprint = "broken"
        provenance: dict[str, object] = {}  # noqa: RUF012

        def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
            yield from ((ticket, Failure("no memory")) for ticket, _ in questions)

    with pytest.raises(ResourceError, match="failed: no memory; use one that answers `embed`"):
        similarity_of(Broken())(Image.new("RGB", (5, 5)), ["a dog"])


def test_negative_margin_is_refused() -> None:
    with pytest.raises(ValueError, match="margin"):
        Choice(margin=-0.1)
    assert choose.LENGTHS[0] == "category"
