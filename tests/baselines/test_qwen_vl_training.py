"""Qwen-VL's training: JSON that its reader reads back, the tokens of the chat's template, the loss, and the command."""

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
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from baselines.entry import Entry, Setting
from baselines.generative import Written
from baselines.qwen_vl import class_name
from baselines.qwen_vl_training import teach
from baselines.text_training import AnswerLesson, TextLearner
from harness.core import Boxes, Grounded, Mask, Phrase, Quads, Question, Sample, Size, Source, Text, Value
from harness.errors import DataError
from harness.images import BadImage
from harness.training.lessons import Batch
from harness.training.mixture import Unit, batch_of
from harness.training.rivals import LORA_RECIPE
from tests.baselines import pupils
from tests.baselines import test_qwen_vl as tiny

SIZES = [Size(1000, 500), Size(333, 777), Size(20, 24), Size(64, 64)]
NAMES = {"qwen2.5": "qwen2.5-vl-3b", "qwen3": "qwen3-vl-2b"}


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level, so that any text can be written; special tokens have the ids of `tiny.save`."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(tiny.SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    texts = [
        f'```json\n[\n\t{{"bbox_2d": [{n}, {n}], "label": "{c} square"}}\n]\n```' for n in range(99) for c in "rgb"
    ]
    questions = ["user system assistant Locate square in the image and output the bbox coordinates in JSON format."]
    answers = ["red", "green", "blue", "yellow", "left", "right", "top", "bottom"]
    backend.train_from_iterator([*texts, *questions * 50, *answers * 50], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<|endoftext|>", eos_token="<|im_end|>")


@pytest.fixture(scope="module", params=list(NAMES))
def start(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Entry, Path]:
    """An entry, and a checkpoint of its kind."""
    import transformers

    folder: Path = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tiny.chats, "tokenizer", lambda *_, **__: tokenizer())
        tiny.save(folder, request.param)
    pupils.sharpen(folder, getattr(transformers, class_name(request.param == "qwen3")))
    return tiny.ENTRIES[NAMES[request.param]], folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pupils.root(tmp_path_factory.mktemp("images"))


ONE = pytest.mark.parametrize("start", ["qwen2.5"], indirect=True)


def learner(start: tuple[Entry, Path]) -> TextLearner:
    entry, folder = start
    recipe = replace(LORA_RECIPE, plan=replace(LORA_RECIPE.plan, precision="float32"), checkpointing=False)
    checkpoint: Any = entry.checkpoint.__self__  # type: ignore[union-attr]
    return teach(str(folder), recipe, "cpu", checkpoint=checkpoint, third=entry.name.startswith("qwen3"))


def load(entry: Entry, weights: Path) -> Any:
    return entry.load(Setting(weights=str(weights), device="cpu"))


def read(pupil: TextLearner, question: Question, answers: Sequence[str], size: Size) -> Value | None:
    """The value of answers by the family's reader, from the ids that are trained on."""
    family, output = pupil.writer.family, []
    for answer in answers:
        ids = pupil.writer.answer_ids(answer)
        output.append(Written(family.decode(ids), tuple(ids), truncated=False))
    return family.value(question, output, size)


def batch(pupil: TextLearner, examples: Sequence[tuple[str, str, str, str]], root: Path) -> Batch:
    """A batch of (image, task, prompt, answer)."""
    units = []
    for name, task, prompt, answer in examples:
        pair = (np.array(pupil.writer.prompt_ids(prompt)), np.array(pupil.writer.answer_ids(answer)))
        units.append(Unit(pupil.writer.resize(Image.open(root / name)), name, task, [pair]))
    return batch_of(units, joined=pupil.joined)


# ---------------------------------------------------------------------------- what is written


