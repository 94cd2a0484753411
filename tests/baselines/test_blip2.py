"""BLIP-2 at tiny size: the prompts and settings of LAVIS, the tokens of transformers' own use, and the commands."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipImageProcessorPil,
    PreTrainedTokenizerFast,
)

from baselines import blip2
from baselines.entry import Entry, Setting
from harness.core import Question, Text
from tests.baselines import rivals

SPECIAL = ("<s>", "<pad>", "</s>", "<image>")
ENTRIES = {entry.name: entry for entry in blip2.ENTRIES}
CASES = {"opt": ENTRIES["blip2-opt-2.7b"], "t5": ENTRIES["blip2-flan-t5-xl"]}


@pytest.fixture(scope="module", params=["opt", "t5"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Entry, Path]:
    """An entry, and a checkpoint of its kind."""
    folder = tmp_path_factory.mktemp(request.param)
    words = rivals.word_tokenizer(SPECIAL)
    size = words.get_vocab_size()
    texts = {
        "opt": {
            "model_type": "opt", "vocab_size": size, "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "word_embed_proj_dim": 32, "pad_token_id": 1, "bos_token_id": 0,
            "eos_token_id": 2, "max_position_embeddings": 160,
        },
        "t5": {
            "model_type": "t5", "vocab_size": size, "d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2,
            "num_heads": 4, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
        },
    }  # fmt: skip
    common = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Blip2Config(
        vision_config={**common, "image_size": 32, "patch_size": 8},
        qformer_config={**common, "vocab_size": size, "encoder_hidden_size": 32},
        text_config=texts[request.param],
        num_query_tokens=4,
        image_token_index=3,
    )
    torch.manual_seed(0)
    model = Blip2ForConditionalGeneration(config)
    model.generation_config.repetition_penalty = 1.7  # shipped settings must not change an evaluation
    model.save_pretrained(folder)
    named = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, **named)
    tokenizer.image_token = "<image>"
    pixels = BlipImageProcessorPil(size={"height": 32, "width": 32})
    Blip2Processor(pixels, tokenizer, num_query_tokens=4).save_pretrained(folder)
    return CASES[request.param], folder


def test_tokens_equal_those_of_processor_and_generate(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    entry, folder = tiny
    [name, *_] = rivals.images(tmp_path)
    model = entry.load(Setting(root=tmp_path, weights=str(folder), device="cpu"))
    asked = Question(name, None, "vqa", text="what color is the circle")
    ours = rivals.answers(model, [(0, asked)])[0]
    theirs = Blip2ForConditionalGeneration.from_pretrained(folder)
    processor = Blip2Processor(
        BlipImageProcessorPil.from_pretrained(folder),
        PreTrainedTokenizerFast.from_pretrained(folder, padding_side="left"),
        num_query_tokens=4,
    )
    text = "Question: what color is the circle Short answer:"
    inputs = processor(Image.open(tmp_path / name), text, return_tensors="pt")
    written = theirs.generate(
        **inputs, num_beams=5, max_new_tokens=10, length_penalty=-1.0, repetition_penalty=1.0, do_sample=False
    )
    begin = inputs["input_ids"].shape[1] if folder.name.startswith("opt") else 1
    decoded = processor.tokenizer.decode(written[0][begin:], skip_special_tokens=True)
    assert ours.raw == (decoded,)
    assert ours.value == Text((decoded.strip().split("\n")[0].strip(),))


def test_answers_do_not_depend_on_the_batch(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    entry, folder = tiny
    rivals.check_batches(entry, folder, tmp_path, max_new_tokens=6)


def test_caption_and_vqa_tasks_are_run_scored_compared_and_reported(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    entry, folder = tiny
    tasks = ["coco_caption", "nocaps", "textcaps", "vqav2", "textvqa", "vizwiz"]
    rivals.check_commands(entry, folder, tmp_path, tasks, max_new_tokens=6)


def test_prompt_of_a_question_is_that_of_lavis() -> None:
    assert blip2.VQA.format("what is it") == "Question: what is it Short answer:"
