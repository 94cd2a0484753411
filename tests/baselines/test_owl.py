"""OWL-ViT and OWLv2 at tiny size: scenic's protocol by plain loops over transformers' own forward, and its traps."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessorPil,
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTImageProcessorPil,
    PreTrainedTokenizerFast,
)

from baselines import owl
from baselines.entry import Entry, Setting
from harness.core import Boxes, Grounded, Model, Phrase, Question
from tests.baselines import detectors, rivals

ENTRIES = {entry.name: entry for entry in owl.ENTRIES}
CASES = {"owlv2": ENTRIES["owlv2-b"], "owlvit": ENTRIES["owlvit-b-32"]}
MODELS = {"owlv2": Owlv2ForObjectDetection, "owlvit": OwlViTForObjectDetection}
PIXELS = {"owlv2": Owlv2ImageProcessorPil, "owlvit": OwlViTImageProcessorPil}
WORDS = f"! {rivals.WORDS} itap bad origami game video art".replace("?", "")
PATCHES = 16  # 32 / 8 squared


def clip_tokenizer() -> Any:
    """A tokenizer of words with CLIP's form: the end has the highest id, where the text encoder pools; "!" is padding.

    An unknown word is one token, since CLIP's byte pairs know every text.
    """
    start, end = "<|startoftext|>", "<|endoftext|>"
    vocabulary = {word: place for place, word in enumerate([*dict.fromkeys(WORDS.split()), "<unk>", start, end])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [(token, vocabulary[token]) for token in (start, end)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{start} $A {end}", special_tokens=ends)
    named = {"bos_token": start, "eos_token": end, "pad_token": "!", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


@pytest.fixture(scope="module", params=["owlv2", "owlvit"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Entry, Path]:
    """A kind, its entry, and a checkpoint of it."""
    kind = request.param
    folder = tmp_path_factory.mktemp(kind)
    tokenizer = clip_tokenizer()
    common = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = (Owlv2Config if kind == "owlv2" else OwlViTConfig)(
        text_config={
            **common, "vocab_size": len(tokenizer), "max_position_embeddings": 16,
            "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0,
        },
        vision_config={**common, "image_size": 32, "patch_size": 8}, projection_dim=32,
    )  # fmt: skip
    torch.manual_seed(0)
    model = MODELS[kind](config)
    with torch.no_grad():  # boxes near their patches and scores that differ, as a trained model's
        for parameter in model.box_head.parameters():
            parameter.normal_(std=0.1)
        for parameter in model.class_head.parameters():
            parameter.normal_(std=0.2)
    model.save_pretrained(folder)
    PIXELS[kind](size={"height": 32, "width": 32}).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return kind, CASES[kind], folder


@cache
def by_hand(kind: str, folder: Path) -> tuple[Any, Any]:
    """The image processor and the model, as transformers loads them."""
    return PIXELS[kind].from_pretrained(folder), MODELS[kind].from_pretrained(folder).eval()


def forward(kind: str, folder: Path, image: Path, texts: list[str]) -> tuple[Any, Any]:
    """(P, texts) logits, and (P, 4) centres and sides as shares: transformers' own forward of one list of queries."""
    processor, model = by_hand(kind, folder)
    pixels = processor([Image.open(image)], return_tensors="pt")["pixel_values"]
    inputs = clip_tokenizer()(texts, padding="max_length", truncation=True, max_length=16, return_tensors="pt")
    with torch.no_grad():
        output = model(pixel_values=pixels, input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    return output.logits[0], output.pred_boxes[0]


def in_image(kind: str, shares: Any, width: int, height: int) -> tuple[float, ...]:
    """A box in pixels: OWLv2's shares are of the longer side, OWL-ViT's of each side; clipped to the image."""
    x, y, w, h = shares.tolist()
    across, down = (max(width, height),) * 2 if kind == "owlv2" else (width, height)
    edges = ((x - w / 2) * across, (y - h / 2) * down, (x + w / 2) * across, (y + h / 2) * down)
    return tuple(min(max(edge, 0), side) for edge, side in zip(edges, (width, height) * 2, strict=True))


@cache
def loaded(entry: str, folder: Path) -> Model:
    """The entry on a checkpoint; its images are in the checkpoint's folder."""
    return ENTRIES[entry].load(Setting(root=folder, weights=str(folder), device="cpu"))


def answer(entry: Entry, folder: Path, question: Question) -> Any:
    """The answer to one question."""
    return rivals.answers(loaded(entry.name, folder), [(0, question)])[0]


@pytest.mark.parametrize("number", [0, 1, 3])
def test_pairs_equal_forwards_of_seven_templates_averaged(
    tiny: tuple[str, Entry, Path], tmp_path: Path, number: int
) -> None:
    kind, entry, folder = tiny
    image = rivals.images(folder)[number]
    names = ("Red circle", "star", "small_square")
    value = answer(entry, folder, Question(image, None, "find", phrases=tuple(map(Phrase, names)))).value
    written = ("red circle", "star", "small square")
    forms = ("itap of a {}", "a bad photo of the {}", "a origami {}", "a photo of the large {}",
             "a {} in a video game", "art of the {}", "a photo of the small {}")  # fmt: skip
    passes = [forward(kind, folder, folder / image, [form.format(name) for name in written]) for form in forms]
    scores = (sum(logits for logits, _ in passes) / 7).sigmoid()
    shares = passes[0][1]
    pairs = []
    for patch in range(PATCHES):
        box = in_image(kind, shares[patch], *rivals.SIZES[number])
        if box[0] < box[2] and box[1] < box[3]:
            pairs += [(float(scores[patch, column]), name, box) for column, name in enumerate(names)]
    assert 0 < len(pairs) <= 48
    detectors.assert_boxes(value, sorted(pairs, key=lambda pair: -pair[0]))


def test_boxes_in_the_padding_of_owlv2_are_dropped(tiny: tuple[str, Entry, Path], tmp_path: Path) -> None:
    kind, entry, folder = tiny
    Image.new("RGB", (10, 200), (90, 30, 200)).save(folder / "tall.png")
    asked = Question("tall.png", None, "find", phrases=(Phrase("star"),))
    value = answer(entry, folder, asked).value
    assert isinstance(value, Boxes)
    _, shares = forward(kind, folder, folder / "tall.png", ["itap of a star"])
    left = [(x - w / 2) * 200 for x, _, w, _ in shares.tolist()]
    outside = sum(edge >= 10 for edge in left) if kind == "owlv2" else 0
    assert (outside > 0) == (kind == "owlv2")
    assert len(value.boxes) == PATCHES - outside
    assert all(0 <= x1 < x2 <= 10 and 0 <= y1 < y2 <= 200 for x1, y1, x2, y2 in value.boxes)


def test_refer_box_is_that_of_the_highest_score_of_the_expression_alone(
    tiny: tuple[str, Entry, Path], tmp_path: Path
) -> None:
    kind, entry, folder = tiny
    image = rivals.images(folder)[0]
    value = answer(entry, folder, Question(image, None, "refer", text="The circle, on the left!")).value
    logits, shares = forward(kind, folder, folder / image, ["the circle on the left"])
    boxes = [in_image(kind, row, *rivals.SIZES[0]) for row in shares]
    pairs = [
        (float(score), "The circle, on the left!", box)
        for score, box in zip(logits[:, 0].sigmoid(), boxes, strict=True)
        if box[0] < box[2] and box[1] < box[3]
    ]
    detectors.assert_boxes(value, [max(pairs)])


@pytest.mark.parametrize("number", [0, 1, 3])
def test_ground_boxes_of_a_phrase_are_the_ten_best_of_the_phrase_alone(
    tiny: tuple[str, Entry, Path], number: int
) -> None:
    kind, entry, folder = tiny
    image = rivals.images(folder)[number]
    text = "A red circle, and a blue square"
    spans = (Phrase("A red circle", 0, 12), Phrase("a blue square", 18, 31))
    value = answer(entry, folder, Question(image, None, "ground", text=text, phrases=spans)).value
    assert isinstance(value, Grounded) and len(value.boxes) == 2
    for boxes, phrase in zip(value.boxes, ("a red circle", "a blue square"), strict=True):
        logits, shares = forward(kind, folder, folder / image, [phrase])  # without the other phrase
        pairs = [(float(logits[patch, 0]), in_image(kind, shares[patch], *rivals.SIZES[number])) for patch in range(16)]
        full = [(score, box) for score, box in pairs if box[0] < box[2] and box[1] < box[3]]
        expected = [box for _, box in sorted(full, key=lambda pair: -pair[0])][:10]
        assert 0 < len(expected) <= 10
        assert [pytest.approx(box, abs=0.01) for box in expected] == list(boxes)


def test_ground_box_of_a_phrase_is_that_of_the_same_expression(tiny: tuple[str, Entry, Path]) -> None:
    _, entry, folder = tiny
    [image, *_] = rivals.images(folder)
    spans = (Phrase("the star", 0, 8), Phrase("the star", 13, 21))  # a phrase may occur twice
    grounded = answer(entry, folder, Question(image, None, "ground", text="the star and the star", phrases=spans)).value
    referred = answer(entry, folder, Question(image, None, "refer", text="the star")).value
    assert [boxes[0] for boxes in grounded.boxes] == [referred.boxes[0]] * 2


def test_text_of_more_than_16_tokens_is_cut_and_counted(tiny: tuple[str, Entry, Path], tmp_path: Path) -> None:
    kind, entry, folder = tiny
    image = rivals.images(folder)[0]
    words = "the small red circle on the left of the large blue square in the photo"  # 15 words, 17 tokens
    long = answer(entry, folder, Question(image, None, "refer", text=words))
    fits = answer(entry, folder, Question(image, None, "refer", text=words.rpartition(" ")[0]))
    assert (long.truncated, fits.truncated) == (True, False)
    assert long.raw == ("1 boxes for a text that was cut",)
    logits, _ = forward(kind, folder, folder / image, [words.rpartition(" ")[0]])  # the 14 words that are left
    spans = (Phrase(words, 0, len(words)), Phrase("star", 80, 84))
    assert answer(entry, folder, Question(image, None, "ground", text=words, phrases=spans)).truncated
    assert long.value.region_scores == fits.value.region_scores
    assert float(logits.sigmoid().max()) >= long.value.region_scores[0] - 1e-6


def test_answers_do_not_depend_on_the_batch_and_its_numbers_of_queries(
    tiny: tuple[str, Entry, Path], tmp_path: Path
) -> None:
    _, entry, folder = tiny
    detectors.check_batches(entry, folder, tmp_path)


def test_templates_are_those_of_scenic() -> None:
    # google-research/scenic, scenic/projects/owl_vit/preprocessing/label_ops.py, CLIP_BEST_PROMPT_TEMPLATES; the full
    # stops are dropped by its `_canonicalize_string_py`
    asked = Question("a.png", None, "detect", phrases=(Phrase("Wii_remote (white)"), Phrase("hot -- dog")))
    assert [of_template[0] for of_template in owl.texts_of(asked)] == [
        "itap of a wii remote white",
        "a bad photo of the wii remote white",
        "a origami wii remote white",
        "a photo of the large wii remote white",
        "a wii remote white in a video game",
        "art of the wii remote white",
        "a photo of the small wii remote white",
    ]
    assert owl.texts_of(asked)[0][1] == "itap of a hot - dog"
    assert owl.texts_of(Question("a.png", None, "refer", text="Man, LEFT!")) == (("man left",),)


def test_absurd_names_give_finite_scores(tiny: tuple[str, Entry, Path], tmp_path: Path) -> None:
    _, entry, folder = tiny
    image = rivals.images(folder)[3]
    names = ("", "!", "星", "." * 300, "star")
    value = answer(entry, folder, Question(image, None, "find", phrases=tuple(map(Phrase, names)))).value
    assert isinstance(value, Boxes) and value.region_scores is not None
    assert all(0 <= score <= 1 for score in value.region_scores)
    grounded = answer(entry, folder, Question(image, None, "ground", phrases=tuple(map(Phrase, names)))).value
    assert len(grounded.boxes) == 5 and all(1 <= len(boxes) <= 10 for boxes in grounded.boxes)
    empty = answer(entry, folder, Question(image, None, "refer", text="")).value
    assert len(empty.boxes) == 1


def test_question_without_names_has_no_boxes(tiny: tuple[str, Entry, Path]) -> None:
    _, entry, folder = tiny
    [image, *_] = rivals.images(folder)
    assert answer(entry, folder, Question(image, None, "find")).value == Boxes((), (), ())
    assert answer(entry, folder, Question(image, None, "ground", text="a red circle")).value == Grounded(())


def test_map_equals_pycocotools_on_the_exported_results(tiny: tuple[str, Entry, Path], tmp_path: Path) -> None:
    _, entry, folder = tiny
    detectors.check_coco_eval(entry, folder, tmp_path, hits=True)


@pytest.mark.parametrize("tiny", ["owlv2"], indirect=True)
def test_tasks_are_run_scored_compared_and_reported(tiny: tuple[str, Entry, Path], tmp_path: Path) -> None:
    _, entry, folder = tiny
    tasks = [*rivals.DETECT, *rivals.FIND, *rivals.REFER, "flickr30k"]
    rivals.check_commands(entry, folder, tmp_path, tasks)


def test_checkpoint_of_the_hub_is_downloaded_once(
    tiny: tuple[str, Entry, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, entry, folder = tiny
    rivals.check_hub(entry, folder, tmp_path / "cache", monkeypatch)
