"""BLIP-2: a frozen vision tower, a Q-Former, and OPT or Flan-T5 (arXiv:2301.12597).

Prompts and generation settings are those of LAVIS' evaluation (salesforce/LAVIS, `lavis/projects/blip2/eval`,
`lavis/models/blip2_models/blip2_opt.py` and `blip2_t5.py`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from baselines.entry import Entry, Setting
from baselines.generative import Generative, Options, Written, refuse
from baselines.pretrained import USES, Checkpoint, Pretrained, load
from harness.core import Kind, Question, Size, Text, Value

if TYPE_CHECKING:
    from PIL import Image

ANSWERS_VERSION = 1  # raise it whenever an answer could change
KINDS: frozenset[Kind] = frozenset({"caption", "vqa"})
VQA = "Question: {} Short answer:"


class Blip2:
    """How BLIP-2 is asked and read; a `generative.Family`."""

    kinds = KINDS
    version = ANSWERS_VERSION
    scored = False
    identity = ""

    def __init__(self, loaded: Pretrained, coco: bool) -> None:
        self.coco = coco
        self._config = loaded.model.config
        self._encodes_text = self._config.text_config.is_encoder_decoder
        self._tokenizer = loaded.tokenizer
        self._pixels = loaded.image_processor("BlipImageProcessorPil")

    def prompts(self, question: Question) -> Sequence[str]:
        """One prompt; a caption has none."""
        return (VQA.format(question.text) if question.kind == "vqa" else "",)

    def settings(self, kind: Kind) -> Mapping[str, Any]:
        """Five beams; 8 to 30 tokens for COCO's checkpoints, else 10 to 80 (NoCaps); at most 10 for an answer."""
        if kind == "vqa":
            return {"num_beams": 5, "max_new_tokens": 10, "length_penalty": -1.0}
        shortest, longest = (8, 30) if self.coco else (10, 80)
        return {"num_beams": 5, "min_new_tokens": shortest, "max_new_tokens": longest}

    def key(self, image: Image.Image, prompt: str) -> Hashable:
        """All prompts can be in one batch."""
        return ()

    def inputs(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, Any]:
        """The pixels, and the tokens: those of the image are before padding and text."""
        import torch

        texts = self._tokenizer(list(prompts), padding=True, return_tensors="pt")
        places = torch.full((len(prompts), self._config.num_query_tokens), self._config.image_token_index)
        return {
            "pixel_values": self._pixels(list(images), return_tensors="pt")["pixel_values"],
            "input_ids": torch.cat([places, texts["input_ids"]], dim=1),
            "attention_mask": torch.cat([torch.ones_like(places), texts["attention_mask"]], dim=1),
        }

    def begin(self, inputs: Mapping[str, Any]) -> int:
        """T5's start of the decoder, or OPT's prompt."""
        return 1 if self._encodes_text else int(inputs["input_ids"].shape[1])

    def decode(self, ids: Sequence[int]) -> str:
        """The text without special tokens."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def value(self, question: Question, written: Sequence[Written], size: Size) -> Value | None:
        """The first line: OPT goes on after its answer, and LAVIS ends it at the line break."""
        return Text((written[0].text.strip().partition("\n")[0].strip(),))


def _build(setting: Setting, options: Options, checkpoint: Checkpoint, coco: bool) -> Generative:
    loaded = load("Blip2ForConditionalGeneration", checkpoint, setting, options)
    return Generative(Blip2(loaded, coco), loaded, setting, options)


def _entry(name: str, about: str, parameters: str) -> Entry:
    checkpoint = Checkpoint(name, f"Salesforce/{name}")
    coco = name.endswith("-coco")
    return Entry(
        name=name,
        about=about,
        build=partial(_build, checkpoint=checkpoint, coco=coco),
        options=Options,
        uses=USES,
        kinds=KINDS,
        refuse=refuse,
        at_hand=checkpoint.at_hand,
        parameters=parameters,
        repo=checkpoint.repo,
        revision=checkpoint.revision,
        protocol="fine_tuned" if coco else "zero_shot",
    )


ENTRIES = (
    _entry("blip2-opt-2.7b", "BLIP-2 with OPT-2.7B, pre-trained", "3.7 B"),
    _entry("blip2-opt-2.7b-coco", "BLIP-2 with OPT-2.7B, fine-tuned on COCO captions", "3.7 B"),
    _entry("blip2-opt-6.7b", "BLIP-2 with OPT-6.7B, pre-trained", "7.8 B"),
    _entry("blip2-opt-6.7b-coco", "BLIP-2 with OPT-6.7B, fine-tuned on COCO captions", "7.8 B"),
    _entry("blip2-flan-t5-xl", "BLIP-2 with Flan-T5-XL, pre-trained", "3.9 B"),
    _entry("blip2-flan-t5-xl-coco", "BLIP-2 with Flan-T5-XL, fine-tuned on COCO captions", "3.9 B"),
    _entry("blip2-flan-t5-xxl", "BLIP-2 with Flan-T5-XXL, pre-trained", "12.2 B"),
)
