"""PaliGemma's training: answers that its reader reads back, the processor's rows, the loss, and the command."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedTokenizerFast,
    SiglipImageProcessorPil,
)

from baselines.paligemma_training import teach, written
from baselines.text_training import AnswerLesson, TextLearner
from harness.core import Boxes, Grounded, Phrase, Question, Size, Text
from harness.errors import DataError
from harness.training.lessons import Batch
from harness.training.mixture import Unit, batch_of
from harness.training.rivals import LORA_RECIPE
from tests.baselines import pupils
from tests.baselines import test_paligemma as tiny

PT = tiny.ENTRIES["paligemma-3b-pt-224"]
SIZES = [Size(1000, 500), Size(333, 777), Size(20, 24), Size(64, 64)]


@pytest.fixture(scope="module", params=["gemma", "gemma2"])
def start(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny.save(tmp_path_factory.mktemp(request.param), request.param, "where")
    return pupils.sharpen(folder, PaliGemmaForConditionalGeneration)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pupils.root(tmp_path_factory.mktemp("images"))


ONE = pytest.mark.parametrize("start", ["gemma"], indirect=True)


def learner(start: Path) -> TextLearner:
    recipe = replace(LORA_RECIPE, plan=replace(LORA_RECIPE.plan, precision="float32"), checkpointing=False)
    checkpoint: Any = PT.checkpoint.__self__  # type: ignore[union-attr]
    return teach(str(start), recipe, "cpu", checkpoint=checkpoint, variant=tiny.paligemma._GENERAL)


def batch(pupil: TextLearner, names: Sequence[str], examples: Sequence[tuple[str, str, str]], root: Path) -> Batch:
    """A batch of (task, prompt, answer), each with its own image."""
    units = []
    for name, (task, prompt, answer) in zip(names, examples, strict=True):
        ids = pupil.writer.prompt_ids(prompt), pupil.writer.answer_ids(answer)
        pair = (np.array(ids[0]), np.array(ids[1]))
        units.append(Unit(pupil.writer.resize(Image.open(root / name)), name, task, [pair]))
    return batch_of(units, joined=pupil.joined)


# ---------------------------------------------------------------------------- what is written


@ONE
@pytest.mark.parametrize("size", SIZES)
def test_boxes_that_are_written_are_read_back_within_half_a_step(start: Path, size: Size) -> None:
    pupil = learner(start)
    boxes = ((0.0, 0.0, 7.0, 11.0), (3.3, 5.5, float(size.width), float(size.height)), (1.0, 2.0, 3.0, 9.0))
    question = Question("x.png", size, "detect", phrases=tuple(map(Phrase, ("red circle", "star"))))
    value = Boxes(boxes, ("red circle", "star", "red circle"))
    [(prompt, answer)] = pupil.writer.texts(question, value, size)
    assert prompt == "detect red circle ; star"
    found = pupil.writer.family.read(pupil.writer.answer_ids(answer), (), size)  # type: ignore[attr-defined]
    assert [thing.label for thing in found] == ["red circle", "star", "red circle"]
    for thing, box in zip(found, boxes, strict=True):
        for side, (read, right) in enumerate(zip(thing.box, box, strict=True)):
            assert abs(read - right) <= (size.width, size.height)[side % 2] / 1023 / 2 + 1e-9


def test_coordinates_are_y_before_x_and_inside_the_image() -> None:
    # left 10 of 100: 102.3, top 10 of 50: 204.6, right 120 is outside: 1023, bottom 25 of 50: 511.5, to the even 512
    assert written((10.0, 10.0, 120.0, 25.0), Size(100, 50)) == "<loc0205><loc0102><loc0512><loc1023>"


@ONE
def test_answers_of_each_kind_are_those_of_the_authors_formats(start: Path) -> None:
    pupil = learner(start)
    size = Size(100, 50)
    refer = Question("x.png", size, "refer", "red circle")
    pairs = pupil.writer.texts(refer, Boxes(((0.0, 0.0, 100.0, 50.0),)), size)
    assert pairs == [("detect red circle", "<loc0000><loc0000><loc1023><loc1023> red circle")]
    vqa = Question("x.png", size, "vqa", "what color ?")
    assert pupil.writer.texts(vqa, Text(("red",)), size) == [("answer en what color ?", "red")]
    caption = Question("x.png", size, "caption")
    assert pupil.writer.texts(caption, Text(("a star",)), size) == [("caption en", "a star")]
    with pytest.raises(DataError, match="a Grounded is not written as an answer of PaliGemma"):
        pupil.writer.texts(vqa, Grounded(()), size)


@ONE
def test_tokens_in_a_text_of_the_data_neither_end_the_answer_nor_begin_a_box(start: Path) -> None:
    pupil = learner(start)
    question = Question("x.png", Size(9, 9), "refer", "red <eos> circle <loc0001><seg002> star <image>")
    value = Boxes(((0.0, 0.0, 9.0, 9.0),), ("red <eos> circle <loc0001><seg002> star",))
    with pytest.raises(DataError, match="has <image> in it"):
        pupil.writer.texts(question, value, Size(9, 9))
    question = Question("x.png", Size(9, 9), "refer", "red star")
    [(_, answer)] = pupil.writer.texts(question, value, Size(9, 9))
    ids = pupil.writer.answer_ids(answer)
    assert ids.count(1) == 1 and ids[-1] == 1
    [thing] = pupil.writer.family.read(ids, (), Size(9, 9))  # type: ignore[attr-defined]
    assert thing.label.split() == ["red", "circle", "star"]


# ---------------------------------------------------------------------------- rows and loss


def test_rows_equal_those_of_the_processor_with_a_suffix(start: Path, images: Path) -> None:
    """In transformers' own rows a token has the label -100 exactly where its `token_type_ids` is 0."""
    pupil = learner(start)
    prompt, answer = "answer en where is the square ?", "left top"
    one = batch(pupil, ["red.png"], [("a", prompt, answer)], images)
    lesson = AnswerLesson(pupil.model, pupil.writer, 0, torch.float32)
    ids, mask, labels = lesson.rows(one, one.pixels)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(start)
    tokenizer.image_token, tokenizer.image_token_id = "<image>", 3
    pixels = SiglipImageProcessorPil.from_pretrained(start)
    pixels.image_seq_length = 16
    processor = PaliGemmaProcessor(pixels, tokenizer)
    image = Image.open(images / "red.png")
    theirs = processor(image, f"<image>{prompt}", suffix=answer, return_tensors="pt")
    further = pupil.writer.inputs(one.pixels, ids, labels)
    assert ids.tolist() == theirs["input_ids"].tolist() and mask.tolist() == theirs["attention_mask"].tolist()
    assert further["token_type_ids"].tolist() == theirs["token_type_ids"].tolist()
    assert labels.tolist() == theirs["labels"].tolist()
    torch.testing.assert_close(further["pixel_values"], theirs["pixel_values"], rtol=0, atol=0)
    # and the loss is that of transformers' class
    expected = PaliGemmaForConditionalGeneration.from_pretrained(start).train()(**theirs).loss
    torch.testing.assert_close(lesson(one)[0], expected, rtol=1e-4, atol=1e-5)


