"""Prompts to token ids, and token ids to items."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tokenizers import Tokenizer as Backend
from tokenizers.models import WordLevel
from transformers import CLIPImageProcessorPil, Florence2Processor, PreTrainedTokenizerFast

from harness.core import Kind, Question, Size, Text
from harness.errors import CheckpointError
from harness.florence2 import locations, prompts, reading
from harness.florence2.tokenizer import Tokenizer
from harness.training.vocabulary import learn

PUBLISHED = os.environ.get("FLORENCE2_TOKENIZER")  # a folder with the published vocab.json and merges.txt

# The ids are from transformers' tests of Florence2Processor, and from the published tokenizer.
GOLDEN = {
    "What is the text in the image?": "0 2264 16 5 2788 11 5 2274 116 2",
    "What is the text in the image, with regions?": "0 2264 16 5 2788 11 5 2274 6 19 3806 116 2",
    "What does the image describe?": "0 2264 473 5 2274 6190 116 2",
    "Describe in detail what is shown in the image.": "0 47066 21700 11 4617 99 16 2343 11 5 2274 4 2",
    "Describe with a paragraph what is shown in the image.": "0 47066 21700 19 10 17818 99 16 2343 11 5 2274 4 2",
    "Locate the objects with category name in the image.": "0 574 22486 5 8720 19 4120 766 11 5 2274 4 2",
    "Locate the objects in the image, with their descriptions.": "0 574 22486 5 8720 11 5 2274 6 19 49 24173 4 2",
    "Locate the region proposals in the image.": "0 574 22486 5 976 5327 11 5 2274 4 2",
    "Locate wheels in the image.": "0 574 22486 10562 11 5 2274 4 2",
}


@pytest.fixture(scope="module")
def small() -> Tokenizer:
    return learn([*prompts.PROMPTS.values(), "the red car left of the blue house"] * 5, 1400)


@pytest.mark.skipif(
    PUBLISHED is None, reason="needs FLORENCE2_TOKENIZER, a folder with the published vocab.json and merges.txt"
)
def test_encode_with_the_published_tokenizer_gives_the_published_ids() -> None:
    tokenizer = Tokenizer.load(Path(PUBLISHED or ""))
    for text, ids in GOLDEN.items():
        assert tokenizer.encode(text) == [int(number) for number in ids.split()], text
    # 50265 BART ids, then <od> </od> <ocr> </ocr>, then the bins, then the other marks.
    assert tokenizer.first_bin == 50269
    assert tokenizer.encode("<loc_0><loc_999>") == [0, 50269, 51268, 2]
    assert tokenizer.backend.token_to_id("<and>") == 51288
    assert tokenizer.size == 51289


def test_published_prompts_are_those_with_known_ids() -> None:
    known = {*prompts.PROMPTS.values(), prompts.expand("<OPEN_VOCABULARY_DETECTION>{}", "wheels")}
    assert known == GOLDEN.keys()


@pytest.mark.parametrize("kind", ["name", "describe", "outline", "read", "regions", "propose"])
def test_prompt_ids_of_a_question_equal_transformers_processor(kind: Kind, small: Tokenizer) -> None:
    """Both pipelines from their beginning, a question or a task token, to the ids for the encoder."""
    backend = Backend.from_str(small.backend.to_str())
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    fast.add_tokens(["<image>"], special_tokens=True)
    fast.image_token, fast.image_token_id = "<image>", fast.convert_tokens_to_ids("<image>")
    pixels = CLIPImageProcessorPil(size={"height": 8, "width": 8}, crop_size={"height": 8, "width": 8})
    pixels.image_seq_length = 1
    processor = Florence2Processor(image_processor=pixels, tokenizer=fast)

    # At 640x480 a bin is 0.64 wide and 0.48 high: 64 / 0.64 = 100, 48 / 0.48 = 100, 128 / 0.64 = 200, 240 / 0.48 = 500.
    question = Question("x.jpg", Size(640, 480), kind, region=(64.1, 48.1, 128.1, 240.1))
    tokens = "<loc_100><loc_100><loc_200><loc_500>"
    tasks: dict[Kind, str] = {
        "name": f"<REGION_TO_CATEGORY>{tokens}",
        "describe": f"<REGION_TO_DESCRIPTION>{tokens}",
        "outline": f"<REGION_TO_SEGMENTATION>{tokens}",
        "read": f"<REGION_TO_OCR>{tokens}",
        "regions": "<DENSE_REGION_CAPTION>",
        "propose": "<REGION_PROPOSAL>",
    }
    [ids] = processor(images=Image.new("RGB", (8, 8)), text=tasks[kind])["input_ids"]
    [expected] = [small.encode(text) for text in prompts.prompts_of(question)]
    assert [int(number) for number in ids if number != fast.image_token_id] == expected


def test_items_of_ids_equal_items_of_their_text(small: Tokenizer) -> None:
    text = "the red car<loc_0><loc_12><loc_500><loc_999><and> the blue house<sep><loc_3>"
    ids = small.encode(text)
    pieces = small.items(ids)
    assert locations.raw(pieces) == text
    assert [(item.text, item.bin, item.mark) for item in pieces] == [
        (item.text, item.bin, item.mark) for item in locations.items(text)
    ]


def test_items_with_log_probabilities_have_those_of_their_own_tokens(small: Tokenizer) -> None:
    ids = small.encode("the red car<loc_7>")
    log_probs = [-float(place) for place in range(len(ids))]
    words, bin_ = small.items(ids, log_probs)
    assert words.log_probs == tuple(log_probs[1:-2])  # between <s> and the bin
    assert bin_.log_probs == (log_probs[-2],)


def test_texts_of_tokens_make_up_the_answer(small: Tokenizer) -> None:
    """Tokens of single bytes: "é" has 2 and "日" has 3; the last token of a letter has the letter."""
    ids = small.encode("the é日 car<loc_7><sep>")
    texts = small.texts(ids)
    assert len(texts) == len(ids) and (texts[0], texts[-1]) == ("<s>", "</s>")
    assert "".join(texts[1:-1]) == locations.raw(small.items(ids))
    assert texts[-3:-1] == ["<loc_7>", "<sep>"]
    place = next(place for place, text in enumerate(texts) if "é" in text)
    assert texts[place - 1] == "" and any(text.endswith("日") for text in texts)
    assert "".join(small.texts(ids[: place - 1] + ids[place:])) == "".join(
        ["<s>", small._text(ids[1 : place - 1] + ids[place:-3]), "<loc_7><sep></s>"]
    )  # a letter that is cut is a replacement character in both


def with_own_tokens(small: Tokenizer, folder: Path) -> PreTrainedTokenizerFast:
    """transformers' tokenizer with three special tokens and a plain one added, saved as a fine-tune leaves it."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=Backend.from_str(small.backend.to_str()),
        bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
    )  # fmt: skip
    fast.add_tokens(["<total>", "</total>", "<prix é>"], special_tokens=True)
    fast.add_tokens(["naïve"], special_tokens=False)
    fast.save_pretrained(folder)
    return fast


