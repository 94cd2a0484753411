"""Florence-2 by transformers on the embedded checkpoint: the tokens of `florence2-nano`, and the three parsers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    PreTrainedTokenizerFast,
)

import baselines
from baselines import florence2, hf_florence2
from baselines.entry import Setting
from harness import runner
from harness.core import Answer, Boxes, Failure, Grounded, Kind, Polygons, Question, Source
from harness.errors import CheckpointError, UsageError
from harness.florence2 import prompts, weights
from tasks import TASKS
from tests.baselines import rivals
from tests.layouts import write_original

NANO = florence2.WEIGHTS / "florence2-nano"
TUNED = florence2.WEIGHTS / "florence2-nano-ft"
ENTRIES = {entry.name: entry for entry in hf_florence2.ENTRIES}
BASE = ENTRIES["hf-florence2-b"]
MAX_NEW_TOKENS = 24  # some of the answers are longer


def _answers(entry: Any, root: Path, asked: list[Question], **options: Any) -> list[Answer]:
    """The answers of `entry` with the weights of florence2-nano-ft."""
    weights = None if entry.embedded else str(TUNED)
    setting = Setting(root=root, weights=weights, device="cpu", batch_size=8)
    results = dict(entry.load(setting, max_new_tokens=MAX_NEW_TOKENS, **options).answer(enumerate(asked)))
    return [results[place] for place in range(len(asked))]  # type: ignore[misc]


@pytest.fixture(scope="module")
def asked(miniature: Path) -> list[Question]:
    """Questions of several miniature tasks, and of the kinds without a task."""
    chosen: list[Question] = []
    for task in ("coco_caption", "vqav2", "refcoco", "refcoco_res", "flickr30k", "coco_detection", "odinw_miniature"):
        samples = list(TASKS[task].load(Source(miniature, TASKS[task].splits[0])))
        chosen += [sample.question for sample in runner.choose(samples, 2, 0)][:3]
    image = chosen[0].image
    with Image.open(miniature / str(image)) as opened:
        region = (4.0, 6.0, opened.width / 2, opened.height / 2)
    others: list[Kind] = ["ocr", "ocr_regions", "name", "describe", "outline", "read", "regions", "propose"]
    return chosen + [Question(image, None, kind, region=region) for kind in others]


@pytest.fixture(scope="module")
def expected(miniature: Path, asked: list[Question]) -> list[Answer]:
    """The answers of `florence2-nano-ft`."""
    return _answers(baselines.find("florence2-nano-ft"), miniature, asked)


@pytest.fixture(scope="module")
def theirs(miniature: Path, asked: list[Question]) -> list[Answer]:
    """The answers of transformers' model with the same weights."""
    return _answers(BASE, miniature, asked)


def test_tokens_equal_those_of_florence2_nano(expected: list[Answer], theirs: list[Answer]) -> None:
    assert [answer.raw for answer in theirs] == [answer.raw for answer in expected]
    assert [answer.tokens for answer in theirs] == [answer.tokens for answer in expected]
    assert [answer.truncated for answer in theirs] == [answer.truncated for answer in expected]
    assert any(answer.truncated for answer in expected)
    assert not all(answer.truncated for answer in expected)


def test_values_equal_those_of_florence2_nano(expected: list[Answer], theirs: list[Answer]) -> None:
    """Boxes to the last bit; scores as far as float32 rounding, in a sum of another order, lets them be equal."""
    for mine, other in zip(expected, theirs, strict=True):
        if isinstance(mine.value, Boxes):
            assert isinstance(other.value, Boxes)
            assert (mine.value.boxes, mine.value.labels) == (other.value.boxes, other.value.labels)
            assert other.value.region_scores == pytest.approx(mine.value.region_scores, abs=1e-3)
            assert other.value.label_scores == pytest.approx(mine.value.label_scores, abs=1e-3)
        else:
            assert mine.value == other.value


