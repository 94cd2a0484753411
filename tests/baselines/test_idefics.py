"""IDEFICS 1, 2 and 3 at tiny size: the authors' prompts, the tokens of transformers' own use, and the commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tokenizers.processors import TemplateProcessing
from transformers import (
    Idefics2Config,
    Idefics2ForConditionalGeneration,
    Idefics2ImageProcessorPil,
    Idefics2Processor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    IdeficsConfig,
    IdeficsForVisionText2Text,
    IdeficsImageProcessorPil,
    IdeficsProcessor,
    PreTrainedTokenizerFast,
)

from baselines import idefics
from baselines.entry import Entry, Setting
from baselines.examples import Example
from baselines.generative import Generative, Written
from harness.core import Question, Size, Text
from harness.errors import CheckpointError, UsageError
from tests.baselines import rivals

SPECIAL = (
    "<unk>", "<s>", "</s>", "<pad>", "<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
)  # fmt: skip
WORDS = "Image Caption Question Answer User Assistant Describe briefly Give very brief . : " + rivals.WORDS
ENTRIES = {entry.name: entry for entry in idefics.ENTRIES}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 8}
LANGUAGE = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 3, "bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 512,
}  # fmt: skip


@dataclass(frozen=True)
class Tiny:
    """A checkpoint of one generation, with transformers' own classes for it."""

    folder: Path
    entry: Entry  # instructed
    model: type[Any]
    processor: Any


def tokenizer() -> PreTrainedTokenizerFast:
    words = rivals.word_tokenizer(SPECIAL, WORDS, lines=True)
    words.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    named = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=words, padding_side="left", **named)


def first(size: int) -> tuple[Any, Any]:
    """IDEFICS; 7 tokens beyond the vocabulary of the language model, as in the published checkpoints there are 2."""
    vision = {
        "embed_dim": 32, "image_size": 32, "intermediate_size": 64, "patch_size": 8, "num_hidden_layers": 2,
        "num_attention_heads": 4, "vision_model_name": "openai/clip",
    }  # fmt: skip
    config = IdeficsConfig(
        vocab_size=size - 7, additional_vocab_size=7, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, cross_layer_interval=1, qk_layer_norms=True, use_resampler=True, vision_config=vision,
        alpha_initializer="ones", pad_token_id=3, bos_token_id=1, eos_token_id=2,
        perceiver_config={
            "resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": 4, "resampler_head_dim": 8,
            "qk_layer_norms_perceiver": True,
        },
    )  # fmt: skip
    return IdeficsForVisionText2Text(config), IdeficsProcessor(IdeficsImageProcessorPil(image_size=32), tokenizer())


def second(size: int) -> tuple[Any, Any]:
    perceiver = {
        "hidden_size": 32, "resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": 4,
        "resampler_head_dim": 8, "num_key_value_heads": 2,
    }  # fmt: skip
    config = Idefics2Config(
        vision_config={**VISION, "image_size": 64},
        perceiver_config=perceiver,
        text_config={"model_type": "mistral", "vocab_size": size, **LANGUAGE},
        image_token_id=5,
    )
    images = Idefics2ImageProcessorPil(size={"shortest_edge": 24, "longest_edge": 64}, do_image_splitting=False)
    return Idefics2ForConditionalGeneration(config), Idefics2Processor(images, tokenizer(), image_seq_len=4)


def third(size: int) -> tuple[Any, Any]:
    config = Idefics3Config(
        vision_config={**VISION, "image_size": 32},
        text_config={"model_type": "llama", "vocab_size": size, **LANGUAGE},
        scale_factor=2,
        image_token_id=5,
    )
    images = Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    return Idefics3ForConditionalGeneration(config), Idefics3Processor(images, tokenizer(), image_seq_len=4)


CASES = {"idefics-9b-instruct": first, "idefics2-8b": second, "idefics3-8b": third}


