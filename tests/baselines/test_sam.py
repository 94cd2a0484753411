"""SAM at tiny size behind other models: masks by transformers' own functions, boxes of each shape, and the commands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    SamConfig,
    SamImageProcessorPil,
    SamMaskDecoderConfig,
    SamModel,
    SamProcessor,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

from baselines import find, grounding_dino, sam
from baselines.entry import Setting
from baselines.sam import Cascade, Options, first_box
from harness.core import Answer, Boxes, Failure, Mask, Polygons, Question, Sample, Size, Text, Ticket
from harness.errors import UsageError
from harness.geometry import masks
from harness.speed import cost
from tests.baselines import rivals
from tests.baselines.test_grounding_dino import saved

ENTRIES = {entry.name: entry for entry in sam.ENTRIES}
DETECTORS = {entry.name: entry for entry in grounding_dino.ENTRIES}
RING = ((4.0, 6.0), (20.0, 6.0), (20.0, 16.0), (4.0, 16.0))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights, and the images of `rivals`."""
    folder = tmp_path_factory.mktemp("sam")
    common = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = SamConfig(
        vision_config=SamVisionConfig(
            **common, image_size=64, patch_size=8, output_channels=32, mlp_dim=32, window_size=4, num_pos_feats=16,
            global_attn_indexes=[1],
        ),
        prompt_encoder_config=SamPromptEncoderConfig(
            hidden_size=32, image_size=64, patch_size=8, mask_input_channels=4
        ),
        mask_decoder_config=SamMaskDecoderConfig(**common, mlp_dim=32, iou_head_hidden_dim=16),
    )  # fmt: skip
    torch.manual_seed(0)
    model = SamModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    SamImageProcessorPil(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}).save_pretrained(folder)
    rivals.images(folder)
    return folder


def samples() -> list[Sample[Any]]:
    """An expression about each image, with an outline as target."""
    return [
        Sample(str(number), Question(f"{number}.png", None, "segment", text="the circle"), Polygons((RING,)), "")
        for number in range(len(rivals.SIZES))
    ]


def of_oracle(folder: Path, batch: int) -> dict[Ticket, Answer]:
    """The answers of SAM to the boxes of the targets."""
    setting = Setting(root=folder, weights=str(folder), device="cpu", batch_size=batch, samples=samples())
    model = ENTRIES["sam-b"].load(setting)
    return rivals.answers(model, [(number, sample.question) for number, sample in enumerate(samples())])


def test_masks_equal_transformers_own_for_the_box_of_the_target(tiny: Path) -> None:
    processor = SamProcessor(SamImageProcessorPil.from_pretrained(tiny))
    theirs = SamModel.from_pretrained(tiny).eval()
    some = 0
    for number, answer in of_oracle(tiny, 1).items():
        image = Image.open(tiny / f"{number}.png")
        inputs = processor(
            image, input_boxes=[[[4.0, 6.0, min(20, image.width), min(16, image.height)]]], return_tensors="pt"
        )
        with torch.no_grad():
            output = theirs(pixel_values=inputs["pixel_values"], input_boxes=inputs["input_boxes"].float())
        [drawn] = processor.image_processor.post_process_masks(
            output.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
        )
        expected = drawn[0, int(output.iou_scores[0, 0].argmax())].numpy()  # of (1, 3, height, width)
        assert isinstance(answer.value, Mask)
        assert answer.value.size == Size(*rivals.SIZES[number])
        assert (masks.pixels(answer.value) != expected).sum() <= 2  # pixels at the threshold may round either way
        some += int(expected.sum())
    assert some > 0


def test_masks_do_not_depend_on_the_batch(tiny: Path) -> None:
    alone, together = of_oracle(tiny, 1), of_oracle(tiny, 5)
    assert together[0].batch == 5
    assert together[0].seconds > 0
    for number, answer in alone.items():
        one, other = masks.pixels(answer.value), masks.pixels(together[number].value)  # type: ignore[arg-type]
        assert (one != other).mean() < 0.001


class Fixed:
    """A model of boxes with an answer for each kind of trouble."""

    fingerprint = "fixed"
    provenance: ClassVar[dict[str, Any]] = {}

    def __init__(self, replies: list[Answer | Failure]) -> None:
        self.replies = replies
        self.asked: list[Question] = []

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """The replies in order."""
        for (ticket, question), reply in zip(questions, self.replies, strict=True):
            self.asked.append(question)
            yield ticket, reply


