"""LLaVA-OneVision at tiny size: the inputs and tokens of transformers' own use, the token counts, and the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessorPil,
    LlavaOnevisionProcessor,
)

from baselines import llava_onevision
from baselines.entry import Setting
from harness.core import Question, Text
from tests.baselines import chats, rivals

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")
ENTRY = {entry.name: entry for entry in llava_onevision.ENTRIES}["llava-onevision-0.5b"]
GRID = [[32 * rows, 32 * columns] for rows in range(1, 4) for columns in range(1, 4)]
# chat_template.json of llava-hf/llava-onevision-qwen2-0.5b-ov-hf.
TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + ' '}}{# Render all images first #}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}"
    "{# Render all video then #}{% for content in message['content'] | selectattr('type', 'equalto', 'video') %}"
    "{{ '<video>' }}{% endfor %}{# Render all text next #}{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ '\n' + content['text'] }}"
    "{% endfor %}{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ '\n' + content['text'] }}{% endgeneration %}{% endfor %}{% endif %}{{'<|im_end|>'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TURN = "<|im_start|>user <image>\n{}<|im_end|><|im_start|>assistant\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose tiles are 32 x 32 pixels, of 16 tokens each; above 2.4 tiles, features are shrunk."""
    folder = tmp_path_factory.mktemp("llava")
    tokens = tokenizer()
    text = {
        "model_type": "qwen2", "vocab_size": len(tokens), "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "eos_token_id": 2,
        "pad_token_id": 0, "bos_token_id": 1,
    }  # fmt: skip
    vision = {
        "model_type": "siglip_vision_model", "image_size": 32, "patch_size": 8, "hidden_size": 32,
        "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vision_use_head": False,
    }  # fmt: skip
    torch.manual_seed(0)
    config = LlavaOnevisionConfig(
        vision_config=vision, text_config=text, image_token_index=3, video_token_index=4, image_grid_pinpoints=GRID,
        vision_aspect_ratio="anyres_max_2",
    )  # fmt: skip
    model = LlavaOnevisionForConditionalGeneration(config)
    model.generation_config.update(repetition_penalty=1.7)
    torch.nn.init.normal_(model.model.image_newline)
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    LlavaOnevisionImageProcessorPil(size={"height": 32, "width": 32}, image_grid_pinpoints=GRID).save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def tokenizer() -> Any:
    return chats.tokenizer(SPECIAL, pad="<|endoftext|>", eos="<|im_end|>")


def load(folder: Path, root: Path, **options: Any) -> Any:
    return ENTRY.load(Setting(root=root, weights=str(folder), device="cpu"), **options)


def processor_of(folder: Path) -> Any:
    return chats.official(
        LlavaOnevisionProcessor,
        LlavaOnevisionImageProcessorPil.from_pretrained(folder),
        tokenizer(),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        image_token="<image>",
        video_token="<video>",
        image_token_id=3,
        video_token_id=4,
        vision_aspect_ratio="anyres_max_2",
    )


def test_inputs_equal_those_of_the_processor(folder: Path, tmp_path: Path) -> None:
    chats.check_inputs(load(folder, tmp_path).family, processor_of(folder), tmp_path, "<image>")


def test_token_counts_of_any_size_are_those_of_the_processor_and_of_the_features(folder: Path, tmp_path: Path) -> None:
    model = load(folder, tmp_path)
    processor = processor_of(folder)
    sizes = [(height, width) for height in (1, 7, 20, 33, 64, 95, 300) for width in (1, 8, 21, 32, 65, 96, 299)]
    counts = model.family._counts(torch.tensor(sizes))
    assert counts == [processor._get_number_of_features(height, width, 32, 32) for height, width in sizes]
    for (height, width), count in list(zip(sizes, counts, strict=True))[::5]:
        features = processor.image_processor([Image.new("RGB", (width, height))], return_tensors="pt")
        [packed] = model.loaded.model.get_image_features(**features).pooler_output
        assert len(packed) == count


def test_tokens_equal_those_of_processor_and_generate(folder: Path, tmp_path: Path) -> None:
    names = rivals.images(tmp_path)
    asked = [Question(name, None, "vqa", text="what color is the circle") for name in names]
    ours = rivals.answers(load(folder, tmp_path, max_new_tokens=12), list(enumerate(asked)))
    processor, theirs = processor_of(folder), LlavaOnevisionForConditionalGeneration.from_pretrained(folder)
    words = "what color is the circle\nAnswer the question using a single word or phrase."
    for place, name in enumerate(names):
        image = Image.open(tmp_path / name)
        inputs = processor(images=[image], text=[TURN.format(words)], return_tensors="pt")
        written = theirs.generate(**inputs, max_new_tokens=12, do_sample=False, repetition_penalty=1.0)
        raw = processor.tokenizer.decode(written[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert ours[place].raw == (raw,)
        assert ours[place].value == Text((raw.strip(),))


def test_answers_do_not_depend_on_the_batch(folder: Path, tmp_path: Path) -> None:
    rivals.check_batches(ENTRY, folder, tmp_path, max_new_tokens=5)


def test_tasks_are_run_scored_compared_and_reported(folder: Path, tmp_path: Path) -> None:
    tasks = [*rivals.CAPTION, *rivals.VQA]
    rivals.check_commands(ENTRY, folder, tmp_path, tasks, max_new_tokens=2)


def test_checkpoint_is_loaded_from_the_hub_and_then_without_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats.check_hub(ENTRY, folder, tmp_path, monkeypatch)


def test_chat_text_is_that_of_the_published_template(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert llava_onevision.TURN == TURN
    assert load(folder, tmp_path).family.form == TURN
    assert not caplog.text  # the pinned text is the template's


def test_prompts_and_lengths_are_those_of_lmms_eval(folder: Path, tmp_path: Path) -> None:
    """Golden strings of lmms_eval/tasks: nocaps, textcaps, vqav2, textvqa."""
    family = load(folder, tmp_path).family
    caption = family.prompts(Question("a.jpg", None, "caption"))
    assert caption == ("Provide a one-sentence caption for the provided image.",)
    vqa = family.prompts(Question("a.jpg", None, "vqa", text="why?"))
    assert vqa == ("why?\nAnswer the question using a single word or phrase.",)
    assert family.settings("caption") == {"num_beams": 1, "max_new_tokens": 64}
    assert family.settings("vqa") == {"num_beams": 1, "max_new_tokens": 16}
