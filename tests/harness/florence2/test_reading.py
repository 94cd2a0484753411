"""Parsing of answers and writing of targets, for every kind and form."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE
from transformers import CLIPImageProcessorPil, Florence2Processor, PreTrainedTokenizerFast

from harness.core import Box, Boxes, Grounded, Kind, Phrase, Polygons, Quads, Question, Ring, Size, Text, Value
from harness.errors import DataError
from harness.florence2.locations import Item, items
from harness.florence2.prompts import FORMS, prompts_of
from harness.florence2.reading import assign, read_answer, write_answer

SIZE = Size(1000, 1000)  # the centre of bin n is n + 0.5
DOG, CAT = Phrase("dog", said="a dog with a hat"), Phrase("cat")
KINDS_OF_WORDS: tuple[Kind, ...] = ("name", "describe", "read")


def read(question: Question, *texts: str, form: str = "") -> Value | None:
    return read_answer(question, [items(text) for text in texts], SIZE, form)


def cut(numbers: Iterable[float]) -> list[int]:
    """Coordinates truncated to whole pixels, as transformers truncates them."""
    return [math.floor(x) for x in numbers]


def numbers(points: Iterable[Sequence[float]]) -> list[float]:
    """All coordinates, in order."""
    return [x for point in points for x in point]


def question(kind: Kind, text: str = "", phrases: tuple[Phrase, ...] = ()) -> Question:
    return Question("x.jpg", SIZE, kind, region=(1.0, 2.0, 3.0, 4.0), text=text, phrases=phrases)


ONE = "<loc_1><loc_2><loc_3><loc_4>"
OTHER = "<loc_5><loc_6><loc_7><loc_8>"
FIRST: Box = (1.5, 2.5, 3.5, 4.5)
SECOND: Box = (5.5, 6.5, 7.5, 8.5)


def test_boxes_of_a_form_over_each_phrase_have_the_queried_label() -> None:
    """The written label does not matter, nor do the answers about other phrases."""
    value = read(question("find", phrases=(DOG, CAT)), f"animal{ONE}", f"cat{OTHER}{ONE}")
    assert value == Boxes((FIRST, SECOND, FIRST), ("dog", "cat", "cat"))
    value = read(question("find", phrases=(DOG, CAT)), f"dog{ONE}", "", form="said")
    assert value == Boxes((FIRST,), ("dog",))
    value = read(question("find", phrases=(DOG, CAT)), f"animal{ONE}cat{OTHER}", form="joined")
    assert value == Boxes((FIRST, SECOND), ("animal", "cat"))  # scoring maps labels to categories


def test_grounding_with_repeated_phrases_assigns_labels_in_their_order() -> None:
    about = question("ground", "A man, a man and a hat", (Phrase("A man"), Phrase("a man"), Phrase("a hat")))
    value = read(about, f"A man{ONE}a  man{OTHER}{ONE}the rest{ONE}")
    assert value == Grounded(((FIRST,), (SECOND, FIRST), ()))
    value = read(about, f"a man{ONE}a hat{OTHER}")  # one label serves both phrases
    assert value == Grounded(((FIRST,), (FIRST,), (SECOND,)))
    value = read(about, f"A man{ONE}", "", f"anything{OTHER}{ONE}", form="each")
    assert value == Grounded(((FIRST,), (), (SECOND, FIRST)))


@given(st.lists(st.sampled_from("abAB"), min_size=1, max_size=6), st.lists(st.sampled_from("abc"), max_size=6))
def test_assign_gives_every_box_of_a_phrases_label_to_a_phrase_with_its_text(
    phrases: list[str], labels: list[str]
) -> None:
    groups = [(label, ((float(index), 0.0, 1.0, 1.0),)) for index, label in enumerate(labels)]
    assigned = assign([Phrase(text) for text in phrases], groups)
    for text, boxes in zip(phrases, assigned, strict=True):
        assert {labels[int(box[0])] for box in boxes} <= {text.lower()}
        assert bool(boxes) == (text.lower() in labels)
    used = {box for boxes in assigned for box in boxes}
    assert used == {box for label, boxes in groups for box in boxes if label in "".join(phrases).lower()}


@pytest.mark.parametrize(("kind", "written", "value"), [
    ("caption", "a dog", Text(("a dog",))),
    ("caption", "", Text(("",))),
    ("caption", ONE, None),
    ("vqa", "<loc_1>", None),
    ("detect", "", Boxes(())),
    ("detect", "I see a dog", None),
    ("detect", "dog<loc_1><loc_2>", None),
    ("refer", "<loc_1><loc_2><loc_3>", None),
    ("segment", "", Polygons(())),
    ("segment", "<loc_1><loc_2>", None),
    ("segment", "a dog", None),
    ("ocr_regions", "", Quads((), ())),
    ("ocr_regions", f"STOP{ONE}", None),
    ("ocr", "STOP", Text(("STOP",))),
    ("name", "", Text(("",))),
    ("name", ONE, None),
    ("describe", f"a dog{ONE}", Text(("a dog",))),
    ("describe", "<loc_1><sep>", None),
    ("read", "STOP", Text(("STOP",))),
    ("read", ONE, None),
    ("outline", "", Polygons(())),
    ("outline", "a dog", None),
    ("outline", "<loc_1><loc_2><loc_3><loc_4>", None),  # two points
    ("regions", "", Boxes(())),
    ("regions", "a dog on a mat", None),
    ("propose", "", Boxes(())),
    ("propose", "a dog on a mat", None),
    ("propose", "<loc_1><loc_2><loc_3>", None),
    ("propose", f"a dog{ONE}{OTHER}", Boxes((FIRST, SECOND))),  # the label is dropped
])  # fmt: skip
def test_empty_answer_is_parsed_and_answer_of_another_form_is_none(
    kind: Kind, written: str, value: Value | None
) -> None:
    assert read(question(kind, phrases=(DOG,)), written) == value


def test_one_unparsable_answer_of_several_has_no_boxes() -> None:
    about = question("find", phrases=(DOG, CAT))
    assert read(about, "no idea", f"cat{ONE}") == Boxes((FIRST,), ("cat",))
    assert read(about, "no idea", "none") is None
    assert read(question("ground", phrases=(DOG, CAT)), "", "no idea", form="each") == Grounded(((), ()))


def test_any_text_is_parsed_without_an_error() -> None:
    generator = random.Random(0)
    parts = ["dog", " ", ONE, OTHER, "<loc_999>", "<sep>", "<and>", "<poly>", "</s>", "<loc_1000>", "\u2028", "é"]
    for _ in range(2000):
        text = "".join(generator.choices(parts, k=generator.randrange(8)))
        for kind in FORMS:
            read(question(kind, "x", (DOG, CAT)), *[text] * len(prompts_of(question(kind, "x", (DOG, CAT)))))


# ---------------------------------------------------------------------------- the published answers about regions

# Written by Florence-2-large about the example image of its release, 640x480, with the boxes that the release's
# post-processor gives.  They are in transformers.js's tests of its Florence2Processor.
CAR = "<loc_52><loc_332><loc_932><loc_774>"
PUBLISHED: list[tuple[Kind, str, Value]] = [
    (
        "regions",
        "</s><s>turquoise Volkswagen Beetle<loc_52><loc_333><loc_932><loc_774>wheel<loc_704><loc_576><loc_864><loc_772>"
        "<loc_148><loc_584><loc_308><loc_773></s>",
        Boxes(
            ((33.6, 160.08, 596.8, 371.76), (450.88, 276.72, 553.28, 370.8), (95.04, 280.56, 197.44, 371.28)),
            ("turquoise Volkswagen Beetle", "wheel", "wheel"),
        ),
    ),
    (
        "propose",
        "</s><s><s><s><loc_52><loc_333><loc_932><loc_774><loc_711><loc_203><loc_905><loc_545>"
        "<loc_637><loc_642><loc_646><loc_668></s>",
        Boxes(((33.6, 160.08, 596.8, 371.76), (455.36, 97.68, 579.52, 261.84), (408.0, 308.4, 413.76, 320.88))),
    ),
    ("name", f"</s><s>car{CAR}</s>", Text(("car",))),
    ("describe", f"</s><s>turquoise Volkswagen Beetle{CAR}</s>", Text(("turquoise Volkswagen Beetle",))),
]


@pytest.mark.parametrize(("kind", "written", "value"), PUBLISHED, ids=[kind for kind, _, _ in PUBLISHED])
def test_published_answer_about_a_region_has_the_published_value(kind: Kind, written: str, value: Value) -> None:
    size = Size(640, 480)
    parsed = read_answer(Question("x.jpg", size, kind), [items(written)], size)
    if not isinstance(value, Boxes):
        assert parsed == value
        return
    assert isinstance(parsed, Boxes)
    assert parsed.labels == value.labels
    assert [x for box in parsed.boxes for x in box] == pytest.approx([x for box in value.boxes for x in box])


@pytest.fixture(scope="module")
def reference() -> Callable[[str, Kind], Any]:
    """transformers' value of an answer to a kind's task token."""
    tasks: dict[Kind, str] = {
        "name": "<REGION_TO_CATEGORY>",
        "describe": "<REGION_TO_DESCRIPTION>",
        "outline": "<REGION_TO_SEGMENTATION>",
        "read": "<REGION_TO_OCR>",
        "regions": "<DENSE_REGION_CAPTION>",
        "propose": "<REGION_PROPOSAL>",
    }
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Backend(BPE()))
    tokenizer.image_token, tokenizer.image_token_id = "<image>", 5
    parsers: dict[str, Any] = {"pure_text": {}, "polygons": {}, "bboxes": {}, "description_with_bboxes": {}}
    processor = Florence2Processor(CLIPImageProcessorPil(), tokenizer, post_processor_config=parsers)

    def value(text: str, kind: Kind) -> Any:
        return processor.post_process_generation(text=text, task=tasks[kind], image_size=SIZE)[tasks[kind]]

    return value


BOX_ANSWERS = {
    "several boxes": f"a dog{ONE}a cat on a mat{OTHER}",
    "several boxes of a label": f"a dog{ONE}{OTHER}a cat{ONE}",
    "no answer": "",
    "no answer but start and end": "<s></s><pad>",
    "words": "a dog on a mat",
    "truncated in a box": f"a dog{ONE}a cat<loc_5><loc_6><loc_7>",
    "truncated in a label": f"a dog{ONE}a cat on",
    "truncated in the first box": "a dog<loc_1><loc_2>",
    "inverted": "a dog<loc_30><loc_40><loc_10><loc_20>",
}


@pytest.mark.parametrize("text", BOX_ANSWERS.values(), ids=BOX_ANSWERS.keys())
def test_dense_region_captions_equal_transformers_value(text: str, reference: Callable[[str, Kind], Any]) -> None:
    expected = reference(text, "regions")
    parsed = read(question("regions"), text)
    boxes = parsed if isinstance(parsed, Boxes) else Boxes(())
    assert [cut(box) for box in boxes.boxes] == expected["bboxes"]
    assert list(boxes.labels) == expected["labels"]
    assert (parsed is None) == (not expected["bboxes"] and bool(items(text)))


@pytest.mark.parametrize("text", [
    *(text.replace("a dog", "").replace("a cat on a mat", "").replace("a cat", "") for text in BOX_ANSWERS.values()),
    *BOX_ANSWERS.values(),
])  # fmt: skip
def test_region_proposals_equal_transformers_value(text: str, reference: Callable[[str, Kind], Any]) -> None:
    expected = reference(text, "propose")
    parsed = read(question("propose"), text)
    boxes = parsed if isinstance(parsed, Boxes) else Boxes(())
    assert [cut(box) for box in boxes.boxes] == expected["bboxes"]
    assert boxes.labels == ()
    assert set(expected["labels"]) <= {"", "a dog", "a cat", "a cat on a mat"}
    assert (parsed is None) == (not expected["bboxes"] and bool(items(text)))


RING = "<loc_1><loc_2><loc_3><loc_4><loc_5><loc_6>"
HOLE = "<loc_11><loc_12><loc_13><loc_14><loc_15><loc_16><loc_17><loc_18>"
OUTLINE_ANSWERS = {
    "one polygon": RING,
    "several polygons": f"{RING}<sep>{HOLE}",
    "several polygons between marks": f"<poly>{RING}<sep>{HOLE}</poly>",
    "several objects": f"<poly>{RING}</poly><poly>{HOLE}</poly>",
    "no answer": "",
    "words": "a dog on a mat",
    "truncated in a point": f"{RING}<sep>{HOLE}<loc_19>",
    "truncated behind a separator": f"{RING}<sep>",
}


@pytest.mark.parametrize("text", OUTLINE_ANSWERS.values(), ids=OUTLINE_ANSWERS.keys())
def test_outline_of_a_region_equals_transformers_value(text: str, reference: Callable[[str, Kind], Any]) -> None:
    expected = [ring for outline in reference(text, "outline")["polygons"] for ring in outline]
    parsed = read(question("outline"), text)
    rings = parsed.rings if isinstance(parsed, Polygons) else ()
    assert [cut(x for point in ring for x in point) for ring in rings] == expected
    assert (parsed is None) == (text == OUTLINE_ANSWERS["words"])


@pytest.mark.parametrize("kind", ["name", "describe", "read"])
@pytest.mark.parametrize("text", ["a dog", f" a dog{ONE}", f"<s>a dog on a mat{ONE}</s>", "", ONE, "STOP\nahead"])
def test_words_about_a_region_equal_transformers_words_without_location_tokens(
    kind: Kind, text: str, reference: Callable[[str, Kind], Any]
) -> None:
    words = re.sub(r"<loc_\d+>", "", reference(text, kind)).strip()
    assert read(question(kind), text) == (Text((words,)) if words or not text else None)


def test_region_proposals_have_region_scores_and_no_label_scores() -> None:
    # exp of the mean of -0.1, -0.2, -0.3 and -0.4, which is exp(-0.25).
    pieces = [Item(f"<loc_{number}>", bin=number, log_probs=(-number / 10,)) for number in (1, 2, 3, 4)]
    parsed = read_answer(question("propose"), [pieces], SIZE)
    assert isinstance(parsed, Boxes)
    assert parsed.region_scores == pytest.approx((math.exp(-0.25),))
    assert parsed.label_scores is None


# ---------------------------------------------------------------------------- writing


@pytest.mark.parametrize(("kind", "value", "written"), [
    ("name", Text(("dog",)), f"dog{ONE}"),  # as in the published checkpoints' answers
    ("describe", Text(("a dog on a mat",)), f"a dog on a mat{ONE}"),
    ("describe", Text(("",)), ""),
    ("read", Text(("STOP",)), "STOP"),
    ("outline", Polygons((((1.5, 2.5), (3.5, 4.5), (5.5, 6.5)),)), RING),
    ("regions", Boxes((FIRST, SECOND), ("a dog", "a cat")), f"a dog{ONE}a cat{OTHER}"),
    ("regions", Boxes((FIRST, SECOND), ("a dog", "a dog")), f"a dog{ONE}{OTHER}"),
    ("regions", Boxes(()), ""),
    ("propose", Boxes((FIRST, SECOND)), f"{ONE}{OTHER}"),
    ("propose", Boxes(()), ""),
    ("outline", Polygons(()), ""),
])  # fmt: skip
def test_target_is_written_as_published_and_parsed_into_itself(kind: Kind, value: Value, written: str) -> None:
    assert write_answer(question(kind), value, SIZE) == written
    assert read(question(kind), written) == value


def test_region_proposals_are_written_without_labels() -> None:
    assert write_answer(question("propose"), Boxes((FIRST, SECOND), ("a dog", "a cat")), SIZE) == f"{ONE}{OTHER}"


def test_writing_a_category_without_its_region_is_a_data_error() -> None:
    with pytest.raises(DataError, match="needs a region"):
        write_answer(Question("x.jpg", SIZE, "name"), Text(("dog",)), SIZE)


coordinates = st.floats(0, 999)
rings = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=6).map(tuple)
words = st.text("abc de", min_size=1, max_size=9).map(str.strip).filter(bool)
boxes = st.tuples(coordinates, coordinates, coordinates, coordinates)


@given(st.lists(st.tuples(boxes, words), max_size=5), st.lists(rings, max_size=3), words)
def test_any_target_written_and_parsed_is_within_half_a_bin(
    labelled: list[tuple[Box, str]], outline: list[Ring], text: str
) -> None:
    described = Boxes(tuple(box for box, _ in labelled), tuple(label for _, label in labelled))
    targets: list[tuple[Kind, Value]] = [
        ("regions", described),
        ("propose", Boxes(described.boxes)),
        ("outline", Polygons(tuple(outline))),
        *((kind, Text((text,))) for kind in KINDS_OF_WORDS),
    ]
    for kind, target in targets:
        parsed = read(question(kind), write_answer(question(kind), target, SIZE))
        if isinstance(target, Text):
            assert parsed == target
        elif isinstance(target, Boxes):
            assert isinstance(parsed, Boxes)
            assert parsed.labels == target.labels
            assert numbers(parsed.boxes) == pytest.approx(numbers(target.boxes), abs=0.5)
        elif isinstance(target, Polygons):
            assert isinstance(parsed, Polygons)
            assert [len(ring) for ring in parsed.rings] == [len(ring) for ring in target.rings]
            both = zip(parsed.rings, target.rings, strict=True)
            assert all(numbers(ring) == pytest.approx(numbers(other), abs=0.5) for ring, other in both)
