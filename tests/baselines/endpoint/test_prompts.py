"""Prompt tables: the texts that are sent, and TOML files that are malformed."""

from __future__ import annotations

from pathlib import Path

import pytest

from baselines.endpoint.prompts import TABLES, find, texts_of
from baselines.endpoint.spaces import Resize, Space
from harness.core import Kind, Phrase, Question, Size
from harness.errors import DataError, UsageError

SIZE = Size(200, 100)
NAMES = (Phrase("cat"), Phrase("traffic light"))


def sent(table: str, kind: Kind, text: str = "a dog", phrases: tuple[Phrase, ...] = NAMES) -> tuple[str, ...]:
    question = Question("x.jpg", SIZE, kind, region=(0, 0, 200, 100), text=text, phrases=phrases)
    return texts_of(question, TABLES[table].asks[kind], SIZE)


@pytest.mark.parametrize(("table", "kind", "expected"), [
    # lmms-eval's prompt for VQA of LLaVA and Qwen
    ("plain", "vqa", ("a dog\nAnswer the question using a single word or phrase.",)),
    # OpenGVLab/InternVL: evaluate_vqa.py, evaluate_caption.py
    ("internvl3", "vqa", ("a dog Answer the question using a single word or phrase.",)),
    ("internvl3", "caption", ("Provide a one-sentence caption for the provided image.",)),
    # OpenGVLab/InternVL: evaluation of RefCOCO
    ("internvl3", "refer",
     ("Please provide the bounding box coordinate of the region this sentence describes: <ref>a dog</ref>",)),
    # QwenLM issues #947 and #1035
    ("qwen2.5-vl", "refer", ("Locate a dog in the image and output the bbox coordinates in JSON format.",)),
    ("qwen2.5-vl", "ground",
     ("Locate cat in the image and output the bbox coordinates in JSON format.",
      "Locate traffic light in the image and output the bbox coordinates in JSON format.")),
    # QwenLM/Qwen3-VL: evaluation/ODinW-13/dataset_utils.py
    ("qwen3-vl", "find",
     ("Locate every instance that belongs to the following categories: 'cat, traffic light'. "
      "Report bbox coordinates in JSON format.",)),
    # the task tokens of Florence-2's published processor
    ("florence2", "caption", ("<CAPTION>",)),
    ("florence2", "refer", ("<CAPTION_TO_PHRASE_GROUNDING>a dog",)),
    ("florence2", "find", ("<OPEN_VOCABULARY_DETECTION>cat", "<OPEN_VOCABULARY_DETECTION>traffic light")),
    ("florence2", "name", ("<REGION_TO_CATEGORY><loc_0><loc_0><loc_999><loc_999>",)),
    ("florence2", "vqa", ("a dog",)),
])  # fmt: skip
def test_prompt_is_that_of_its_source(table: str, kind: Kind, expected: tuple[str, ...]) -> None:
    assert sent(table, kind) == expected


def test_braces_in_a_question_stay_as_they_are() -> None:
    assert sent("florence2", "refer", "a {} and {0}") == ("<CAPTION_TO_PHRASE_GROUNDING>a {} and {0}",)


def test_name_with_the_separator_is_refused_where_names_are_joined() -> None:
    with pytest.raises(DataError, match="the name 'knife, fork' holds the separator ', '"):
        sent("qwen3-vl", "detect", phrases=(Phrase("cat"), Phrase("knife, fork")))


def test_question_without_phrases_has_no_prompt_over_each() -> None:
    assert sent("qwen2.5-vl", "ground", phrases=()) == ()


@pytest.mark.parametrize(("name", "space"), [
    ("plain", Space("none")), ("qwen3-vl", Space("thousand")), ("internvl3", Space("thousand")),
    ("qwen2.5-vl", Space("pixels", Resize(28, 3136, 12845056))), ("florence2", Space("none")),
])  # fmt: skip
def test_space_of_a_built_in_table_is_its_family_s(name: str, space: Space) -> None:
    assert find(name).space == space


def test_kinds_with_boxes_are_left_out_without_a_space_for_numbers() -> None:
    assert TABLES["qwen3-vl"].kinds(Space("none")) == {"caption", "vqa", "ocr"}
    assert "refer" in TABLES["qwen3-vl"].kinds(Space("unit"))
    assert "refer" in TABLES["florence2"].kinds(Space("none"))  # location tokens are no numbers of a space


def test_table_of_a_file_is_read_and_its_digest_depends_on_every_field(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'space = "pixels"\n[resize]\nfactor = 28\nmin_pixels = 784\nmax_pixels = 1000000\n'
        '[refer]\nask = "Where is {}?"\nread = "json"\nmax_tokens = 9\n'
    )
    table = find(str(path))
    assert (table.name, table.space, set(table.asks)) == ("mine", Space("pixels", Resize(28, 784, 1000000)), {"refer"})
    path.write_text(path.read_text().replace("= 9", "= 10"))
    assert find(str(path)).digest() != table.digest()


REFER = '[refer]\nask = "Where is {}?"\nread = "json"\n'


@pytest.mark.parametrize(("content", "message"), [
    ("", "it has no kind of question"),
    ("[refer\n", "is not a prompt table"),
    ('space = "percent"\n' + REFER, "space 'percent' is none of"),
    ("[reffer]\n", "'reffer' is neither a kind of question"),
    (REFER + "colour = 1\n", "unknown field `colour`"),
    (REFER + "max_tokens = 0\n", "max_tokens"),
    ('[refer]\nread = "json"\n', "missing required field `ask`"),
    ('[refer]\nask = "{}"\nread = "text"\n', r"\[refer\] read = 'text'"),
    ('[vqa]\nask = "{}"\nread = "json"\n', r"\[vqa\] read = 'json'"),
    ('[ground]\nask = "{}"\nread = "json"\n', "over = 'each' is needed"),
    ('[ground]\nask = "{}"\nread = "json"\nover = "joined"\n', "phrases are grounded once or each"),
    ('[resize]\nfactor = 0\nmin_pixels = 1\nmax_pixels = 1\n' + REFER, "factor from 1"),
    ('[refer]\nask = "Where?"\nread = "json"\n', r"\[refer\] ask has no {}"),
    ('[find]\nask = "{}"\nread = "florence2"\nover = "joined"\n', "read = 'florence2' needs over = 'each'"),
    ("name = 3\n" + REFER, "Expected `str`"),
])  # fmt: skip
def test_malformed_table_is_a_usage_error_that_names_the_fault(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        find(str(path))


def test_name_that_is_no_table_and_no_file_lists_the_tables() -> None:
    with pytest.raises(UsageError, match=r"--prompts qwen: one of plain, qwen2\.5-vl, qwen3-vl, internvl3, florence2"):
        find("qwen")