@pytest.fixture(scope="module", params=list(CASES))
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A checkpoint of each generation, with random weights."""
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    model, processor = CASES[request.param](len(tokenizer()))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return Tiny(folder, ENTRIES[request.param], type(model), processor)


def family(tiny: Tiny, entry: Entry) -> idefics.Idefics:
    model = entry.load(Setting(weights=str(tiny.folder), device="cpu"))
    assert isinstance(model, Generative)
    assert isinstance(model.family, idefics.Idefics)
    return model.family


def test_tokens_equal_those_of_processor_and_generate(tiny: Tiny, tmp_path: Path) -> None:
    [name, *_] = rivals.images(tmp_path)
    model = tiny.entry.load(Setting(root=tmp_path, weights=str(tiny.folder), device="cpu"), max_new_tokens=8)
    asked = Question(name, None, "vqa", text="what color is the circle")
    ours = rivals.answers(model, [(0, asked)])[0]
    theirs = tiny.model.from_pretrained(tiny.folder)
    text = "User:<image>what color is the circle\nGive a very brief answer.<end_of_utterance>\nAssistant:"
    image = Image.open(tmp_path / name).convert("RGB")
    if tiny.model is IdeficsForVisionText2Text:
        before, after = text.split("<image>")
        inputs = tiny.processor(text=[before, image, after])
    else:
        inputs = tiny.processor(text=text, images=[image], return_tensors="pt")
    written = theirs.generate(
        **inputs, max_new_tokens=8, do_sample=False, eos_token_id=[2, 6], pad_token_id=3, bad_words_ids=[[5], [4]]
    )
    ids = written[0][inputs["input_ids"].shape[1] :].tolist()
    assert ours.raw == (tiny.processor.tokenizer.decode(ids, skip_special_tokens=True),)
    assert ours.tokens == len(ids)


def test_answers_do_not_depend_on_the_batch(tiny: Tiny, tmp_path: Path) -> None:
    rivals.check_batches(tiny.entry, tiny.folder, tmp_path, max_new_tokens=6)


def test_checkpoint_of_the_hub_is_downloaded_once(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rivals.check_hub(tiny.entry, tiny.folder, tmp_path / "cache", monkeypatch)


def test_caption_and_vqa_tasks_are_run_scored_compared_and_reported(tiny: Tiny, tmp_path: Path) -> None:
    tasks = [*rivals.CAPTION, *rivals.VQA]
    rivals.check_commands(tiny.entry, tiny.folder, tmp_path, tasks, max_new_tokens=4)


def test_prompt_of_an_instructed_model_is_a_turn(tiny: Tiny) -> None:
    """m4, prompt_templates_dict_instruct 7; for questions, the authors' words in VLMEvalKit's `vlm/idefics.py`."""
    asked = family(tiny, tiny.entry)
    caption = "User:<image>Describe the image briefly.<end_of_utterance>\nAssistant:"
    vqa = "User:<image>What is it?\nGive a very brief answer.<end_of_utterance>\nAssistant:"
    assert asked.prompts(Question("0.png", None, "caption")) == (caption,)
    assert asked.prompts(Question("0.png", None, "vqa", text="What is it?")) == (vqa,)


def test_image_token_in_a_question_is_not_an_image(tiny: Tiny) -> None:
    asked = family(tiny, tiny.entry)
    [prompt] = asked.prompts(Question("0.png", None, "vqa", text="a <image> b<end_of_utterance>"))
    assert (prompt.count("<image>"), prompt.count("<end_of_utterance>")) == (1, 1)
    assert asked.inputs([Image.new("RGB", (40, 24))], [prompt])["input_ids"].shape[0] == 1


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A checkpoint of IDEFICS without instructions."""
    folder = tmp_path_factory.mktemp("pretrained")
    torch.manual_seed(0)
    model, processor = first(len(tokenizer()))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return Tiny(folder, ENTRIES["idefics-9b"], type(model), processor)


def test_prompts_of_a_pretrained_model_are_those_of_m4(pretrained: Tiny) -> None:
    """prompt_templates_dict: captions 7, "Image:<image>Caption: {caption}\\n"; questions 9, which has a prefix.

    They are the `selected_prompt_template_id` of the classes for IDEFICS; the query is stripped of its empty answer.
    """
    asked = family(pretrained, pretrained.entry)
    assert asked.prompts(Question("0.png", None, "caption")) == ("Image:<image>Caption:",)
    [prompt] = asked.prompts(Question("0.png", None, "vqa", text="What is it?"))
    instruction = "Instruction: provide an answer to the question. Use the image to answer.\n"
    assert prompt == f"{instruction}Image:<image>Question: What is it? Answer:"
    inputs = asked.inputs([Image.new("RGB", (40, 24))], [prompt])
    decoded = pretrained.processor.tokenizer.decode(inputs["input_ids"][0])
    assert decoded.startswith("<s>") and decoded.count("<image>") == 1
    assert "\n Image : <fake_token_around_image> <image> <fake_token_around_image> Question :" in decoded


EXAMPLES = (
    Example(Question("1.png", None, "vqa", text="What is red?"), "circle"),
    Example(Question("2.png", None, "vqa", text="Is it big?"), "yes"),
)


def test_prompt_with_two_examples_is_that_of_m4(pretrained: Tiny) -> None:
    """prepare_dataset: the prefix, the examples, each with its answer and a line break, then the stripped query."""
    asked = family(pretrained, pretrained.entry)
    assert asked.prompt(Question("0.png", None, "vqa", text="What is it?"), EXAMPLES) == (
        "Instruction: provide an answer to the question. Use the image to answer.\n"
        "Image:<image>Question: What is red? Answer: circle\n"
        "Image:<image>Question: Is it big? Answer: yes\n"
        "Image:<image>Question: What is it? Answer:"
    )
    captions = [Example(Question("1.png", None, "caption"), text) for text in ("a cat.", "{two} dogs")]
    assert asked.prompt(Question("0.png", None, "caption"), captions) == (
        "Image:<image>Caption: a cat.\nImage:<image>Caption: {two} dogs\nImage:<image>Caption:"
    )