@pytest.mark.parametrize("size", SIZES)
def test_boxes_that_are_written_are_read_back_within_half_a_unit(start: tuple[Entry, Path], size: Size) -> None:
    """The unit is a pixel of the resized image, or a thousandth."""
    pupil = learner(start)
    family: Any = pupil.writer.family
    boxes = ((0.0, 0.0, 7.0, 11.0), (3.3, 5.5, float(size.width), float(size.height)), (1.0, 2.0, 3.0, 9.0))
    labels = ("red circle", 'a "star" {and}, \\ é', "red circle")
    phrases = tuple(map(Phrase, ("red circle", 'a "star" {and}, \\ é')))
    question = Question("x.png", size, "detect", phrases=phrases)
    pairs = pupil.writer.texts(question, Boxes(boxes, labels), size)
    assert [prompt for prompt, _ in pairs] == list(family.prompts(question))
    value = read(pupil, question, [answer for _, answer in pairs], size)
    assert isinstance(value, Boxes)
    extent = family.extent(size)
    for label, box, place in zip(value.labels, value.boxes, (0, 2, 1), strict=True):  # the second has its own prompt
        assert label == labels[place]
        for side in range(4):
            unit = (size.width, size.height)[side % 2] / extent[side % 2]
            assert abs(box[side] - boxes[place][side]) <= unit / 2 + 1e-9


def test_coordinates_are_of_the_resized_image_or_thousandths(start: tuple[Entry, Path]) -> None:
    """Qwen2.5-VL of a factor of 8 here makes 64 x 64 of 64 x 64 pixels; by thousandths, 16 of 64 is 250."""
    question = Question("x.png", Size(64, 64), "refer", "star")
    [(prompt, answer)] = learner(start).writer.texts(question, Boxes(((16.0, 32.0, 48.0, 70.0),)), Size(64, 64))
    numbers = "[250, 500, 750, 1000]" if start[0].name.startswith("qwen3") else "[16, 32, 48, 64]"
    assert answer == f'```json\n[\n\t{{"bbox_2d": {numbers}, "label": "star"}}\n]\n```'
    assert prompt == "Locate star in the image and output the bbox coordinates in JSON format."


@ONE
def test_each_phrase_and_each_prompt_of_categories_is_an_example(start: tuple[Entry, Path]) -> None:
    pupil, size = learner(start), Size(64, 64)
    box = (0.0, 0.0, 16.0, 16.0)
    phrases = (Phrase("a cat", 0, 5), Phrase("nothing", 6, 13), Phrase("a dog", 14, 19))
    ground = Question("x.png", size, "ground", "a cat nothing a dog", phrases=phrases)
    pairs = pupil.writer.texts(ground, Grounded(((box,), (), (box, box))), size)
    assert [prompt.split(" in the")[0] for prompt, _ in pairs] == ["Locate a cat", "Locate a dog"]
    assert [answer.count("bbox_2d") for _, answer in pairs] == [1, 2]
    detect = Question("x.png", size, "detect", phrases=tuple(map(Phrase, ("cat", "dog, big", "sun"))))
    pairs = pupil.writer.texts(detect, Boxes((box, box), ("cat", "sun")), size)
    assert [answer.count("bbox_2d") for _, answer in pairs] == [2, 0]
    assert read(pupil, detect, [pairs[1][1]], size) == Boxes(())  # "dog, big" has a prompt of its own
    assert pupil.writer.texts(Question("x.png", size, "vqa", "is it ?"), Text(("<|im_end|>yes",)), size)[0][1] == "yes"
    with pytest.raises(DataError, match="a Mask is not written"):
        pupil.writer.texts(detect, Mask((1, 1), b"1"), size)  # type: ignore[call-arg,arg-type]


