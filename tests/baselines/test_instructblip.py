"""InstructBLIP at tiny size: the prompts and settings of LAVIS, the Q-Former's own tokenizer, and the commands."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from tokenizers.processors import TemplateProcessing
from transformers import (
    BlipImageProcessorPil,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipProcessor,
    PreTrainedTokenizerFast,
)

from baselines import instructblip
from baselines.entry import Entry, Setting
from baselines.generative import Generative
from harness.core import Question, Text
from harness.errors import CheckpointError
from tests.baselines import rivals

SPECIAL = ("<s>", "<pad>", "</s>", "<image>")
READ = ("[PAD]", "[CLS]", "[SEP]", "[DEC]")  # the Q-Former's special tokens: BERT's, and LAVIS' start token
ENTRIES = {entry.name: entry for entry in instructblip.ENTRIES}
CASES = {"vicuna": ENTRIES["instructblip-vicuna-7b"], "t5": ENTRIES["instructblip-flan-t5-xl"]}


@pytest.fixture(scope="module", params=["vicuna", "t5"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Entry, Path]:
    """An entry, and a checkpoint of its kind."""
    folder = tmp_path_factory.mktemp(request.param)
    words = rivals.word_tokenizer(SPECIAL)
    form = "<s> $A" if request.param == "vicuna" else "$A </s>"
    words.post_processor = TemplateProcessing(single=form, special_tokens=[("<s>", 0), ("</s>", 2)])
    read = rivals.word_tokenizer(READ, "zebra " + rivals.WORDS)  # other words, so other ids
    read.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    size = words.get_vocab_size()
    texts = {
        "vicuna": {
            "model_type": "llama", "vocab_size": size, "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
        },
        "t5": {
            "model_type": "t5", "vocab_size": size, "d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2,
            "num_heads": 4, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
        },
    }  # fmt: skip
    common = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = InstructBlipConfig(
        vision_config={**common, "image_size": 32, "patch_size": 8, "initializer_range": 0.02},
        qformer_config={**common, "vocab_size": read.get_vocab_size(), "encoder_hidden_size": 32},
        text_config=texts[request.param],
        num_query_tokens=4,
        image_token_index=3,
    )
    torch.manual_seed(0)
    model = InstructBlipForConditionalGeneration(config)
    model.query_tokens.data.normal_()
    model.save_pretrained(folder)
    named = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, **named)
    reader = PreTrainedTokenizerFast(
        tokenizer_object=read, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", bos_token="[DEC]",
        unk_token="<unk>",
    )  # fmt: skip
    pixels = BlipImageProcessorPil(size={"height": 32, "width": 32})
    InstructBlipProcessor(pixels, tokenizer, reader, num_query_tokens=4).save_pretrained(folder)
    return CASES[request.param], folder


def family(tiny: tuple[Entry, Path]) -> instructblip.InstructBlip:
    entry, folder = tiny
    model = entry.load(Setting(weights=str(folder), device="cpu"))
    assert isinstance(model, Generative)
    assert isinstance(model.family, instructblip.InstructBlip)
    return model.family


def test_tokens_equal_those_of_processor_and_generate(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    entry, folder = tiny
    [name, *_] = rivals.images(tmp_path)
    model = entry.load(Setting(root=tmp_path, weights=str(folder), device="cpu"))
    asked = Question(name, None, "vqa", text="what color is the circle")
    ours = rivals.answers(model, [(0, asked)])[0]
    theirs = InstructBlipForConditionalGeneration.from_pretrained(folder)
    processor = InstructBlipProcessor(
        BlipImageProcessorPil.from_pretrained(folder),
        PreTrainedTokenizerFast.from_pretrained(folder, padding_side="left"),
        PreTrainedTokenizerFast.from_pretrained(folder / "qformer_tokenizer"),
        num_query_tokens=4,
    )
    inputs = processor(
        Image.open(tmp_path / name), "Question: what color is the circle Short Answer:", return_tensors="pt"
    )
    t5 = folder.name.startswith("t5")
    written = theirs.generate(
        **inputs, num_beams=5, max_new_tokens=10, min_new_tokens=0 if t5 else 1, length_penalty=-1.0
    )
    begin = 1 if t5 else inputs["input_ids"].shape[1]
    decoded = processor.tokenizer.decode(written[0][begin:], skip_special_tokens=True)
    assert ours.raw == (decoded,)
    assert ours.value == Text((decoded.strip(),))


def test_qformer_reads_by_its_own_tokenizer(tiny: tuple[Entry, Path]) -> None:
    inputs = family(tiny).inputs([Image.new("RGB", (9, 9))], ["red circle"])
    words = ["zebra", *rivals.WORDS.split()]
    place = {word: len(READ) + 1 + number for number, word in enumerate(words)}  # after the special tokens and <unk>
    assert inputs["qformer_input_ids"].tolist() == [[1, place["red"], place["circle"], 2]]


def test_qformer_reads_the_end_of_a_long_text(tiny: tuple[Entry, Path]) -> None:
    """LAVIS: max_txt_len 128, truncation_side left; the language model reads all of the text."""
    inputs = family(tiny).inputs([Image.new("RGB", (9, 9))], ["red " * 200 + "circle"])
    last = family(tiny).inputs([Image.new("RGB", (9, 9))], ["circle"])["qformer_input_ids"][0, 1]
    assert inputs["qformer_input_ids"].shape == (1, 128)
    assert inputs["qformer_input_ids"][0, -2] == last
    assert inputs["input_ids"].shape[1] > 200


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
    rivals.check_commands(entry, folder, tmp_path, tasks, max_new_tokens=4, beams=1)


def test_prompts_are_those_of_lavis(tiny: tuple[Entry, Path]) -> None:
    """caption_*_eval.yaml: "A short image caption."; qa_okvqa_*_eval.yaml: "Question: {} Short Answer:"."""
    asked = family(tiny)
    assert asked.prompts(Question("0.png", None, "caption")) == ("A short image caption.",)
    assert asked.prompts(Question("0.png", None, "vqa", text="What is it?")) == ("Question: what is it? Short Answer:",)


def test_settings_are_those_of_lavis(tiny: tuple[Entry, Path]) -> None:
    """max_len 80, min_len 10, num_beams 5; for answers max_len 10, min_len 1, num_beams 5, length_penalty -1."""
    vicuna = tiny[1].name.startswith("vicuna")  # T5's decoder counts its first token, which is not written
    asked = family(tiny)
    caption = {"num_beams": 5, "min_new_tokens": 10 if vicuna else 9, "max_new_tokens": 80}
    vqa = {"num_beams": 5, "max_new_tokens": 10, "length_penalty": -1.0}
    assert asked.settings("caption") == caption
    assert asked.settings("vqa") == (vqa | {"min_new_tokens": 1} if vicuna else vqa)


def test_missing_tokenizer_of_the_qformer_is_one_clear_line(tiny: tuple[Entry, Path], tmp_path: Path) -> None:
    entry, folder = tiny
    copy = shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(copy / "qformer_tokenizer")
    with pytest.raises(CheckpointError, match="qformer_tokenizer has no tokenizer: none of") as caught:
        entry.load(Setting(weights=str(copy), device="cpu"))
    assert "\n" not in str(caught.value)


def test_licence_is_stated_by_every_entry() -> None:
    assert all("research use only" in entry.about for entry in instructblip.ENTRIES)
