"""InstructBLIP: BLIP-2 whose Q-Former reads the instruction too (arXiv:2305.06500); Flan-T5 or Vicuna writes.

Prompts and generation settings are those of LAVIS' evaluation (salesforce/LAVIS at 506965b,
`lavis/projects/instructblip/caption_*_eval*.yaml` and `qa_okvqa_*_eval.yaml`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from baselines.blip2 import KINDS, Blip2, caption_settings, plain_question, square_images, vqa_settings
from baselines.entry import Entry, Setting
from baselines.generative import Generative, Options, refuse, without_tokens
from baselines.pretrained import Checkpoint, Pretrained, load, tokenizer_of
from harness.core import Kind, Question

if TYPE_CHECKING:
    from PIL import Image

ANSWERS_VERSION = 1  # raise it whenever an answer could change
CAPTION = "A short image caption."
VQA = "Question: {} Short Answer:"  # BLIP-2's has a small a
LONGEST = 128  # tokens that the Q-Former reads; of a longer text, it reads the end


class InstructBlip(Blip2):
    """How InstructBLIP is asked and read; a `generative.Family`."""

    version = ANSWERS_VERSION

    def __init__(self, loaded: Pretrained) -> None:
        self._config = loaded.model.config
        self._encodes_text = bool(self._config.text_config.is_encoder_decoder)
        self._tokenizer = loaded.tokenizer
        self._pixels = square_images(loaded)
        self._reader = tokenizer_of(loaded.folder / "qformer_tokenizer")
        self._reader.truncation_side = "left"

    def prompts(self, question: Question) -> Sequence[str]:
        """One prompt."""
        return (VQA.format(plain_question(question.text)) if question.kind == "vqa" else CAPTION,)

    def settings(self, kind: Kind) -> Mapping[str, Any]:
        """Five beams; 10 to 80 tokens for a caption, at most 10 for an answer."""
        return vqa_settings(self._encodes_text) if kind == "vqa" else caption_settings(self._encodes_text, 10, 80)

    def inputs(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, Any]:
        """Those of BLIP-2, and the tokens for the Q-Former, which has a tokenizer of its own."""
        plain = [without_tokens(prompt, self._reader) for prompt in prompts]
        read = self._reader(plain, padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
        return {
            **super().inputs(images, prompts),
            "qformer_input_ids": read["input_ids"],
            "qformer_attention_mask": read["attention_mask"],
        }


def _build(setting: Setting, options: Options, checkpoint: Checkpoint) -> Generative:
    loaded = load("InstructBlipForConditionalGeneration", checkpoint, setting, options)
    return Generative(InstructBlip(loaded), loaded, setting, options)


def _entry(name: str, about: str, parameters: str) -> Entry:
    checkpoint = Checkpoint(name, f"Salesforce/{name}")
    return checkpoint.entry(about, _build, options=Options, kinds=KINDS, refuse=refuse, parameters=parameters)


ENTRIES = (
    _entry("instructblip-flan-t5-xl", "InstructBLIP with Flan-T5-XL; for research use only", "4.0 B"),
    _entry("instructblip-flan-t5-xxl", "InstructBLIP with Flan-T5-XXL; for research use only", "12.2 B"),
    _entry("instructblip-vicuna-7b", "InstructBLIP with Vicuna-7B; for research use only", "7.9 B"),
    _entry("instructblip-vicuna-13b", "InstructBLIP with Vicuna-13B; for research use only", "14.2 B"),
)
