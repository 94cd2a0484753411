"""Grounding DINO at tiny size: the authors' AP protocol by plain loops, its traps, and the commands."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    GroundingDinoProcessor,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
)

from baselines import grounding_dino
from baselines.entry import Entry, Setting
from baselines.grounding_dino import class_scores, joined, tokens_in
from harness.core import Boxes, Grounded, Model, Phrase, Question
from harness.errors import CheckpointError
from tests.baselines import detectors, rivals

ENTRIES = {entry.name: entry for entry in grounding_dino.ENTRIES}
CASES = {"gdino": ENTRIES["grounding-dino-t"], "mm": ENTRIES["mm-grounding-dino-t-o365v1-goldg"]}
CLASSES = {"gdino": GroundingDinoForObjectDetection, "mm": MMGroundingDinoForObjectDetection}


def saved(folder: Path, kind: str, **changes: Any) -> Path:
    """A tiny checkpoint with random weights."""
    common = {
        "backbone_config": {
            "model_type": "swin", "image_size": 64, "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2],
            "window_size": 4, "out_indices": [2, 3, 4],
        },
        "text_config": {
            "model_type": "bert", "vocab_size": 3000, "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 512,
        },
        "d_model": 32, "encoder_layers": 1, "encoder_ffn_dim": 32, "encoder_attention_heads": 2, "decoder_layers": 2,
        "decoder_ffn_dim": 32, "decoder_attention_heads": 2, "num_queries": 30, "init_std": 0.3, **changes,
    }  # fmt: skip
    torch.manual_seed(0)
    config = (MMGroundingDinoConfig if kind == "mm" else GroundingDinoConfig)(**common)
    model = CLASSES[kind](config)
    with torch.no_grad():  # queries that differ, as a trained model's do
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    pixels = GroundingDinoImageProcessorPil(size={"shortest_edge": 72, "longest_edge": 120})
    GroundingDinoProcessor(pixels, detectors.bert_tokenizer()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["gdino", "mm"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Entry, Path]:
    """A kind, its entry, and a checkpoint of it."""
    kind = request.param
    return kind, CASES[kind], saved(tmp_path_factory.mktemp(kind), kind)


@cache
def loaded(entry: str, folder: Path) -> Model:
    """The entry on a checkpoint; its images are in the checkpoint's folder."""
    return ENTRIES[entry].load(Setting(root=folder, weights=str(folder), device="cpu"))


def answer(entry: Entry, folder: Path, question: Question) -> Any:
    """The value of one question."""
    return rivals.answers(loaded(entry.name, folder), [(0, question)])[0].value


@cache
def by_hand(kind: str, folder: Path) -> tuple[Any, Any]:
    """The processor and the model, as transformers loads them."""
    pixels = GroundingDinoImageProcessorPil.from_pretrained(folder)
    return GroundingDinoProcessor(pixels, detectors.bert_tokenizer()), CLASSES[kind].from_pretrained(folder).eval()


def outputs(kind: str, folder: Path, image: Path, caption: str) -> tuple[list[str], Any, Any]:
    """The tokens of a caption, (Q, 256) probabilities and (Q, 4) shares: the model and processor run by hand."""
    processor, model = by_hand(kind, folder)
    inputs = processor(images=Image.open(image), text=caption, return_tensors="pt")
    with torch.no_grad():
        output = model(**inputs)
    tokens = processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
    return tokens, output.logits[0].sigmoid(), output.pred_boxes[0]


def pixels(shares: Any, width: int, height: int, clip: bool) -> list[float]:
    """A box in pixels, from its centre and sides as shares."""
    x, y, w, h = shares.tolist()
    box = [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height]
    return [min(max(edge, 0), side) for edge, side in zip(box, (width, height) * 2, strict=True)] if clip else box