@pytest.mark.parametrize(
    "text", ["red <total>3 dogs</total>", "<total>", "a<total></total> <prix é> naïve red", "<unk> red"]
)
def test_tokens_that_a_fine_tune_added_stay_in_raw_text_and_value(text: str, small: Tokenizer, tmp_path: Path) -> None:
    fast = with_own_tokens(small, tmp_path)
    ids = [0, *fast(text, add_special_tokens=False)["input_ids"], 2, 1]
    assert any(number >= small.size or number == 3 for number in ids)
    pieces = Tokenizer.load(tmp_path).items(ids)
    assert locations.raw(pieces) == text
    value = reading.read_answer(Question("x.jpg", Size(10, 10), "caption"), [pieces], Size(10, 10))
    assert value == Text((text,))


def test_labels_keep_tokens_that_a_fine_tune_added_with_their_log_probabilities(
    small: Tokenizer, tmp_path: Path
) -> None:
    fast = with_own_tokens(small, tmp_path)
    ids = fast("<total>red</total><loc_1><loc_2><loc_3><loc_4>", add_special_tokens=False)["input_ids"]
    label, *bins = Tokenizer.load(tmp_path).items(ids, [-1.0] * len(ids))
    assert (label.text, len(label.log_probs)) == ("<total>red</total>", len(ids) - 4)
    assert [item.bin for item in bins] == [1, 2, 3, 4]