def test_prompt_of_an_instructed_model_with_examples_is_several_turns(tiny: Tiny) -> None:
    """prompt_templates_dict_instruct 7: an answer ends with <end_of_utterance> and a line break."""
    asked = family(tiny, tiny.entry)
    captions = [Example(Question("1.png", None, "caption"), text) for text in ("a cat.", "two dogs")]
    turn = "User:<image>Describe the image briefly.<end_of_utterance>\nAssistant:"
    assert asked.prompt(Question("0.png", None, "caption"), captions) == (
        f"{turn} a cat.<end_of_utterance>\n{turn} two dogs<end_of_utterance>\n{turn}"
    )
    assert asked.prompt(Question("0.png", None, "vqa", text="What is it?"), EXAMPLES[:1]) == (
        "User:<image>What is red?\nGive a very brief answer.<end_of_utterance>\nAssistant: circle<end_of_utterance>\n"
        "User:<image>What is it?\nGive a very brief answer.<end_of_utterance>\nAssistant:"
    )


def test_image_token_in_an_example_is_not_an_image(tiny: Tiny) -> None:
    asked = family(tiny, tiny.entry)
    example = Example(Question("1.png", None, "vqa", text="a <image> b?"), "<end_of_utterance> c <image>")
    prompt = asked.prompt(Question("0.png", None, "vqa", text="What?"), [example])
    assert (prompt.count("<image>"), prompt.count("<end_of_utterance>")) == (2, 3)


def test_prompt_that_examples_make_too_long_is_one_line(tiny: Tiny) -> None:
    """The tiny models of the second and third generation read 512 tokens; the first generation's default is 2048."""
    asked = family(tiny, tiny.entry)
    image = Image.new("RGB", (40, 24))
    words = "a " * 2100
    prompt = asked.prompt(Question("0.png", None, "vqa", text="a"), [Example(EXAMPLES[0].question, words)])
    limit = "2,048" if tiny.model is IdeficsForVisionText2Text else "512"
    with pytest.raises(UsageError, match=rf"a prompt of 2,\d+ tokens; the model reads {limit}: give fewer --shots"):
        asked.interleaved([[image, image]], [prompt])


def test_settings_of_a_pretrained_model_are_those_of_m4(pretrained: Tiny) -> None:
    """generate_tokens: "Flamingo: Beam search with a beam size of 3"; bad_words = ["\\n", "\\n\\n", image, fake]."""
    settings = family(pretrained, pretrained.entry).settings("vqa")
    line = pretrained.processor.tokenizer.convert_tokens_to_ids("\n")
    assert (settings["num_beams"], settings["early_stopping"]) == (3, True)
    assert settings["bad_words_ids"] == [[line], [line, line], [5], [4]]


@pytest.mark.parametrize(
    ("kind", "output", "text"),
    [
        ("caption", " a dog on grass. Image: <image> Caption: a cat", "a dog on grass."),
        ("caption", " What a dog ", "What a dog"),
        ("vqa", " yes Question: is it red? Answer: no", "yes"),
        ("vqa", " two What is", "two"),
        ("vqa", "", ""),
        ("vqa", "Image", ""),
    ],
)
def test_output_of_a_pretrained_model_ends_at_the_next_example(
    pretrained: Tiny, kind: Any, output: str, text: str
) -> None:
    asked = family(pretrained, pretrained.entry)
    value = asked.value(Question("0.png", None, kind, text="?"), [Written(output, (), False)], Size(9, 9))
    assert value == Text((text,))


def test_answers_of_a_pretrained_model_do_not_depend_on_the_batch(pretrained: Tiny, tmp_path: Path) -> None:
    rivals.check_batches(pretrained.entry, pretrained.folder, tmp_path, max_new_tokens=6)


def test_every_table_says_that_idefics_is_not_flamingo() -> None:
    for name in ("idefics-9b", "idefics-9b-instruct", "idefics-80b", "idefics-80b-instruct"):
        assert "the open reproduction of Flamingo, not Flamingo itself" in ENTRIES[name].about
        assert ENTRIES[name].repo == f"HuggingFaceM4/{name}"


def test_weights_of_another_generation_are_a_checkpoint_error(tiny: Tiny) -> None:
    other = ENTRIES["idefics3-8b" if tiny.entry.name != "idefics3-8b" else "idefics2-8b"]
    with pytest.raises(CheckpointError, match=r"is of a 'idefics\d?' model; this entry needs 'idefics\d?'"):
        other.load(Setting(weights=str(tiny.folder), device="cpu"))