@pytest.mark.parametrize("number", [0, 1, 3])
def test_detect_pairs_equal_the_authors_rule_in_loops(
    tiny: tuple[str, Entry, Path], tmp_path: Path, number: int
) -> None:
    kind, entry, folder = tiny
    name = rivals.images(folder)[number]
    names = ("Red Circle", "triangle", "star", "small blue square")
    value = answer(entry, folder, Question(name, None, "find", phrases=tuple(map(Phrase, names))))
    # `demo/test_ap_on_coco.py`: " . ".join(names) + " ."
    tokens, probabilities, shares = outputs(
        kind, folder, folder / name, "red circle . triangle . star . small blue square ."
    )
    assert " ".join(tokens) == "[CLS] red circle . triangle . star . small blue square . [SEP]"
    places = {"Red Circle": [1, 2], "triangle": [4], "star": [6], "small blue square": [8, 9, 10]}
    pairs = [
        (sum(float(probabilities[query, token]) for token in places[label]) / len(places[label]), label, query)
        for query in range(30)
        for label in names
    ]
    width, height = rivals.SIZES[number]
    expected = [
        (score, label, pixels(shares[query], width, height, kind == "mm"))
        for score, label, query in sorted(pairs, key=lambda pair: -pair[0])
    ]
    assert len(expected) == 120  # 30 queries x 4 names: no threshold, no NMS
    detectors.assert_boxes(value, expected)


def test_refer_box_is_that_of_the_highest_token(tiny: tuple[str, Entry, Path], tmp_path: Path) -> None:
    kind, entry, folder = tiny
    name = rivals.images(folder)[1]
    value = answer(entry, folder, Question(name, None, "refer", text="the small circle on the left"))
    _, probabilities, shares = outputs(kind, folder, folder / name, "the small circle on the left .")
    query = int(probabilities.max(dim=1).values.argmax())
    expected = pixels(shares[query], *rivals.SIZES[1], kind == "mm")
    detectors.assert_boxes(value, [(float(probabilities[query].max()), "the small circle on the left", expected)])


def test_ground_boxes_of_a_phrase_are_by_the_mean_over_its_tokens(
    tiny: tuple[str, Entry, Path], tmp_path: Path
) -> None:
    kind, entry, folder = tiny
    name = rivals.images(folder)[0]
    text = "A red circle and a blue square"
    spans = (Phrase("A red circle", 0, 12), Phrase("a blue square", 17, 30))
    value = answer(entry, folder, Question(name, None, "ground", text=text, phrases=spans))
    tokens, probabilities, shares = outputs(kind, folder, folder / name, f"{text} .")
    assert tokens == ["[CLS]", "a", "red", "circle", "and", "a", "blue", "square", ".", "[SEP]"]
    assert isinstance(value, Grounded)
    for boxes, places in zip(value.boxes, ([1, 2, 3], [5, 6, 7]), strict=True):
        order = probabilities[:, places].mean(dim=1).sort(descending=True, stable=True).indices[:10]
        expected = [tuple(pixels(shares[query], *rivals.SIZES[0], kind == "mm")) for query in order.tolist()]
        assert len(boxes) == 10
        assert [pytest.approx(box, abs=0.01) for box in expected] == list(boxes)


def test_answers_do_not_depend_on_the_batch(tiny: tuple[str, Entry, Path], tmp_path: Path) -> None:
    _, entry, folder = tiny
    detectors.check_batches(entry, folder, tmp_path)


def test_padded_batch_of_transformers_moves_scores_and_ours_does_not(
    tiny: tuple[str, Entry, Path], tmp_path: Path
) -> None:
    kind, entry, folder = tiny
    wide, tall, *_ = rivals.images(folder)
    _, alone, _ = outputs(kind, folder, folder / wide, "red circle .")
    processor, theirs = by_hand(kind, folder)
    inputs = processor(
        images=[Image.open(folder / wide), Image.open(folder / tall)],
        text=["red circle ."] * 2, return_tensors="pt",
    )  # fmt: skip
    with torch.no_grad():
        padded = theirs(**inputs).logits[0].sigmoid()
    assert (padded.max(dim=1).values.sort().values - alone.max(dim=1).values.sort().values).abs().max() > 1e-4
    model = entry.load(Setting(root=folder, weights=str(folder), device="cpu", batch_size=8))
    asked = [Question(name, None, "find", phrases=(Phrase("red circle"),)) for name in (wide, tall, wide)]
    found = rivals.answers(model, list(enumerate(asked)))
    assert [found[ticket].batch for ticket in range(3)] == [2, 1, 2]
    expected = alone[:, 1:3].mean(dim=1).sort(descending=True).values
    for ticket in (0, 2):
        assert found[ticket].value.region_scores == pytest.approx(expected.tolist(), abs=1e-5)


