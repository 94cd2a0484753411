"""InternVL3 at tiny size: the inputs and tokens of transformers' own use, the boxes, and the commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import GotOcr2ImageProcessorPil, InternVLConfig, InternVLForConditionalGeneration, InternVLProcessor

from baselines import internvl
from baselines.entry import Entry, Setting
from baselines.generative import Written
from harness.core import Boxes, Question, Size, Text
from tests.baselines import chats, rivals

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<IMG_CONTEXT>", "<img>", "</img>", "<video>", "<ref>")
ENTRY = {entry.name: entry for entry in internvl.ENTRIES}["internvl3-1b"]
# As published with the -hf repositories (transformers' convert_internvl_weights_to_hf.py has the same).
TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "{{ '<IMG_CONTEXT>\n' }}{% elif content['type'] == 'video' %}{{ '<video>\n' }}{% elif content['type'] == 'text' %}"
    "{{ content['text'] }}{% endif %}{% endfor %}{% endif %}{{'<|im_end|>\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{'<|im_start|>assistant\n' }}{% endif %}"
)
SIZE = Size(1000, 500)
TURN = "<|im_start|>user\n<IMG_CONTEXT>\n{}<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose tiles are 32 x 32 pixels, at most 4, of 4 tokens each."""
    folder = tmp_path_factory.mktemp("internvl")
    tokens = tokenizer()
    text = {
        "model_type": "qwen2", "vocab_size": len(tokens), "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "eos_token_id": 2,
        "pad_token_id": 0, "bos_token_id": 1,
    }  # fmt: skip
    vision = {
        "image_size": [32, 32], "patch_size": [8, 8], "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4,
    }  # fmt: skip
    torch.manual_seed(0)
    config = InternVLConfig(vision_config=vision, text_config=text, image_token_id=3, image_seq_length=4)
    model = InternVLForConditionalGeneration(config)
    model.generation_config.update(repetition_penalty=1.7)
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    GotOcr2ImageProcessorPil(size={"height": 32, "width": 32}, max_patches=4).save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def tokenizer() -> Any:
    return chats.tokenizer(SPECIAL, pad="<|endoftext|>", eos="<|im_end|>")


def load(folder: Path, root: Path, **options: Any) -> Any:
    return ENTRY.load(Setting(root=root, weights=str(folder), device="cpu"), **options)


def processor_of(folder: Path) -> Any:
    return chats.official(
        InternVLProcessor,
        GotOcr2ImageProcessorPil.from_pretrained(folder),
        tokenizer(),
        image_seq_length=4,
        start_image_token="<img>",
        end_image_token="</img>",
        start_image_token_id=4,
        end_image_token_id=5,
        image_token="<IMG_CONTEXT>",
        image_token_id=3,
        video_token="<video>",
        multimodal_pattern=re.compile("(?P<image><IMG_CONTEXT>)|(?P<video><video>)"),
    )


def test_inputs_equal_those_of_the_processor(folder: Path, tmp_path: Path) -> None:
    chats.check_inputs(load(folder, tmp_path).family, processor_of(folder), tmp_path, "<IMG_CONTEXT>")


def test_wide_image_has_its_tiles_and_the_whole(folder: Path, tmp_path: Path) -> None:
    places, tensors = load(folder, tmp_path).family.pixels([Image.new("RGB", (96, 32)), Image.new("RGB", (32, 32))])
    assert places == ["<img>" + "<IMG_CONTEXT>" * 16 + "</img>", "<img>" + "<IMG_CONTEXT>" * 4 + "</img>"]
    assert tensors["pixel_values"].shape == (5, 3, 32, 32)  # 3 tiles and the whole; one


def test_tokens_equal_those_of_processor_and_generate(folder: Path, tmp_path: Path) -> None:
    names = rivals.images(tmp_path)
    asked = [Question(name, None, "refer", text="the red circle") for name in names]
    ours = rivals.answers(load(folder, tmp_path, max_new_tokens=12), list(enumerate(asked)))
    processor, theirs = processor_of(folder), InternVLForConditionalGeneration.from_pretrained(folder)
    words = (
        "Please provide the bounding box coordinate of the region this sentence describes: <ref>the red circle</ref>"
    )
    for place, name in enumerate(names):
        image = Image.open(tmp_path / name)
        inputs = processor(images=[image], text=[TURN.format(words)], return_tensors="pt")
        written = theirs.generate(**inputs, max_new_tokens=12, do_sample=False, repetition_penalty=1.0)
        ids = written[0][inputs["input_ids"].shape[1] :]
        assert ours[place].raw == (processor.tokenizer.decode(ids, skip_special_tokens=True),)