def test_own_tokens_are_those_that_no_published_checkpoint_has(small: Tokenizer, tmp_path: Path) -> None:
    assert small.own_tokens == []
    with_own_tokens(small, tmp_path).add_tokens(["<image>"], special_tokens=True)
    assert Tokenizer.load(tmp_path).own_tokens == ["<total>", "</total>", "<prix é>", "naïve"]


def write_bart_files(small: Tokenizer, folder: Path, added: dict[str, int]) -> None:
    """The files that transformers' slow tokenizer leaves: `vocab.json`, `merges.txt` and `added_tokens.json`."""
    model = json.loads(small.backend.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps({k: v for k, v in model["vocab"].items() if v < small.first_bin - 4}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in model["merges"]) + "\n")
    (folder / "added_tokens.json").write_text(json.dumps(added))


def test_added_tokens_beside_bart_files_have_their_ids_and_stay_in_text(small: Tokenizer, tmp_path: Path) -> None:
    write_bart_files(small, tmp_path, {})
    size = Tokenizer.load(tmp_path).size
    first = size - len(locations.ADDED_TOKENS)
    added = {token: first + place for place, token in enumerate(locations.ADDED_TOKENS)}
    write_bart_files(small, tmp_path, {"</total>": size + 1, "<total>": size, **added})
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.backend.token_to_id("</total>") == size + 1
    ids = tokenizer.encode("<total>red</total>")
    assert (ids[1], ids[-2]) == (size, size + 1)
    assert locations.raw(tokenizer.items(ids)) == "<total>red</total>"


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ({"<total>": 9999}, r"added_tokens\.json gives <total> the id 9999; .* its id would be \d+$"),
        ({"<total>": "x"}, "gives <total> the id x"),
        ([1], "the tokenizer files in .* cannot be read"),
    ],
)
def test_added_tokens_that_cannot_have_their_ids_are_a_checkpoint_error(
    added: Any, message: str, small: Tokenizer, tmp_path: Path
) -> None:
    write_bart_files(small, tmp_path, added)
    with pytest.raises(CheckpointError, match=message):
        Tokenizer.load(tmp_path)


def test_tokenizer_of_bart_files_gives_the_ids_of_the_tokenizer_json(small: Tokenizer, tmp_path: Path) -> None:
    model = json.loads(small.backend.to_str())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps({k: v for k, v in model["vocab"].items() if "<loc" not in k}))
    (tmp_path / "merges.txt").write_text(
        "#version: 0.2\n" + "\n".join(" ".join(pair) for pair in model["merges"]) + "\n"
    )
    loaded = Tokenizer.load(tmp_path)
    text = "What does the image describe? the red car"
    assert loaded.encode(text) == small.encode(text)
    assert loaded.backend.decode(loaded.encode(text)[1:-1]) == text


def test_missing_or_malformed_tokenizer_files_are_a_checkpoint_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        Tokenizer.load(tmp_path)


def test_tokenizer_file_on_which_the_backend_panics_is_a_checkpoint_error(small: Tokenizer, tmp_path: Path) -> None:
    """A prefix of subwords that is longer than the tokens of a merge; the backend slices beyond its string."""
    stated = json.loads(small.backend.to_str())
    stated["model"]["continuing_subword_prefix"] = "abcdef"
    (tmp_path / "tokenizer.json").write_text(json.dumps(stated))
    with pytest.raises(CheckpointError, match="cannot be read"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(("changes", "message"), [
    ({"<pad>": 7}, "the tokenizer gives <pad> the id 7; BART's id is 1"),
    ({"<loc_999>": 5000}, "location tokens do not have consecutive ids"),
])  # fmt: skip
def test_tokenizer_with_other_ids_is_a_checkpoint_error(changes: dict[str, int], message: str) -> None:
    vocabulary = {token: number for number, token in enumerate(["<s>", "<pad>", "</s>", "<unk>"])}
    vocabulary |= {token: 100 + number for number, token in enumerate(locations.ADDED_TOKENS)}
    backend = Backend(WordLevel(vocabulary | changes, unk_token="<unk>"))
    with pytest.raises(CheckpointError, match=message):
        Tokenizer(backend)