def test_texts_in_the_image_are_written_as_the_cookbook_shows_and_read_back(start: tuple[Entry, Path]) -> None:
    pupil, size = learner(start), Size(64, 64)
    slanted = ((16.0, 20.0), (40.0, 16.0), (48.0, 32.0), (20.0, 30.0))
    question = Question("x.png", size, "ocr_regions")
    [(prompt, answer)] = pupil.writer.texts(question, Quads((slanted,), ("EXIT",)), size)
    assert [prompt] == list(pupil.writer.family.prompts(question))
    numbers = "[250, 250, 750, 500]" if start[0].name.startswith("qwen3") else "[16, 16, 48, 32]"
    assert answer == f'```json\n[\n\t{{"bbox_2d": {numbers}, "text_content": "EXIT"}}\n]\n```'
    around = ((16.0, 16.0), (48.0, 16.0), (48.0, 32.0), (16.0, 32.0))
    assert read(pupil, question, [answer], size) == Quads((around,), ("EXIT",))


@ONE
def test_region_of_a_text_to_learn_is_written_for_the_size_of_its_image(
    start: tuple[Entry, Path], images: Path
) -> None:
    pupil = learner(start)
    with Image.open(images / "red.png") as image:
        width, height = image.size
    question = Question("red.png", None, "describe", region=(0.0, 0.0, float(width), float(height)))
    [(ids, _)] = pupil.examples(Sample("1", question, Text(("a dog",)), "red.png"), images)
    across, down = pupil.writer.family.extent(Size(width, height))
    expected = pupil.writer.prompt_ids(f"Describe the object in the bbox region [0, 0, {across:.0f}, {down:.0f}].")
    assert list(ids) == expected


@ONE
def test_image_that_is_too_long_is_a_bad_image(start: tuple[Entry, Path]) -> None:
    with pytest.raises(BadImage, match="an image of 402 x 2: Qwen-VL takes sides of at most 200 to 1"):
        learner(start).writer.resize(Image.new("RGB", (402, 2)))


# ---------------------------------------------------------------------------- rows and loss


def test_rows_equal_those_of_the_template_with_the_assistants_turn(start: tuple[Entry, Path], images: Path) -> None:
    """The template's text with an assistant's message goes on with a line break after the end of the turn."""
    pupil = learner(start)
    entry, folder = start
    template = tiny.TEMPLATE_3 if entry.name.startswith("qwen3") else tiny.TEMPLATE_25
    prompt, answer = "what color is it ?", "a red one"
    one = batch(pupil, [("red.png", "a", prompt, answer)], images)
    ids, mask, labels = AnswerLesson(pupil.model, pupil.writer, 0, torch.float32).rows(one, one.pixels)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}
    if entry.name.startswith("qwen3"):  # this test's template of Qwen3-VL takes users only
        text = tokenizer.apply_chat_template([user], chat_template=template, add_generation_prompt=True, tokenize=False)
        text += f"{answer}<|im_end|>\n"
    else:
        turns = [user, {"role": "assistant", "content": answer}]
        text = tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False)
    count = int((ids == 5).sum())
    assert count == int(one.pixels[0][1].prod()) // 4  # 2 x 2 patches are merged
    expected = tokenizer(text.replace("<|image_pad|>", "<|image_pad|>" * count), add_special_tokens=False)["input_ids"]
    assert ids[0].tolist() == expected[:-1]  # without the line break
    taught = [token for token in labels[0].tolist() if token != -100]
    assert tokenizer.decode(taught) == f"{answer}<|im_end|>"
    assert labels[0].tolist()[-len(taught) :] == taught and mask.all()


