"""The text of a turn: by the checkpoint's template, by the authors' text, and with hostile words in a question."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import LlavaOnevisionConfig

from baselines.chat import Ask, Chat, chat_text
from baselines.generative import Written
from baselines.pretrained import Pretrained
from harness.core import Question, Size, Text
from harness.errors import CheckpointError
from tests.baselines import chats

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>")
FORM = "<|im_start|> user <image> {} <|im_end|> assistant"
OTHER = "<|im_start|> system {% for part in messages[0].content %}{% if part.type == 'image' %}<image>{% else %} : {{ part.text }}{% endif %}{% endfor %}"  # noqa: E501
TEXT = "<|im_start|> system <image> : {}"  # what OTHER writes


class OneTile(Chat):
    """Each image has three tokens."""

    def pixels(self, images: Any) -> tuple[list[str], dict[str, Any]]:
        return ["<image>" * 3 for _ in images], {"pixel_values": torch.zeros(len(images), 3, 2, 2)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokens = chats.tokenizer(SPECIAL, pad="<|endoftext|>", eos="<|im_end|>")
    tokens.save_pretrained(tmp_path)
    return tmp_path


def loaded(folder: Path, image_token: int = 3) -> Pretrained:
    """A checkpoint's folder and configuration, without weights."""
    model = SimpleNamespace(config=LlavaOnevisionConfig(image_token_index=image_token))
    return Pretrained(model, folder, "", {})


def family(folder: Path, **checkpoint: int) -> OneTile:
    asks = {"vqa": Ask("{} ?", {"max_new_tokens": 3}), "caption": Ask("the image", {"num_beams": 2})}
    return OneTile(loaded(folder, **checkpoint), asks, form=FORM, image_token="<image>", version=1)  # type: ignore[arg-type]


def test_turn_without_a_template_is_the_authors(folder: Path) -> None:
    assert family(folder).form == FORM
    assert family(folder).identity == repr(FORM)


@pytest.mark.parametrize("name", ["chat_template.jinja", "chat_template.json"])
def test_turn_by_the_checkpoints_own_template_is_used_and_said(
    folder: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / name).write_text(OTHER if name.endswith("jinja") else json.dumps({"chat_template": OTHER}))
    with caplog.at_level(logging.WARNING):
        chat = family(folder)
    assert chat.form == TEXT
    assert f"it writes {TEXT!r}, not {FORM!r}" in caplog.text
    assert chat.identity == repr(TEXT)  # so the fingerprint names it


def test_template_that_writes_the_authors_text_is_not_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "chat_template.jinja").write_text(FORM.replace("{}", "{{ messages[0].content[1].text }}"))
    with caplog.at_level(logging.WARNING):
        assert family(folder).form == FORM
    assert not caplog.text


def test_template_of_the_tokenizer_alone_is_not_used(folder: Path) -> None:
    """LLaVA-OneVision's repositories: tokenizer_config.json has that of Qwen2, which knows no images."""
    path = folder / "tokenizer_config.json"
    template = "{% for message in messages %}{{ message['role'] + message['content'] }}{% endfor %}"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))
    assert loaded(folder).tokenizer.chat_template == template
    assert family(folder).form == FORM


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for %}", "the chat template of .* cannot be loaded: "),
        ("{{ raise_exception('no images') }}", "the chat template of .* cannot be loaded: no images"),
        ("{{ messages[0].content[1].text }}", "the chat template of .* writes '{}'; expected are <image> and the"),
        ("<image><image>{{ messages[0].content[1].text }}", "writes '<image><image>{}'; expected are <image>"),
        ("<image>", "writes '<image>'; expected"),
    ],
)  # fmt: skip
def test_template_that_fails_or_has_no_single_image_is_refused(folder: Path, template: str, message: str) -> None:
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(CheckpointError, match=message):
        chat_text(folder, loaded(folder).tokenizer, FORM, "<image>")


def test_template_file_that_is_not_json_is_refused(folder: Path) -> None:
    (folder / "chat_template.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"the chat template of .* cannot be loaded"):
        family(folder)


def test_tokenizer_of_another_model_is_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"does not have <image> as token 7, as config.json says"):
        family(folder, image_token=7)


def test_tokenizer_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no tokenizer: none of tokenizer\.json"):
        family(tmp_path)


def test_inputs_are_padded_on_the_left_and_have_the_tokens_of_each_image(folder: Path) -> None:
    """The saved tokenizer pads on the right; a decoder that goes on after pads would be wrong."""
    chat = family(folder)
    image = Image.new("RGB", (2, 2))
    inputs = chat.inputs([image, image], ["what color is the circle", "red"])
    [longer, shorter] = inputs["input_ids"].tolist()
    assert longer.count(3) == shorter.count(3) == 3
    assert shorter[:4] == [0] * 4  # four words fewer
    assert shorter[4] == longer[0] == 1
    assert inputs["attention_mask"].tolist() == [[1] * len(longer), [0] * 4 + [1] * (len(longer) - 4)]
    assert chat.begin(inputs) == len(longer)


def test_special_tokens_in_a_question_are_removed(folder: Path) -> None:
    """A question with <image> in it would have more places than the image has features."""
    chat = family(folder)
    asked = Question("a.jpg", None, "vqa", text="is <image> red <|im_end|> { } {}")
    [prompt] = chat.prompts(asked)
    assert prompt == "is   red   { } {} ?"
    inputs = chat.inputs([Image.new("RGB", (2, 2))], [prompt])
    assert inputs["input_ids"].tolist()[0].count(3) == 3


def test_settings_are_greedy_unless_the_kind_says_otherwise(folder: Path) -> None:
    chat = family(folder)
    assert chat.settings("vqa") == {"num_beams": 1, "max_new_tokens": 3}
    assert chat.settings("caption") == {"num_beams": 2}
    assert chat.kinds == {"vqa", "caption"}


def test_value_is_the_text_without_white_space_around_it(folder: Path) -> None:
    chat = family(folder)
    question = Question("a.jpg", None, "vqa", text="a")
    assert chat.value(question, [Written(" a dog\n", (), truncated=False)], Size(2, 2)) == Text(("a dog",))
    assert chat.value(question, [Written("", (), truncated=True)], Size(2, 2)) == Text(("",))
    assert chat.decode([1, 2, 3, 0]) == ""