def test_names_that_need_several_captions_equal_each_caption_by_hand(tmp_path: Path) -> None:
    folder = saved(tmp_path / "short", "gdino", max_text_len=12)
    name = rivals.images(folder)[0]
    names = ("red circle", "green", "blue square", "yellow star", "cross")
    model = CASES["gdino"].load(Setting(root=folder, weights=str(folder), device="cpu"))
    asked = Question(name, None, "find", phrases=tuple(map(Phrase, names)))
    value = rivals.answers(model, [(0, asked)])[0].value
    # 12 tokens are [CLS], 10 of names and full stops, [SEP]: 3 + 2 + 3 = 8, then 3 would be one too many
    captions = {
        "red circle . green . blue square .": {"red circle": [1, 2], "green": [4], "blue square": [6, 7]},
        "yellow star . cross .": {"yellow star": [1, 2], "cross": [4]},
    }
    expected = []
    for caption, places in captions.items():
        _, probabilities, shares = outputs("gdino", folder, folder / name, caption)
        expected += [
            (float(probabilities[query, tokens].mean()), label, pixels(shares[query], *rivals.SIZES[0], False))
            for query in range(30)
            for label, tokens in places.items()
        ]
    detectors.assert_boxes(value, sorted(expected, key=lambda pair: -pair[0]))


def test_300_highest_pairs_are_of_all_captions_together(tmp_path: Path) -> None:
    folder = saved(tmp_path / "short", "gdino", max_text_len=12)
    name = rivals.images(folder)[0]
    colors, shapes = ("red", "green", "blue"), ("circle", "square", "star", "cross")
    names = [f"{color} {shape}" for color in colors for shape in shapes]
    value = answer(CASES["gdino"], folder, Question(name, None, "find", phrases=tuple(map(Phrase, names))))
    assert isinstance(value, Boxes) and value.region_scores is not None
    assert len(value.boxes) == 300  # of 30 queries x 12 names = 360 pairs, in 4 captions
    assert list(value.region_scores) == sorted(value.region_scores, reverse=True)


def test_name_with_a_full_stop_stays_one_label(tiny: tuple[str, Entry, Path], tmp_path: Path) -> None:
    kind, entry, folder = tiny
    name = rivals.images(folder)[2]
    phrases = (Phrase("St. Circle"), Phrase("square?"))
    value = answer(entry, folder, Question(name, None, "find", phrases=phrases))
    _, probabilities, shares = outputs(kind, folder, folder / name, "st circle . square .")
    places = {"St. Circle": [1, 2, 3], "square?": [5]}  # "st" is two pieces: s ##t
    expected = [
        (float(probabilities[query, tokens].mean()), label, pixels(shares[query], *rivals.SIZES[2], kind == "mm"))
        for query in range(30)
        for label, tokens in places.items()
    ]
    detectors.assert_boxes(value, sorted(expected, key=lambda pair: -pair[0]))


def test_container_is_not_part_of_container_number() -> None:
    # mmdetection #11501: a search for the string "star" would find it in "star cross"
    text, spans = joined(["star cross", "star", "cross"])
    assert text == "star cross . star . cross ."
    assert [text[start:end] for start, end in spans] == ["star cross", "star", "cross"]
    encoded = detectors.bert_tokenizer()(text, return_offsets_mapping=True)
    assert [tokens_in(span, encoded["offset_mapping"]) for span in spans] == [(1, 2), (4,), (6,)]