def test_loss_of_a_batch_equals_a_sum_over_tokens_one_by_one(start: tuple[Entry, Path], images: Path) -> None:
    """Two tasks, 2 and 1 prompts: the mean over the tokens of each, weighted 2/3 and 1/3.  Padding changes nothing."""
    import transformers

    entry, folder = start
    examples = [
        ("red.png", "asked", "what color is the square ?", "red"),
        ("blue.png", "asked", "where ?", "left of it"),
        ("green.png", "found", "Locate it", "[1, 2]"),
    ]
    pupil = learner(start)
    loss, by_task = AnswerLesson(pupil.model, pupil.writer, 0, torch.float32)(batch(pupil, examples, images))
    model = getattr(transformers, class_name(entry.name.startswith("qwen3"))).from_pretrained(folder).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    losses: dict[str, list[float]] = {"asked": [], "found": []}
    for name, task, prompt, answer in examples:
        inputs = pupil.writer.family.inputs([Image.open(images / name)], [prompt])  # of the evaluation
        suffix = tokenizer(f"{answer}<|im_end|>", add_special_tokens=False)["input_ids"]
        ids = torch.cat([inputs["input_ids"], torch.tensor([suffix])], 1)
        types = (ids == 5).long()
        with torch.no_grad():
            logits = model(
                input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=types,
                pixel_values=inputs["pixel_values"], image_grid_thw=inputs["image_grid_thw"],
            ).logits[0]  # fmt: skip
        for place, token in enumerate(suffix, inputs["input_ids"].shape[1]):
            losses[task].append(-float(logits[place - 1].log_softmax(-1)[token]))
    means = {task: sum(each) / len(each) for task, each in losses.items()}
    assert by_task == pytest.approx(means, rel=1e-4)
    assert float(loss.detach()) == pytest.approx(means["asked"] * 2 / 3 + means["found"] / 3, rel=1e-4)


# ---------------------------------------------------------------------------- training


@ONE
def test_taught_model_answers_its_training_samples_here_and_in_a_new_process(
    start: tuple[Entry, Path], images: Path, tmp_path: Path
) -> None:
    entry, folder = start
    changes = {"steps": 220, "batch": 8, "rate": 0.01, "lora_dropout": 0, "checkpointing": "false"}
    checkpoint = pupils.tuned(entry, folder, images, tmp_path / "out", [pupils.ASKED], **changes)
    run = pupils.accuracy(entry, checkpoint, images, tmp_path / "results", pupils.ASKED)
    assert (run.metrics["accuracy"].value, run.spec.protocol) == (100.0, "fine_tuned")
    again = pupils.answers_elsewhere(entry.name, checkpoint, images, pupils.ASKED, tmp_path / "elsewhere")
    assert again["metrics"]["accuracy"]["value"] == 100.0


@ONE
def test_adapter_has_the_loss_of_the_trained_model_when_it_is_loaded(
    start: tuple[Entry, Path], images: Path, tmp_path: Path
) -> None:
    """The last row of the log is the loss before the last step, whose rate is 1 % of the first."""
    entry, folder = start
    changes = {"steps": 20, "batch": 8, "rate": 0.01, "lora_dropout": 0}
    checkpoint = pupils.tuned(entry, folder, images, tmp_path / "out", [pupils.ASKED], **changes)
    examples = [
        (sample.question.image, "asked", learned, sample.target.texts[0])
        for sample in pupils.ASKED.load(Source(images, "val"))
        for learned in load(entry, folder).family.prompts(sample.question)
    ]
    losses = []
    for weights in (folder, checkpoint):
        pupil = learner(start)
        pupil.model = load(entry, weights).loaded.model
        with torch.no_grad():
            lesson = AnswerLesson(pupil.model, pupil.writer, 0, torch.float32)
            losses.append(float(lesson(batch(pupil, examples, images))[0]))
    assert losses[1] < losses[0] / 2


@ONE
def test_interrupted_training_resumes_to_the_same_adapter(
    start: tuple[Entry, Path], images: Path, tmp_path: Path
) -> None:
    pupils.check_resume(*start, images, tmp_path, pupils.ASKED, "adapter_model.safetensors")


@ONE
def test_resizing_survives_the_way_to_a_worker_process(start: tuple[Entry, Path], images: Path) -> None:
    pupil = learner(start)
    image = Image.open(images / "red.png")
    for ours, theirs in zip(
        pickle.loads(pickle.dumps(pupil.resizing)).resize(image), pupil.resizing.resize(image), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