def test_no_box_is_an_empty_mask_and_a_failure_stays_one() -> None:
    nowhere = (Boxes(()), Boxes(((5.0, 5.0, 5.0, 9.0),)), Boxes(((float("nan"), 0.0, 3.0, 4.0),)))
    replies = [*(Answer(("",), value) for value in nowhere), Answer(("?",), None), Failure("broken")]
    other = Fixed(replies)
    asked = [Question("a.png", None, "segment", text=f"the circle {number}") for number in range(5)]
    found = Cascade(None, other, oracle=False)([Image.new("RGB", (12, 7))] * 5, asked)  # type: ignore[arg-type]
    for reply in found[:3]:
        assert isinstance(reply, Answer) and isinstance(reply.value, Mask)
        assert (reply.value.size, masks.area(reply.value)) == ((12, 7), 0)
    assert found[3:] == [None, Failure("broken")]
    assert [(question.kind, question.text) for question in other.asked] == [
        ("refer", f"the circle {number}") for number in range(5)
    ]


def test_box_of_an_outline_and_of_a_mask_is_that_of_its_pixels() -> None:
    size = Size(30, 20)
    outline = Polygons((RING,))
    assert first_box(Answer(("",), outline), size) == (4, 6, 20, 16)
    mask = np.zeros((20, 30), np.bool_)
    mask[3:9, 11:12] = True
    assert first_box(Answer(("",), sam.encoded(mask)), size) == (11, 3, 12, 9)
    assert first_box(Answer(("",), Text(("a circle",))), size) is None


def test_fingerprint_has_that_of_the_model_of_the_boxes(tiny: Path) -> None:
    setting = Setting(root=tiny, weights=str(tiny), device="cpu", samples=samples())
    oracle = ENTRIES["sam-b"].load(setting).fingerprint
    nano = ENTRIES["sam-b"].load(setting, boxes_from="florence2-nano").fingerprint
    tuned = ENTRIES["sam-b"].load(setting, boxes_from="florence2-nano-ft").fingerprint
    assert len({oracle, nano, tuned}) == 3
    assert ":boxes of oracle:" in oracle


def test_cascade_of_two_checkpoints_answers_with_the_mask_of_the_detectors_box(tiny: Path, tmp_path: Path) -> None:
    entry, boxes = ENTRIES["grounding-dino-b+sam-h"], saved(tmp_path / "dino", "gdino")
    asked = samples()[0].question
    model = entry.load(Setting(root=tiny, weights=str(tiny), device="cpu"), boxes_weights=str(boxes))
    [answer] = rivals.answers(model, [(0, asked)]).values()
    assert isinstance(answer.value, Mask)
    assert "GroundingDinoForObjectDetection" in model.fingerprint and "SamModel" in model.fingerprint
    detector = DETECTORS["grounding-dino-b"].load(Setting(root=tiny, weights=str(boxes), device="cpu"))
    value: Any = rivals.answers(detector, [(0, replace(asked, kind="refer"))])[0].value
    assert answer.raw == ("the mask of the box " + ", ".join(f"{edge:.1f}" for edge in value.boxes[0]),)


def test_cost_of_a_cascade_is_that_of_both_models(tiny: Path) -> None:
    """The work of SAM does not depend on the box; the oracle has none, and no parameters."""
    question = Question("0.png", None, "segment", text="the cup")  # nano finds one box: without, SAM has nothing to do
    sample = Sample("0", question, Polygons((RING,)), "")
    setting, asked = Setting(root=tiny, weights=str(tiny), device="cpu", samples=[sample]), sample.question
    alone = ENTRIES["sam-b"].load(setting)
    nano = find("florence2-nano-ft").load(Setting(root=tiny, device="cpu"))
    both = ENTRIES["sam-b"].load(setting, boxes_from="florence2-nano-ft")
    counted = [cost.of_query(alone, asked), cost.of_query(nano, replace(asked, kind="refer"))]
    whole = cost.of_query(both, asked)
    assert whole["GFLOPs"] == pytest.approx(sum(half["GFLOPs"] for half in counted), rel=1e-9)
    assert all(half["GFLOPs"] > 0.001 for half in counted) and whole["of"] == "one segment query alone: 1 image"
    of_sam = sum(parameter.numel() for parameter in SamModel.from_pretrained(tiny).parameters())
    assert alone.provenance["parameters"] == of_sam
    assert both.provenance["parameters"] == of_sam + 3_321_760


def test_model_without_expressions_is_refused_before_loading() -> None:
    with pytest.raises(UsageError, match="it answers no refer questions, only caption, vqa"):
        ENTRIES["sam-b"].check(Setting(device="cpu"), Options(boxes_from="blip2-opt-2.7b"))
    with pytest.raises(UsageError, match="no model is called 'grounding-dno'"):
        ENTRIES["sam-b"].check(Setting(device="cpu"), Options(boxes_from="grounding-dno"))


def test_tasks_are_run_scored_compared_and_reported(tiny: Path, tmp_path: Path) -> None:
    tasks = ["refcoco_res", "refcoco_plus_res", "refcocog_res"]
    rivals.check_commands(ENTRIES["sam-b"], tiny, tmp_path, tasks, boxes_from="florence2-nano-ft")


def test_checkpoint_of_the_hub_is_downloaded_once(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rivals.check_hub(ENTRIES["sam-b"], tiny, tmp_path / "cache", monkeypatch)