def test_greedy_scores_equal_those_of_florence2_nano(miniature: Path, asked: list[Question]) -> None:
    """In greedy search transformers' scores are logits, whose exp is no probability."""
    detect = [question for question in asked if question.kind == "detect"]
    mine = _answers(baselines.find("florence2-nano-ft"), miniature, detect, beams=1)
    other = _answers(BASE, miniature, detect, beams=1)
    assert [answer.raw for answer in mine] == [answer.raw for answer in other]
    for one, two in zip(mine, other, strict=True):
        assert isinstance(one.value, Boxes)
        assert isinstance(two.value, Boxes)
        assert two.value.region_scores == pytest.approx(one.value.region_scores, abs=1e-3)
        assert all(0 < score <= 1 for score in two.value.region_scores or ())


def test_transformers_parser_floors_the_boxes_and_has_no_scores(
    miniature: Path, asked: list[Question], theirs: list[Answer]
) -> None:
    floored = _answers(BASE, miniature, asked, post_process="transformers")
    assert [answer.raw for answer in floored] == [answer.raw for answer in theirs]
    compared = 0
    for ours, other in zip(theirs, floored, strict=True):
        if isinstance(ours.value, Boxes):
            assert isinstance(other.value, Boxes)
            assert other.value.region_scores is None
            assert other.value.boxes == tuple(tuple(map(int, box)) for box in ours.value.boxes)
            assert [label.strip() for label in other.value.labels] == list(ours.value.labels)
            compared += len(other.value.boxes)
        elif isinstance(ours.value, Grounded):
            assert isinstance(other.value, Grounded)
            assert other.value.boxes == tuple(
                tuple(tuple(map(int, box)) for box in boxes) for boxes in ours.value.boxes
            )
        elif ours.value is not None:  # location tokens alone, which both processors keep as text
            assert type(other.value) is type(ours.value)
    assert compared > 5


def test_original_parser_keeps_floats(miniature: Path, asked: list[Question], theirs: list[Answer]) -> None:
    found = _answers(BASE, miniature, asked, post_process="original")
    for ours, other in zip(theirs, found, strict=True):
        if isinstance(ours.value, Boxes):
            assert isinstance(other.value, Boxes)
            assert other.value == Boxes(ours.value.boxes, ours.value.labels)
        elif isinstance(ours.value, Grounded | Polygons):
            assert other.value == ours.value


def test_parser_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    setting = Setting(root=tmp_path, weights=str(NANO), device="cpu")
    prints = {BASE.load(setting, post_process=name).fingerprint for name in hf_florence2.POST_PROCESS}
    assert len(prints) == 3


def test_resolution_of_the_folder_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    folder = shutil.copytree(NANO, tmp_path / "nano")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings["size"] = {"height": 96, "width": 96}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    prints = {BASE.load(Setting(weights=str(path), device="cpu")).fingerprint for path in (NANO, folder)}
    assert len(prints) == 2


def test_input_tokens_equal_those_of_florence2processor(tmp_path: Path) -> None:
    """transformers' processor, made of its parts; nano's tokenizer has no `<image>`, so it is added here."""
    folder = shutil.copytree(NANO, tmp_path / "nano")
    config = json.loads((folder / "config.json").read_text())
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.image_token = "<image>"
    tokenizer.image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    assert tokenizer.image_token_id == config["image_token_id"]
    pixels = CLIPImageProcessorPil.from_pretrained(folder)
    network = Florence2ForConditionalGeneration.from_pretrained(folder)
    features = network.get_image_features(torch.zeros(1, 3, 128, 128)).pooler_output
    pixels.image_seq_length = features.shape[1]
    processor = Florence2Processor(pixels, tokenizer)
    [wide, *_] = rivals.images(tmp_path)
    image = Image.open(tmp_path / wide)
    texts = ["<CAPTION>", "<REFERRING_EXPRESSION_SEGMENTATION>a red circle on the left"]
    reference = processor(images=[image, image], text=texts, padding=True, return_tensors="pt")
    model = BASE.load(Setting(root=tmp_path, weights=str(NANO), device="cpu"))
    family = model.family  # type: ignore[attr-defined]
    asked = [Question(wide, None, "caption"), Question(wide, None, "segment", text="a red circle on the left")]
    inputs = family.inputs([image, image], [family.prompts(question)[0] for question in asked])
    for name in ("input_ids", "attention_mask", "pixel_values"):
        assert inputs[name].tolist() == reference[name].tolist()