def test_loss_of_a_batch_equals_a_sum_over_tokens_one_by_one(start: Path, images: Path) -> None:
    """Two tasks, 2 and 1 prompts: the mean over the tokens of each, weighted 2/3 and 1/3.  Padding changes nothing."""
    examples = [
        ("asked", "answer en what color is the square ?", "red"),
        ("asked", "answer en where ?", "left on the top of a star"),
        ("found", "detect green square", "<loc0001><loc0022><loc0333><loc1000> green square"),
    ]
    names = ["red.png", "blue.png", "green.png"]
    pupil = learner(start)
    loss, by_task = AnswerLesson(pupil.model, pupil.writer, 0, torch.float32)(batch(pupil, names, examples, images))
    model = PaliGemmaForConditionalGeneration.from_pretrained(start).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(start)
    pixels = SiglipImageProcessorPil.from_pretrained(start)
    losses: dict[str, list[float]] = {"asked": [], "found": []}
    for name, (task, prompt, answer) in zip(names, examples, strict=True):
        prefix = [3] * 16 + tokenizer(f"<bos>{prompt}\n", add_special_tokens=False)["input_ids"]
        suffix = tokenizer(f"{answer}<eos>", add_special_tokens=False)["input_ids"]
        ids = torch.tensor([prefix + suffix])
        types = torch.tensor([[0] * len(prefix) + [1] * len(suffix)])
        values = pixels(Image.open(images / name), return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            logits = model(input_ids=ids, pixel_values=values, token_type_ids=types).logits[0]
        for place, token in enumerate(suffix, len(prefix)):
            losses[task].append(-float(logits[place - 1].log_softmax(-1)[token]))
    means = {task: sum(each) / len(each) for task, each in losses.items()}
    assert by_task == pytest.approx(means, rel=1e-4)
    assert float(loss.detach()) == pytest.approx(means["asked"] * 2 / 3 + means["found"] / 3, rel=1e-4)


# ---------------------------------------------------------------------------- training


@ONE
def test_taught_model_answers_its_training_samples_here_and_in_a_new_process(
    start: Path, images: Path, tmp_path: Path
) -> None:
    tasks = [pupils.ASKED, pupils.FOUND]
    folder = pupils.tuned(
        PT, start, images, tmp_path / "out", tasks, steps=90, batch=8, rate=0.01, lora_dropout=0, checkpointing="true"
    )
    assert {"adapter_config.json", "adapter_model.safetensors", "training.json"} <= {p.name for p in folder.iterdir()}
    for task in tasks:
        run = pupils.accuracy(PT, folder, images, tmp_path / "results", task)
        assert (run.metrics["accuracy"].value, run.spec.protocol) == (100.0, "fine_tuned")
    before = pupils.accuracy(PT, start, images, tmp_path / "results", pupils.ASKED, max_new_tokens=8)
    assert before.metrics["accuracy"].value < 50 and before.spec.protocol == "zero_shot"
    again = pupils.answers_elsewhere(PT.name, folder, images, pupils.FOUND, tmp_path / "elsewhere")
    assert again["metrics"]["accuracy"]["value"] == 100.0


@ONE
def test_interrupted_training_resumes_to_the_same_adapter(start: Path, images: Path, tmp_path: Path) -> None:
    pupils.check_resume(PT, start, images, tmp_path, pupils.FOUND, "adapter_model.safetensors", average=0.5)


@ONE
def test_resizing_survives_the_way_to_a_worker_process(start: Path, images: Path) -> None:
    pupil = learner(start)
    again = pickle.loads(pickle.dumps(pupil.resizing))
    image = Image.open(images / "red.png")
    torch.testing.assert_close(again.resize(image), pupil.resizing.resize(image), rtol=0, atol=0)
