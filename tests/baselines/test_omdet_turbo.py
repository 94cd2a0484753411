"""OmDet-Turbo at tiny size: transformers' own forward, its post-processing in loops, and the commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import DetrImageProcessorPil, OmDetTurboConfig, OmDetTurboForObjectDetection

from baselines import omdet_turbo
from baselines.detectors import Prepared
from baselines.entry import Setting
from harness.core import Boxes, Grounded, Phrase, Question, Size
from harness.geometry.boxes import iou
from tests.baselines import detectors, rivals
from tests.baselines.test_owl import clip_tokenizer

[ENTRY] = omdet_turbo.ENTRIES
NAMES = ("circle", "star", "small square")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights, and the images of `rivals`."""
    folder = tmp_path_factory.mktemp("omdet")
    tokenizer = clip_tokenizer()
    config = OmDetTurboConfig(
        backbone_config={
            "model_type": "swin", "image_size": 64, "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2],
            "window_size": 2, "out_indices": [2, 3, 4],
        },
        text_config={
            "model_type": "clip_text_model", "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "vocab_size": len(tokenizer), "max_position_embeddings": 77,
            "projection_dim": 48, "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        },
        use_timm_backbone=False, backbone=None, image_size=64, text_projection_in_dim=48, text_projection_out_dim=48,
        task_encoder_hidden_dim=32, class_embed_dim=48, num_queries=20, encoder_hidden_dim=32, decoder_hidden_dim=32,
        vision_features_channels=[32, 32, 32], encoder_in_channels=[16, 32, 64], encoder_dim_feedforward=32,
        encoder_attention_heads=4, decoder_num_heads=4, decoder_num_layers=2, decoder_dim_feedforward=32,
        disable_custom_kernels=True, apply_layernorm_after_vision_backbone=False,
    )  # fmt: skip
    torch.manual_seed(0)
    model = OmDetTurboForObjectDetection(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    DetrImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    rivals.images(folder)
    return folder


def answer(folder: Path, question: Question) -> Any:
    """The value of one question."""
    model = ENTRY.load(Setting(root=folder, weights=str(folder), device="cpu"))
    return rivals.answers(model, [(0, question)])[0].value


def forward(folder: Path, image: Path, names: Sequence[str]) -> tuple[Any, list[tuple[float, ...]]]:
    """(Q, names) scores and Q boxes in pixels, by transformers' own forward."""
    tokenizer, model = clip_tokenizer(), OmDetTurboForObjectDetection.from_pretrained(folder).eval()

    def encoded(texts: list[str]) -> Any:
        return tokenizer(texts, padding="max_length", truncation=True, max_length=77, return_tensors="pt")

    task, classes = encoded([f"Detect {', '.join(names)}."]), encoded(list(names))
    with Image.open(image) as opened, torch.no_grad():
        width, height = opened.size
        output = model(
            pixel_values=DetrImageProcessorPil.from_pretrained(folder)(opened, return_tensors="pt")["pixel_values"],
            classes_input_ids=classes["input_ids"], classes_attention_mask=classes["attention_mask"],
            tasks_input_ids=task["input_ids"], tasks_attention_mask=task["attention_mask"],
            classes_structure=torch.tensor([len(names)]),
        )  # fmt: skip
    boxes = [
        ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
        for x, y, w, h in output.decoder_coord_logits[0].tolist()
    ]
    return output.decoder_class_logits[0].sigmoid(), boxes


def inside(box: Sequence[float], size: tuple[int, int]) -> tuple[float, ...]:
    return tuple(min(max(edge, 0), side) for edge, side in zip(box, size * 2, strict=True))


def test_boxes_equal_transformers_forward_and_post_processing_in_loops(tiny: Path) -> None:
    for number in (0, 1):
        scores, boxes = forward(tiny, tiny / f"{number}.png", NAMES)
        pairs = sorted(((float(scores[query, n]), n, query) for query in range(20) for n in range(3)), reverse=True)
        kept: list[tuple[float, str, tuple[float, ...]]] = []
        for score, name, query in pairs[:20]:  # as many pairs as queries
            box = boxes[query]
            if all(other != NAMES[name] or iou(box, before) <= 0.5 for _, other, before in kept):  # type: ignore[arg-type]
                kept.append((score, NAMES[name], box))
        expected = [(score, name, inside(box, rivals.SIZES[number])) for score, name, box in kept]
        value = answer(tiny, Question(f"{number}.png", None, "find", phrases=tuple(map(Phrase, NAMES))))
        detectors.assert_boxes(value, expected)


@pytest.mark.parametrize("number", [0, 1])
def test_ground_boxes_of_a_phrase_are_the_ten_best_after_nms_of_all_phrases_as_names(tiny: Path, number: int) -> None:
    text = "a red circle, and the star on a red circle"
    spans = (Phrase("a red circle", 0, 12), Phrase("the star", 18, 26), Phrase("a red circle", 30, 42))
    asked = Question(f"{number}.png", None, "ground", text=text, phrases=spans)
    value = answer(tiny, asked)
    scores, boxes = forward(tiny, tiny / f"{number}.png", ["a red circle", "the star", "a red circle"])
    assert isinstance(value, Grounded) and len(value.boxes) == 3
    for found, column in zip(value.boxes, scores.T, strict=True):
        kept: list[tuple[float, ...]] = []
        for query in column.sort(descending=True, stable=True).indices.tolist():
            if all(iou(boxes[query], before) <= 0.5 for before in kept):  # type: ignore[arg-type]
                kept.append(boxes[query])
        expected = [inside(box, rivals.SIZES[number]) for box in kept[:10]]
        assert [pytest.approx(box, abs=0.01) for box in expected] == list(found)
    assert answer(tiny, replace(asked, phrases=())) == Grounded(())


def test_phrase_with_the_lowest_scores_of_a_sentence_has_boxes_too() -> None:
    """The highest pairs of all names together, as many as queries, would leave the second phrase none."""
    question = Question("0.png", None, "ground", phrases=(Phrase("circle", 0, 6), Phrase("star", 7, 11)))
    # the left and the right half, and three quarters of the left half, whose IoU with it is 0.75
    shares = torch.tensor([[0.25, 0.5, 0.5, 1.0], [0.75, 0.5, 0.5, 1.0], [0.25, 0.5, 0.5, 0.75]])
    scores = np.array([[0.9, 0.1], [0.8, 0.3], [0.7, 0.2]], np.float32)
    value = omdet_turbo._value(Prepared((), Size(40, 20), question, None), ("circle", "star"), scores, shares)
    left, right, most = (0.0, 0.0, 20.0, 20.0), (20.0, 0.0, 40.0, 20.0), (0.0, 2.5, 20.0, 17.5)
    assert value == Grounded(((left, right), (right, most)))  # NMS leaves the better of the two on the left


def test_nms_keeps_boxes_of_other_classes_and_those_at_the_limit() -> None:
    # IoU of the first with each: 1, 1 (another class), 0.5 (10 x 5 of 10 x 10: kept, as the limit is exclusive)
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 5]], np.float32)
    assert omdet_turbo.suppressed(boxes, np.array([0, 0, 1, 0])).tolist() == [0, 2, 3]


def test_answers_do_not_depend_on_the_batch_and_its_numbers_of_names(tiny: Path, tmp_path: Path) -> None:
    detectors.check_batches(ENTRY, tiny, tmp_path)


def test_refer_answers_with_one_box_and_no_names_with_none(tiny: Path) -> None:
    value = answer(tiny, Question("0.png", None, "refer", text="the star on the left"))
    assert isinstance(value, Boxes)
    assert (len(value.boxes), value.labels) == (1, ("the star on the left",))
    assert answer(tiny, Question("0.png", None, "find")) == Boxes((), (), ())


def test_coco_task_is_run_scored_compared_and_reported(tiny: Path, tmp_path: Path) -> None:
    tasks = [*rivals.DETECT, *rivals.FIND, *rivals.REFER, "flickr30k"]
    rivals.check_commands(ENTRY, tiny, tmp_path, tasks)


def test_checkpoint_of_the_hub_is_downloaded_once(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rivals.check_hub(ENTRY, tiny, tmp_path / "cache", monkeypatch)