def test_answers_do_not_depend_on_the_batch(folder: Path, tmp_path: Path) -> None:
    rivals.check_batches(ENTRY, folder, tmp_path, max_new_tokens=5)


def test_tasks_are_run_scored_compared_and_reported(folder: Path, tmp_path: Path) -> None:
    tasks = [
        *rivals.CAPTION, *rivals.VQA, *rivals.REFER,
    ]  # fmt: skip
    rivals.check_commands(ENTRY, folder, tmp_path, tasks, max_new_tokens=2)


def test_checkpoint_is_loaded_from_the_hub_and_then_without_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats.check_hub(ENTRY, folder, tmp_path, monkeypatch)


def test_chat_text_is_that_of_the_published_template(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert internvl.TURN == TURN
    assert load(folder, tmp_path).family.form == TURN
    assert not caplog.text  # the pinned text is the template's


def test_prompts_and_lengths_are_those_of_the_authors_evaluation(folder: Path, tmp_path: Path) -> None:
    """Golden strings of OpenGVLab/InternVL, internvl_chat/eval: evaluate_caption.py, evaluate_vqa.py, refcoco."""
    family = load(folder, tmp_path).family
    caption = family.prompts(Question("a.jpg", None, "caption"))
    assert caption == ("Provide a one-sentence caption for the provided image.",)
    vqa = family.prompts(Question("a.jpg", None, "vqa", text="why?"))
    assert vqa == ("why? Answer the question using a single word or phrase.",)
    [refer] = family.prompts(Question("a.jpg", None, "refer", text="a dog"))
    expected = "Please provide the bounding box coordinate of the region this sentence describes: <ref>a dog</ref>"
    assert refer == expected
    assert family.settings("caption") == {"num_beams": 1, "min_new_tokens": 8, "max_new_tokens": 30}
    assert family.settings("vqa") == {"num_beams": 1, "max_new_tokens": 10}
    assert family.settings("refer") == {"num_beams": 1, "max_new_tokens": 100}


def value(kind: Any, text: str, size: Size = SIZE) -> Any:
    family = object.__new__(internvl.InternVl)  # reads outputs without a checkpoint
    return family.value(Question("a.jpg", None, kind), [Written(text, (), truncated=False)], size)


@pytest.mark.parametrize("size", [Size(640, 480), Size(480, 640), Size(20, 30), Size(3000, 100)])
def test_boxes_are_thousandths_of_the_image(size: Size) -> None:
    width, height = size
    expected = Boxes(((width / 4, height / 2, width * 3 / 4, height),))
    assert value("refer", "<ref>a dog</ref><box>[[250, 500, 750, 1000]]</box>", size) == expected


def test_small_coordinates_are_thousandths_too() -> None:
    """The authors' evaluator takes a box whose sum is below 4 as 0 to 1; a declared space is not guessed."""
    assert value("refer", "[[0, 0, 1, 1]]") == Boxes(((0.0, 0.0, 1.0, 0.5),))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[0, 0, 500, 500], [1, 2, 3, 4]]", ((0, 0, 500, 250), (1, 1, 3, 2))),  # the first is scored
        ("The region is [10, 20, 30, 40].", ((10, 10, 30, 20),)),
        ("[[-5, 0, 1500, 500]]", ((0, 0, 1000, 250),)),
        ("[[10, 20, 30", None),
        ("I cannot see a dog.", None),
        ("", None),
    ],
)
def test_boxes_well_or_half_formed_are_read(text: str, expected: tuple[Any, ...] | None) -> None:
    assert value("refer", text) == (Boxes(expected) if expected is not None else None)


def test_text_is_the_answer_of_other_kinds() -> None:
    assert value("vqa", " a dog\n") == Text(("a dog",))


def test_entries_name_the_form_for_transformers() -> None:
    assert all(isinstance(entry, Entry) and entry.repo.endswith("-hf") for entry in internvl.ENTRIES)
