"""The prompts of every kind and form, versus the published texts and transformers' processor."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE
from transformers import CLIPImageProcessorPil, Florence2Processor, PreTrainedTokenizerFast

from baselines.entry import GENERAL
from harness.core import Box, Kind, Phrase, Question, Size
from harness.errors import DataError, UsageError
from harness.florence2.prompts import FORMS, PROMPTS, PROMPTS_WITH_INPUT, choose, expand, name_of, prompts_of

SIZE = Size(1000, 1000)
DOG, CAT = Phrase("dog", said="a dog with a hat"), Phrase("cat")


def question(kind: Kind, text: str = "", phrases: tuple[Phrase, ...] = ()) -> Question:
    return Question("x.jpg", SIZE, kind, text=text, phrases=phrases)


def test_every_kind_has_a_form() -> None:
    assert set(FORMS) == GENERAL


@pytest.mark.parametrize(("kind", "form", "prompts"), [
    ("caption", "", ["What does the image describe?"]),
    ("caption", "more_detailed", ["Describe with a paragraph what is shown in the image."]),
    ("detect", "", ["Locate the objects with category name in the image."]),
    ("detect", "joined", ["Locate dog<and>cat in the image."]),
    ("find", "", ["Locate dog in the image.", "Locate cat in the image."]),
    ("find", "said", ["Locate a dog with a hat in the image.", "Locate cat in the image."]),
    ("find", "grounding", ["Locate the phrases in the caption: dog. cat"]),
    ("ground", "", ["Locate the phrases in the caption: a dog and a {cat}"]),
    ("ground", "each", ["Locate the phrases in the caption: dog", "Locate the phrases in the caption: cat"]),
    ("refer", "open", ["Locate a dog and a {cat} in the image."]),
    ("segment", "", ["Locate a dog and a {cat} in the image with mask"]),
    ("vqa", "", [" a dog and a {cat} "]),  # unchanged
    ("vqa", "docvqa", ["<DocVQA> a dog and a {cat} "]),
    ("ocr", "", ["What is the text in the image?"]),
    ("ocr_regions", "", ["What is the text in the image, with regions?"]),
    ("regions", "", ["Locate the objects in the image, with their descriptions."]),
    ("propose", "", ["Locate the region proposals in the image."]),
])  # fmt: skip
def test_prompts_of_kind_and_form_equal_the_published_texts(kind: Kind, form: str, prompts: list[str]) -> None:
    assert list(prompts_of(question(kind, " a dog and a {cat} ", (DOG, CAT)), form)) == prompts


def test_choose_by_name_replaces_the_default_and_refuses_unknown_names() -> None:
    assert choose("fine_tuned", "find=said, refer=open") == {**choose("fine_tuned"), "find": "said", "refer": "open"}
    for wrong in ("find", "find=loud", "seek=each", "find=said,"):
        with pytest.raises(UsageError, match=r"there is no such form; there are .*find=each\|said\|joined"):
            choose(given=wrong)


def test_name_of_a_form_has_its_version_if_it_is_not_the_first() -> None:
    assert name_of("refer", "open") == "refer=open"
    assert FORMS["caption"]["generic"].version == 2
    assert name_of("caption", "generic") == "caption=generic v2"


def test_expand_of_fifteen_tasks_and_free_text_gives_the_processors_prompts() -> None:
    assert len({**PROMPTS, **PROMPTS_WITH_INPUT}) == 15
    grounding, read = "<CAPTION_TO_PHRASE_GROUNDING>{}", "<REGION_TO_OCR>{}"
    assert expand(grounding, " a dog ") == "Locate the phrases in the caption: a dog"
    assert expand(read, "<loc_1><loc_2><loc_3><loc_4>").endswith("region <loc_1><loc_2><loc_3><loc_4>?")
    assert expand("<DocVQA>{}", "what is the total?") == "<DocVQA>what is the total?"
    assert expand("{}", "how many {dogs}?") == "how many {dogs}?"


def test_task_tokens_in_a_users_text_are_not_expanded() -> None:
    text = "the <OD> sign, <CAPTION> below"
    for kind, expected in (("refer", f"Locate the phrases in the caption: {text}"), ("vqa", text)):
        assert prompts_of(Question("x.jpg", None, kind, text=text)) == (expected,)


def test_prompt_of_every_form_contains_the_forms_own_words() -> None:
    """The text of a form around `{}`, without its task token."""
    about = Question(
        "x.jpg", Size(64, 64), "caption", region=(1.0, 1.0, 9.0, 9.0), text="dog", phrases=(Phrase("cat"),)
    )
    for kind, forms in FORMS.items():
        for name, form in forms.items():
            [prompt] = prompts_of(replace(about, kind=kind), name)
            words = re.sub(r"<[A-Za-z_]+>", "", form.text).split("{}")
            assert all(part.strip() in prompt for part in words), (kind, name, prompt)
            assert prompt, (kind, name)


@pytest.mark.parametrize("task", [*PROMPTS, *PROMPTS_WITH_INPUT])
def test_expand_of_a_task_equals_transformers_processor(task: str) -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Backend(BPE()))
    tokenizer.image_token, tokenizer.image_token_id = "<image>", 5
    processor = Florence2Processor(image_processor=CLIPImageProcessorPil(), tokenizer=tokenizer)
    text = "" if task in PROMPTS else " a red bus "
    template = task if task in PROMPTS else f"{task}{{}}"
    assert [expand(template, text)] == processor._construct_prompts(f"{task}{text}")


def test_text_is_stripped_inside_a_prompt_and_unchanged_as_the_whole_prompt() -> None:
    texts = [
        prompts_of(Question("x.jpg", None, kind, "the cat "))[0] for kind in ("caption", "refer", "segment", "vqa")
    ]
    assert texts == [
        "What does the image describe?",
        "Locate the phrases in the caption: the cat",
        "Locate the cat in the image with mask",
        "the cat ",
    ]


# ---------------------------------------------------------------------------- regions

CAR: Box = (33.6, 159.6, 596.8, 371.76)
# At 640x480 a bin is 0.64 wide and 0.48 high: 33.6 / 0.64 = 52.5, 159.6 / 0.48 = 332.5, 596.8 / 0.64 = 932.5 and
# 371.76 / 0.48 = 774.5, each rounded down.  Florence-2's release queries this region of its example image.
CAR_TOKENS = "<loc_52><loc_332><loc_932><loc_774>"
REGION_PROMPTS: dict[Kind, str] = {
    "name": "What is the region {}?",
    "describe": "What does the region {} describe?",
    "outline": "What is the polygon mask of region {}",
    "read": "What text is in the region {}?",
}


@pytest.mark.parametrize(("kind", "prompt"), REGION_PROMPTS.items())
def test_region_prompt_has_the_region_as_location_tokens(kind: Kind, prompt: str) -> None:
    about = Question("x.jpg", Size(640, 480), kind, region=CAR)
    assert prompts_of(about) == (prompt.format(CAR_TOKENS),)


def test_region_tokens_with_the_opened_images_size_use_it() -> None:
    # At 1280x480 a bin is 1.28 wide: 33.6 / 1.28 = 26.25 and 596.8 / 1.28 = 466.25.
    wide = "What is the region <loc_26><loc_332><loc_466><loc_774>?"
    assert prompts_of(Question("x.jpg", Size(640, 480), "name", region=CAR), size=Size(1280, 480)) == (wide,)
    assert prompts_of(Question("x.jpg", None, "name", region=CAR), size=Size(1280, 480)) == (wide,)


def slow_bin(coordinate: float, side: int) -> int:
    """The last bin whose left edge is not right of the coordinate, in a loop over all bins."""
    return max([number for number in range(1000) if number * side <= coordinate * 1000], default=0)


@pytest.mark.parametrize("region", [
    (0.0, 0.0, 640.0, 480.0),  # the whole image: its right and bottom edges are in the last bin
    (-20.0, -5.0, 700.0, 900.0),  # beyond all edges
    (-20.0, 100.0, 0.5, 100.5),  # a strip of which half a pixel is inside
    (639.5, 479.5, 640.5, 480.5),
    (101.3, 202.7, 303.1, 404.9),
])  # fmt: skip
def test_region_beyond_an_edge_is_clipped_to_the_image(region: Box) -> None:
    bins = [slow_bin(coordinate, side) for coordinate, side in zip(region, (640, 480, 640, 480), strict=True)]
    [prompt] = prompts_of(Question("x.jpg", Size(640, 480), "read", region=region))
    assert prompt == "What text is in the region " + "".join(f"<loc_{number}>" for number in bins) + "?"


@pytest.mark.parametrize("kind", REGION_PROMPTS)
@pytest.mark.parametrize(("region", "size", "why"), [
    (None, SIZE, "needs a region, and this question has none"),
    (CAR, None, "needs the size of its image"),
    ((30.0, 10.0, 20.0, 40.0), SIZE, r"\(30.0, 10.0, 20.0, 40.0\) is inverted or empty"),
    ((10.0, 40.0, 20.0, 30.0), SIZE, "is inverted or empty"),
    ((10.0, 20.0, 10.0, 40.0), SIZE, "is inverted or empty"),
    ((math.nan, 20.0, 30.0, 40.0), SIZE, "is inverted or empty"),
    ((10.0, 20.0, math.inf, 40.0), SIZE, "is inverted or empty"),
    ((1000.0, 0.0, 1100.0, 50.0), SIZE, "is outside the image, which is 1000x1000"),
    ((0.0, 1200.0, 50.0, 1300.0), SIZE, "is outside the image"),
    ((-50.0, 0.0, 0.0, 50.0), SIZE, "is outside the image"),
    ((0.0, -50.0, 50.0, -10.0), SIZE, "is outside the image"),
])  # fmt: skip
def test_region_that_cannot_be_written_is_a_data_error(kind: Kind, region: Box | None, size: Size, why: str) -> None:
    with pytest.raises(DataError, match=why):
        prompts_of(Question("x.jpg", size, kind, region=region))
