"""SmolVLM and SmolVLM2 at tiny size: the inputs and tokens of transformers' own use, and the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessorPil,
    SmolVLMProcessor,
)

from baselines import smolvlm
from baselines.entry import Entry, Setting
from harness.core import Question, Text
from tests.baselines import chats, rivals

TILES = tuple(f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5))
SPECIAL = (
    "<|im_end|>", "<|im_start|>", "<end_of_utterance>", "<image>", "<fake_token_around_image>", "<global-img>", *TILES,
)  # fmt: skip
ENTRIES = {entry.name: entry for entry in smolvlm.ENTRIES}
# chat_template.json of HuggingFaceTB/SmolVLM-Instruct; that of SmolVLM2 has videos as well.
TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}{% if message['content'][0]['type'] == "
    "'image' %}{{':'}}{% else %}{{': '}}{% endif %}{% for line in message['content'] %}{% if line['type'] == 'text' %}"
    "{{line['text']}}{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
TURN = "<|im_start|>User:<image>{}<end_of_utterance>\nAssistant:"


@pytest.fixture(scope="module", params=["smolvlm-256m", "smolvlm2-256m"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Entry, Path]:
    """An entry, and a checkpoint of its kind: tiles of 32 x 32 pixels, of 4 tokens each, of an image of 64."""
    folder = tmp_path_factory.mktemp(request.param)
    tokens = tokenizer()
    text = {
        "model_type": "llama", "vocab_size": len(tokens), "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "eos_token_id": 2,
        "pad_token_id": 0, "bos_token_id": 1,
    }  # fmt: skip
    vision = {
        "image_size": 32, "patch_size": 8, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }  # fmt: skip
    common: dict[str, Any] = {"vision_config": vision, "text_config": text, "image_token_id": 3, "scale_factor": 2}
    sizes: dict[str, Any] = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    torch.manual_seed(0)
    if request.param == "smolvlm-256m":
        model: Any = Idefics3ForConditionalGeneration(Idefics3Config(**common))
        Idefics3ImageProcessorPil(**sizes).save_pretrained(folder)
    else:
        model = SmolVLMForConditionalGeneration(SmolVLMConfig(**common))
        SmolVLMImageProcessorPil(**sizes).save_pretrained(folder)
    model.generation_config.update(repetition_penalty=1.7, eos_token_id=2, pad_token_id=0)
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return ENTRIES[request.param], folder


def tokenizer() -> Any:
    return chats.tokenizer(SPECIAL, pad="<|im_end|>", eos="<end_of_utterance>")


def load(tiny: tuple[Entry, Path], root: Path, **options: Any) -> Any:
    entry, folder = tiny
    return entry.load(Setting(root=root, weights=str(folder), device="cpu"), **options)


def processor_of(tiny: tuple[Entry, Path]) -> Any:
    entry, folder = tiny
    if not entry.name.startswith("smolvlm2"):
        tokens = tokenizer()
        tokens.padding_side = "left"
        return Idefics3Processor(Idefics3ImageProcessorPil.from_pretrained(folder), tokens, image_seq_len=4)
    return chats.official(
        SmolVLMProcessor,
        SmolVLMImageProcessorPil.from_pretrained(folder),
        tokenizer(),
        image_seq_len=4,
        fake_image_token="<fake_token_around_image>",
        image_token="<image>",
        image_token_id=3,
        global_image_token="<global-img>",
        video_token="<video>",
    )


def test_inputs_equal_those_of_the_processor(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    family = load(tiny, tmp_path).family
    chats.check_inputs(family, NestedImages(processor_of(tiny)), tmp_path, "<image>")


class NestedImages:
    """A processor that takes a list of images for each text."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, images: list[Image.Image], **rest: Any) -> Any:
        return self.processor(images=[[image] for image in images], **rest)


def test_wide_image_has_rows_of_tiles_and_the_whole(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    [place], tensors = load(tiny, tmp_path).family.pixels(
        [Image.new("RGB", (100, 40))]
    )  # becomes 64 x 26, then 64 x 32
    four = "<image>" * 4
    around = "<fake_token_around_image>"
    tiles = f"{around}<row_1_col_1>{four}{around}<row_1_col_2>{four}\n"
    assert place == f"{tiles}\n{around}<global-img>{four}{around}"
    assert tensors["pixel_values"].shape == (1, 3, 3, 32, 32)


def test_tokens_equal_those_of_processor_and_generate(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    names = rivals.images(tmp_path)
    asked = [Question(name, None, "vqa", text="what color is the circle") for name in names]
    ours = rivals.answers(load(tiny, tmp_path, max_new_tokens=12), list(enumerate(asked)))
    second = tiny[0].name.startswith("smolvlm2")
    kind: Any = SmolVLMForConditionalGeneration if second else Idefics3ForConditionalGeneration
    processor, theirs = processor_of(tiny), kind.from_pretrained(tiny[1])
    words = "what color is the circle\nGive a very brief answer."
    for place, name in enumerate(names):
        image = Image.open(tmp_path / name)
        inputs = processor(images=[[image]], text=[TURN.format(words)], return_tensors="pt")
        written = theirs.generate(**inputs, max_new_tokens=12, do_sample=False, repetition_penalty=1.0)
        raw = processor.tokenizer.decode(written[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert ours[place].raw == (raw,)
        assert ours[place].value == Text((raw.strip(),))


def test_answers_do_not_depend_on_the_batch(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    rivals.check_batches(*tiny, tmp_path, max_new_tokens=5)


@pytest.mark.parametrize("tiny", ["smolvlm2-256m"], indirect=True)
def test_tasks_are_run_scored_compared_and_reported(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    tasks = [*rivals.CAPTION, *rivals.VQA]
    rivals.check_commands(*tiny, tmp_path, tasks, max_new_tokens=2)


def test_checkpoint_is_loaded_from_the_hub_and_then_without_it(
    tiny: tuple[Entry, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats.check_hub(*tiny, tmp_path, monkeypatch)


def test_chat_text_is_that_of_the_published_template(
    tiny: tuple[Entry, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert smolvlm.TURN == TURN
    assert load(tiny, tmp_path).family.form == TURN
    assert not caplog.text  # the pinned text is the template's


def test_prompts_are_those_of_their_sources(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    """Golden strings: lmms-eval's caption; VLMEvalKit's vlmeval/vlm/smolvlm.py, build_prompt_default, add_brief."""
    family = load(tiny, tmp_path).family
    caption = family.prompts(Question("a.jpg", None, "caption"))
    assert caption == ("Provide a one-sentence caption for the provided image.",)
    vqa = family.prompts(Question("a.jpg", None, "vqa", text="why?"))
    assert vqa == ("why?\nGive a very brief answer.",)
