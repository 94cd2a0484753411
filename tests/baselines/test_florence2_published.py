"""The published parsers: transformers' own on the same texts, and what whole pixels cost."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from transformers import CLIPImageProcessorPil, Florence2Processor, PreTrainedTokenizerFast

from baselines import florence2_published as published
from harness.core import (
    Answer,
    Boxes,
    Grounded,
    Kind,
    Objects,
    Phrase,
    Polygons,
    Quads,
    Question,
    Row,
    Sample,
    Size,
    Text,
)
from harness.florence2.locations import items, write_boxes
from harness.florence2.reading import read_answer
from tasks import TASKS
from tests.baselines import rivals

SIZE = Size(640, 480)
_SHORT = (  # `<5>` stands for `<loc_5>`
    "", "words only", "</s>", "car<52><332><932><774>", "car<1><2><3>",
    "car<1><2><3><4><5><6><7><8>dog<9><10><11><12>",
    "it<1><2><3><4>a dog<5><6><7><8><9>", "<1><2><3><4>cat",
    "<1><2>dog<1><2><3><4>", "a<b<1><2><3><4>", "a\nb<1><2><3><4>",
    "café<1><2><3><4>", "東<1><2><3><4>", "a<and>b<1><2><3><4>",
    "<900><800><100><200>", "x<1000><2000><3><4>",
    "<1><2><3><4><5><6><7>", "<1><2><sep><3><4><5><6><7><8>",
    "<poly><1><2><3><4><5><6></poly><poly><7><8><9><10><11><12></poly>",
    "cat<poly><1><2><3><4><5><6><sep><7><8><9><10><11><12></poly>",
    "stop<1><2><3><4><5><6><7><8> go <9><1><2><3><4><5><6><7>",
    "ok<1><2><3><4><5><6><7>", "a\nb<1><2><3><4><5><6><7><8>",
)  # fmt: skip
TEXTS = tuple(re.sub(r"<(\d+)>", r"<loc_\1>", text) for text in _SHORT)
TASK_TOKENS = (*published.ANSWER_TYPES, "<CAPTION>", "<REGION_TO_CATEGORY>", "<DocVQA>what")


@pytest.fixture(scope="module")
def processor() -> Any:
    """transformers' processor with the settings that the hub's checkpoints have."""
    special = ["<s>", "<pad>", "</s>", "<image>"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=rivals.word_tokenizer(special), bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    tokenizer.image_token, tokenizer.image_token_id = "<image>", 3
    pixels = CLIPImageProcessorPil()
    pixels.image_seq_length = 1
    return Florence2Processor(pixels, tokenizer, post_processor_config=dict(published.PARSER_CONFIG))


def whole(found: Any) -> Any:
    """The same with every coordinate truncated, and texts stripped, as transformers does."""
    if isinstance(found, int | float):
        return int(found)
    if isinstance(found, str):
        return found.strip()
    if isinstance(found, dict):
        return {name: whole(value) for name, value in found.items()}
    return [whole(value) for value in found]


@pytest.mark.parametrize("task", TASK_TOKENS)
def test_original_rules_truncated_are_those_of_transformers(processor: Any, task: str) -> None:
    """The start token is left out of the texts: for it, see the test of OCR."""
    for text in TEXTS:
        theirs = processor.post_process_generation(text=text, task=task, image_size=SIZE)[task]
        ours = whole(published.original(text, task, SIZE))
        same = theirs if isinstance(ours, str) else {name: whole(theirs[name]) for name in ours}
        assert ours == same, text


def test_original_rules_keep_the_start_token_in_the_first_line_of_ocr(processor: Any) -> None:
    text = "</s><s>stop" + "<loc_1>" * 8 + "</s>"
    assert published.original(text, "<OCR_WITH_REGION>", SIZE)["labels"] == ["</s>stop"]
    theirs = processor.post_process_generation(text=text, task="<OCR_WITH_REGION>", image_size=SIZE)
    assert theirs["<OCR_WITH_REGION>"]["labels"] == ["stop"]


def test_banned_words_are_the_72_of_the_release() -> None:
    """The release lists 98 words with repetitions; 'it' to 'a set' in `_create_black_list_of_phrase_grounding`."""
    assert len(published.PRONOUNS) == 72
    assert {"it", "everybody", "each other", "a group", "the", "a set"} <= published.PRONOUNS


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("detect", "car<loc_0><loc_0><loc_499><loc_999>", Boxes(((0.32, 0.24, 319.68, 479.76),), ("car",))),
        ("detect", "", Boxes(())),
        ("detect", "no boxes", None),
        ("propose", "<loc_0><loc_0><loc_499><loc_999>", Boxes(((0.32, 0.24, 319.68, 479.76),))),
        ("caption", " a car ", Text((" a car ",))),
        ("name", "car<loc_1><loc_2><loc_3><loc_4>", Text(("car<loc_1><loc_2><loc_3><loc_4>",))),
        ("segment", "<loc_0><loc_0><loc_499><loc_0>", None),  # two points
        ("segment", "<loc_0><loc_0><loc_499><loc_0><loc_499><loc_999>",
         Polygons((((0.32, 0.24), (319.68, 0.24), (319.68, 479.76)),))),
        ("ocr_regions", "up" + "<loc_0>" * 8, Quads((((0.32, 0.24),) * 4,), ("</s>up",))),
    ],
)  # fmt: skip
def test_original_value_of_an_answer(kind: Kind, text: str, value: Any) -> None:
    """Bins are 0.64 pixels wide and 0.48 pixels high; 0.5 bins are 0.32 and 0.24 pixels."""
    found = published.read(Question("x", SIZE, kind), [text], SIZE, published.original)
    assert rounded(found) == rounded(value)


def rounded(value: Any) -> Any:
    """The same with every float rounded to nine decimal places."""
    if isinstance(value, float):
        return round(value, 9)
    if isinstance(value, tuple):
        return tuple(map(rounded, value))
    if isinstance(value, Boxes | Polygons | Quads):
        return type(value), [rounded(getattr(value, field.name)) for field in fields(value)]
    return value


def test_find_labels_the_boxes_of_each_prompt_with_its_phrase() -> None:
    asked = Question("x", SIZE, "find", phrases=(Phrase("car"), Phrase("dog")))
    texts = ["a vehicle<loc_0><loc_0><loc_9><loc_9>", "nothing"]
    found = published.read(asked, texts, SIZE, published.original)
    assert isinstance(found, Boxes)
    assert found.labels == ("car",)
    assert published.read(asked, ["nothing", "here"], SIZE, published.original) is None


def test_ground_drops_the_boxes_of_a_pronoun_that_ours_keeps() -> None:
    asked = Question("x", SIZE, "ground", text="it is a dog", phrases=(Phrase("it", 0, 2), Phrase("a dog", 6, 11)))
    text = "it<loc_0><loc_0><loc_9><loc_9>a dog<loc_5><loc_6><loc_7><loc_8>"
    found = published.read(asked, [text], SIZE, published.original)
    ours = read_answer(asked, [items(text)], SIZE)
    assert isinstance(found, Grounded)
    assert isinstance(ours, Grounded)
    assert [len(boxes) for boxes in found.boxes] == [0, 1]
    assert [len(boxes) for boxes in ours.boxes] == [1, 1]


def test_whole_pixels_cost_average_precision_on_small_objects(processor: Any) -> None:
    """Objects of 10 pixels, found as exactly as the bins allow, on an image of 640x480.

    Object [20.9, 30.9, 30.9, 40.9] is written in bins of 0.64 and 0.48 pixels: floor(20.9 / 0.64) = 32 and
    floor(30.9 / 0.48) = 64, floor(30.9 / 0.64) = 48 and floor(40.9 / 0.48) = 85.  The bins' centres are
    [20.8, 30.96, 31.04, 41.04].
        intersection (30.9 - 20.9) x (40.9 - 30.96) = 99.4; union 100 + 10.24 x 10.08 - 99.4 = 103.8; IoU 0.957
    Truncated they are [20, 30, 31, 41].
        intersection 10 x 10 = 100; union 11 x 11 = 121; IoU 0.826
    Of the ten thresholds 0.5 to 0.95, an IoU of 0.957 passes all, and an IoU of 0.826 passes seven (to 0.80).
    """
    truth = (20.9, 30.9, 30.9, 40.9)
    text = write_boxes(Boxes((truth,), ("car",)), SIZE)
    assert text == "car<loc_32><loc_64><loc_48><loc_85>"
    asked = Question("x.jpg", SIZE, "detect", phrases=(Phrase("car"),))
    sample = Sample("1", asked, Objects(((20.9, 30.9, 10.0, 10.0),), (0,), (100.0,), (False,), (3,)), "x.jpg")

    def transformers(written: str, task: str, size: Size) -> Any:
        return processor.post_process_generation(text=written, task=task, image_size=size)[task]

    values = {
        "ours": read_answer(asked, [items(text)], SIZE),
        "original": published.read(asked, [text], SIZE, published.original),
        "transformers": published.read(asked, [text], SIZE, transformers),
    }
    task = TASKS["coco_detection"]
    for name, precision in (("ours", 100.0), ("original", 100.0), ("transformers", 70.0)):
        answer = Answer((text,), values[name])
        row = Row(sample, answer, task.score(sample, answer))
        assert _mean_precision(task, row) == pytest.approx(precision), name


def _mean_precision(task: Any, row: Row[Any]) -> float:
    return float(task.metrics["APs"].prepare([row])(np.ones(1)))
