"""BLIP-2 at tiny size: the prompts and settings of LAVIS, the tokens of transformers' own use, and the commands."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from tokenizers.processors import TemplateProcessing
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipImageProcessorPil,
    PreTrainedTokenizerFast,
)

from baselines import blip2
from baselines.entry import Entry, Setting
from baselines.generative import Generative
from harness.core import Question, Text
from harness.errors import CheckpointError
from tests.baselines import rivals

SPECIAL = ("<s>", "<pad>", "</s>", "<image>")
ENTRIES = {entry.name: entry for entry in blip2.ENTRIES}
CASES = {"opt": ENTRIES["blip2-opt-2.7b"], "t5": ENTRIES["blip2-flan-t5-xl"]}


@pytest.fixture(scope="module", params=["opt", "t5"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Entry, Path]:
    """An entry, and a checkpoint of its kind."""
    folder = tmp_path_factory.mktemp(request.param)
    words = rivals.word_tokenizer(SPECIAL, lines=True)
    start, end = ("</s>", "") if request.param == "opt" else ("", "</s>")  # as OPT's and T5's tokenizers do
    words.post_processor = TemplateProcessing(single=f"{start} $A {end}".strip(), special_tokens=[("</s>", 2)])
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
    pixels = BlipImageProcessorPil(size={"height": 48, "width": 48})  # the configuration says 32: it decides
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
        BlipImageProcessorPil.from_pretrained(folder, size={"height": 32, "width": 32}),
        PreTrainedTokenizerFast.from_pretrained(folder, padding_side="left"),
        num_query_tokens=4,
    )
    text = "Question: what color is the circle Short answer:"
    inputs = processor(Image.open(tmp_path / name), text, return_tensors="pt")
    line_break = processor.tokenizer.convert_tokens_to_ids("\n")
    settings = {"eos_token_id": line_break, "min_new_tokens": 1} if folder.name.startswith("opt") else {}
    written = theirs.generate(
        **inputs, num_beams=5, max_new_tokens=10, length_penalty=-1.0, repetition_penalty=1.0, do_sample=False,
        **settings,
    )  # fmt: skip
    begin = inputs["input_ids"].shape[1] if folder.name.startswith("opt") else 1
    decoded = processor.tokenizer.decode(written[0][begin:], skip_special_tokens=True)
    assert ours.raw == (decoded,)
    assert ours.value == Text((decoded.strip(),))


def test_answers_do_not_depend_on_the_batch(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    entry, folder = tiny
    rivals.check_batches(entry, folder, tmp_path, max_new_tokens=6)


def test_checkpoint_of_the_hub_is_downloaded_once(
    tiny: tuple[Entry, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals.check_hub(*tiny, tmp_path / "cache", monkeypatch)


def test_caption_and_vqa_tasks_are_run_scored_compared_and_reported(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    entry, folder = tiny
    tasks = [*rivals.CAPTION, *rivals.VQA]
    rivals.check_commands(entry, folder, tmp_path, tasks, max_new_tokens=6)


def family(folder: Path, name: str) -> blip2.Blip2:
    model = ENTRIES[name].load(Setting(weights=str(folder), device="cpu"))
    assert isinstance(model, Generative)
    assert isinstance(model.family, blip2.Blip2)
    return model.family


@pytest.mark.parametrize(
    ("question", "prompt"),
    [
        # LAVIS, vqav2_zeroshot_*_eval.yaml: `prompt: "Question: {} Short answer:"`; BlipQuestionProcessor.pre_question:
        # lower case, without . ! " ( ) * # : ; ~, without spaces at the end, and its first 50 words.
        ("What is it?", "Question: what is it? Short answer:"),
        ('Is "A. B." (here) a dog; or #1? ', "Question: is a b here a dog or 1? Short answer:"),
        ("a " * 60, f"Question: {' '.join('a' * 50)} Short answer:"),
    ],
)
def test_prompt_of_a_question_is_that_of_lavis(tiny: tuple[Entry, Path], question: str, prompt: str) -> None:
    asked = Question("0.png", None, "vqa", text=question)
    assert family(tiny[1], tiny[0].name).prompts(asked) == (prompt,)


def test_settings_are_those_of_lavis(tiny: tuple[Entry, Path]) -> None:
    """caption_coco_*_eval.yaml, caption_nocaps_*_eval.yaml, vqav2_zeroshot_*_eval.yaml; length penalty: paper, 4.1.

    `min_length` of transformers counts the first token of T5's decoder, so 8 means 7 tokens and an end.
    """
    entry, folder = tiny
    opt = folder.name.startswith("opt")
    coco = family(folder, "blip2-opt-2.7b-coco").settings("caption")
    other = family(folder, "blip2-opt-2.7b").settings("caption")
    vqa = family(folder, entry.name).settings("vqa")
    assert (coco["num_beams"], coco["min_new_tokens"], coco["max_new_tokens"]) == (5, 8 if opt else 7, 30)
    assert (other["num_beams"], other["min_new_tokens"], other["max_new_tokens"]) == (5, 10 if opt else 9, 80)
    assert (vqa["num_beams"], vqa["max_new_tokens"], vqa["length_penalty"]) == (5, 10, -1.0)


def test_opt_writes_to_the_line_break(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    """LAVIS, blip2_opt.py:91.  The output is that of a model whose best token is always the line break."""
    entry, folder = tiny
    if not folder.name.startswith("opt"):
        pytest.skip("T5 ends at its own end token")
    [name, *_] = rivals.images(tmp_path)
    model = entry.load(Setting(root=tmp_path, weights=str(folder), device="cpu"), beams=1)
    assert isinstance(model, Generative)
    line_break = model.loaded.tokenizer.convert_tokens_to_ids("\n")
    language = model.loaded.model.language_model
    language.lm_head = torch.nn.Linear(32, language.config.vocab_size)
    torch.nn.init.zeros_(language.lm_head.weight)
    torch.nn.init.zeros_(language.lm_head.bias)
    language.lm_head.bias.data[line_break] = 2.0
    language.lm_head.bias.data[5] = 1.0  # the best token while an end is not allowed
    asked = [(0, Question(name, None, "vqa", text="what")), (1, Question(name, None, "caption"))]
    results = rivals.answers(model, asked)
    assert (results[0].tokens, results[0].truncated) == (2, False)  # one word at least, and the line break
    assert (results[1].tokens, results[1].truncated) == (11, False)  # ten words, and the line break


def test_tokenizer_of_opt_without_a_line_break_is_a_checkpoint_error(tmp_path: Path) -> None:
    words = rivals.word_tokenizer(SPECIAL)
    named = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, **named)
    with pytest.raises(CheckpointError, match="has no line break, by which OPT ends an output"):
        blip2.line_break(SimpleNamespace(tokenizer=tokenizer, folder=tmp_path))  # type: ignore[arg-type]


def test_image_token_in_a_question_is_not_read_as_an_image(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    entry, folder = tiny
    [name, *_] = rivals.images(tmp_path)
    model = entry.load(Setting(root=tmp_path, weights=str(folder), device="cpu"), max_new_tokens=4)
    texts = ("what color <image> is it", "what color   is it")
    asked = [(number, Question(name, None, "vqa", text=text)) for number, text in enumerate(texts)]
    results = rivals.answers(model, asked)
    assert results[0].raw == results[1].raw


def test_protocol_is_fine_tuned_for_checkpoints_of_coco() -> None:
    assert {entry.protocol for name, entry in ENTRIES.items() if name.endswith("-coco")} == {"fine_tuned"}
    assert {entry.protocol for name, entry in ENTRIES.items() if not name.endswith("-coco")} == {"zero_shot"}