def test_class_scores_are_means_and_zero_without_tokens() -> None:
    probabilities = torch.tensor([[0.9, 0.5, 0.1], [0.2, 0.4, 0.8]]).numpy()
    scores = class_scores(probabilities, [(1, 2), (0,), ()])
    # (0.5 + 0.1) / 2 = 0.3, (0.4 + 0.8) / 2 = 0.6; the authors' 1e-6 in the divisor is below the tolerance
    assert scores == pytest.approx(torch.tensor([[0.3, 0.9, 0.0], [0.6, 0.2, 0.0]]).numpy(), abs=1e-5)


@pytest.mark.parametrize("names", [("",), (".",), ("circle", "?.", "star"), ("é" * 40, "星"), ("[SEP] circle",)])
def test_absurd_names_give_boxes_with_finite_scores(
    tiny: tuple[str, Entry, Path], tmp_path: Path, names: Sequence[str]
) -> None:
    _, entry, folder = tiny
    image = rivals.images(folder)[0]
    value = answer(entry, folder, Question(image, None, "find", phrases=tuple(map(Phrase, names))))
    assert isinstance(value, Boxes) and value.region_scores is not None
    assert set(value.labels) <= set(names)
    assert all(0 <= score <= 1 for score in value.region_scores)


def test_question_without_names_has_no_boxes(tiny: tuple[str, Entry, Path]) -> None:
    _, entry, folder = tiny
    [image, *_] = rivals.images(folder)
    assert answer(entry, folder, Question(image, None, "find")) == Boxes((), (), ())


def test_expression_longer_than_the_text_encoder_keeps_its_end(tmp_path: Path) -> None:
    folder = saved(tmp_path / "short", "gdino", max_text_len=8)
    [first, second, *_] = rivals.images(folder)
    text = "the small red circle on the left of the square"
    question = Question(first, None, "refer", text=text)
    value = answer(CASES["gdino"], folder, question)
    # 8 tokens: [CLS], the first five words, "." and [SEP]
    _, probabilities, _ = outputs("gdino", folder, folder / first, "the small red circle on .")
    assert value.region_scores == pytest.approx([float(probabilities.max())], abs=1e-5)
    model = CASES["gdino"].load(Setting(root=folder, weights=str(folder), device="cpu"))
    short = Question(first, None, "refer", text="circle")
    together = rivals.answers(model, [(0, question), (1, short), (2, Question(second, None, "refer", text=text))])
    assert together[0].value.region_scores == pytest.approx(value.region_scores, abs=1e-5)


def test_tiny_tokenizer_has_the_ids_that_the_attention_mask_is_made_from() -> None:
    from transformers.models.grounding_dino.modeling_grounding_dino import SPECIAL_TOKENS

    tokenizer = detectors.bert_tokenizer()
    assert tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]", ".", "?"]) == SPECIAL_TOKENS == [101, 102, 1012, 1029]


def test_map_equals_pycocotools_on_the_exported_results(tmp_path: Path) -> None:
    detectors.check_coco_eval(CASES["mm"], saved(tmp_path / "mm", "mm"), tmp_path)


def test_tasks_are_run_scored_compared_and_reported(tmp_path: Path) -> None:
    tasks = [*rivals.DETECT, *rivals.FIND, "flickr30k", *rivals.REFER]
    rivals.check_commands(CASES["gdino"], saved(tmp_path / "gdino", "gdino"), tmp_path, tasks)


def test_checkpoint_of_the_other_family_is_refused(tiny: tuple[str, Entry, Path]) -> None:
    kind, _, folder = tiny
    other = CASES["mm" if kind == "gdino" else "gdino"]
    with pytest.raises(CheckpointError, match="this entry needs"):
        other.load(Setting(weights=str(folder), device="cpu"))


def test_checkpoint_of_the_hub_is_downloaded_once(
    tiny: tuple[str, Entry, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, entry, folder = tiny
    rivals.check_hub(entry, folder, tmp_path / "cache", monkeypatch)