def test_answers_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    """nano is certain of its answers, so rounding in another order changes no token."""
    kinds = frozenset({"caption", "detect", "ground", "refer", "name"})
    asked = [pair for pair in rivals.questions(tmp_path, BASE.kinds or frozenset()) if pair[1].kind in kinds]
    results = []
    for batch in (1, 7):
        model = BASE.load(Setting(root=tmp_path, weights=str(NANO), device="cpu", batch_size=batch), max_new_tokens=8)
        results.append({ticket: answer.raw for ticket, answer in rivals.answers(model, asked).items()})
    assert results[0] == results[1]


def test_tasks_are_run_scored_compared_and_reported(tmp_path: Path) -> None:
    every = [
        *rivals.CAPTION, *rivals.DETECT, *rivals.FIND, *rivals.REFER, *rivals.VQA, "flickr30k",
        "refcoco_res", "refcoco_plus_res", "refcocog_res", "refcocog_caption", "icdar2015",
    ]  # fmt: skip
    rivals.check_commands(BASE, TUNED, tmp_path, every, max_new_tokens=12, beams=1)


def test_entries_are_of_every_kind_with_the_prompts_of_the_release() -> None:
    assert BASE.kinds == set(prompts.FORMS)
    assert {name: entry.protocol for name, entry in ENTRIES.items()} == {
        "hf-florence2-b": "zero_shot", "hf-florence2-l": "zero_shot",
        "hf-florence2-b-ft": "fine_tuned", "hf-florence2-l-ft": "fine_tuned",
    }  # fmt: skip
    assert {entry.repo for entry in ENTRIES.values()} == {
        "florence-community/Florence-2-base", "florence-community/Florence-2-large",
        "florence-community/Florence-2-base-ft", "florence-community/Florence-2-large-ft",
    }  # fmt: skip


@pytest.mark.parametrize(("side", "tokens"), [(768, 577), (64, 5), (384, 145), (128, 17)])
def test_image_tokens_of_a_square_image_are_its_cells_and_their_mean(side: int, tokens: int) -> None:
    class Vision:  # of the published checkpoints
        patch_size, patch_stride, patch_padding = [7, 3, 3, 3], [4, 2, 2, 2], [3, 1, 1, 1]

    assert hf_florence2.image_tokens(Vision, {"height": side, "width": side}) == tokens


def test_checkpoint_of_the_original_layout_is_refused_with_the_way_out(tmp_path: Path) -> None:
    model = weights.load(NANO).model
    write_original(model.config, dict(weights.native_tensors(model, torch.float32)), tmp_path / "original")
    with pytest.raises(CheckpointError, match=r"in the original layout.*weights\.save"):
        BASE.load(Setting(weights=str(tmp_path / "original"), device="cpu"))


def test_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(NANO, tmp_path / "nano")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="no tokenizer"):
        BASE.load(Setting(weights=str(folder), device="cpu"))


def test_unknown_parser_is_refused() -> None:
    with pytest.raises(UsageError, match="--post-process theirs: one of ours, transformers, original"):
        BASE.load(Setting(weights=str(NANO), device="cpu"), post_process="theirs")


def test_questions_without_a_prompt_fail_alone(tmp_path: Path) -> None:
    [name, *_] = rivals.images(tmp_path)
    asked = [
        Question(name, None, "name", region=(50.0, 2.0, 60.0, 9.0)),  # the image is 40 pixels wide
        Question(name, None, "refer", text="circle " * 400),
        Question(name, None, "find"),
        Question(name, None, "refer", text="the red circle"),
    ]
    model = BASE.load(Setting(root=tmp_path, weights=str(NANO), device="cpu"), max_new_tokens=4)
    results = dict(model.answer(enumerate(asked)))
    reasons = [result.reason if isinstance(result, Failure) else "" for _, result in sorted(results.items())]
    assert "outside the image, which is 40x24" in reasons[0]
    assert "positions for" in reasons[1]
    assert reasons[2] == "a 'find' question without phrases has no prompt"
    assert reasons[3] == ""


def test_checkpoint_of_the_hub_is_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rivals.check_hub(BASE, TUNED, tmp_path / "cache", monkeypatch)
