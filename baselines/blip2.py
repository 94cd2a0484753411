"""BLIP-2: a frozen vision tower, a Q-Former, and OPT or Flan-T5 (arXiv:2301.12597).

Prompts and generation settings are those of LAVIS' evaluation (salesforce/LAVIS at 506965b, below `lavis`:
`projects/blip2/eval`, `models/blip2_models/blip2_opt.py` and `blip2_t5.py`, `processors/blip_processors.py`).
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from baselines.entry import Entry, Setting
from baselines.generative import Generative, Options, Written, refuse, without_tokens
from baselines.pretrained import Checkpoint, Pretrained, load
from harness.core import Kind, Question, Size, Text, Value
from harness.errors import CheckpointError

if TYPE_CHECKING:
    from PIL import Image

ANSWERS_VERSION = 1  # raise it whenever an answer could change
KINDS: frozenset[Kind] = frozenset({"caption", "vqa"})
VQA = "Question: {} Short answer:"
REMOVED = re.compile(r"[.!\"()*#:;~]")  # from questions, by LAVIS


class Blip2:
    """How BLIP-2 is asked and read; a `generative.Family`."""

    kinds = KINDS
    version = ANSWERS_VERSION
    scored = False
    identity = ""

    def __init__(self, loaded: Pretrained, coco: bool) -> None:
        self.coco = coco
        self._config = loaded.model.config
        self._encodes_text = bool(self._config.text_config.is_encoder_decoder)
        self._tokenizer = loaded.tokenizer
        self._ends = {} if self._encodes_text else {"eos_token_id": line_break(loaded)}
        self._pixels = square_images(loaded)

    def prompts(self, question: Question) -> Sequence[str]:
        """One prompt; a caption has none."""
        return (VQA.format(plain_question(question.text)) if question.kind == "vqa" else "",)

    def settings(self, kind: Kind) -> Mapping[str, Any]:
        """Five beams; 8 to 30 tokens for COCO's checkpoints, else 10 to 80 (NoCaps); at most 10 for an answer."""
        if kind == "vqa":
            return {**vqa_settings(self._encodes_text), **self._ends}
        shortest, longest = (8, 30) if self.coco else (10, 80)
        return {**caption_settings(self._encodes_text, shortest, longest), **self._ends}

    def key(self, image: Image.Image, prompt: str) -> Hashable:
        """All prompts can be in one batch."""
        return ()

    def inputs(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, Any]:
        """The pixels, and the tokens: those of the image are before padding and text."""
        import torch

        plain = [without_tokens(prompt, self._tokenizer) for prompt in prompts]
        texts = self._tokenizer(plain, padding=True, return_tensors="pt")
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
        """The output without the spaces and the line break around it."""
        return Text((written[0].text.strip(),))


def plain_question(text: str) -> str:
    """The question as LAVIS asks it: lower case, without some punctuation, and at most 50 words."""
    return " ".join(REMOVED.sub("", text.lower()).rstrip(" ").split(" ")[:50])


def vqa_settings(encodes_text: bool) -> dict[str, Any]:
    """The settings of LAVIS for answers.  The negative length penalty, in favour of short answers, is the paper's."""
    shortest = {} if encodes_text else {"min_new_tokens": 1}
    return {"num_beams": 5, "max_new_tokens": 10, "length_penalty": -1.0, **shortest}


def caption_settings(encodes_text: bool, shortest: int, longest: int) -> dict[str, Any]:
    """The settings of LAVIS for captions.  Its minimum counts the start token of T5's decoder, which is not written."""
    return {"num_beams": 5, "min_new_tokens": shortest - encodes_text, "max_new_tokens": longest}


def line_break(loaded: Pretrained) -> int:
    """The token of a line break, at which LAVIS ends OPT's output; CheckpointError where the tokenizer has none."""
    ids: list[int] = loaded.tokenizer("\n", add_special_tokens=False)["input_ids"]
    if not ids or ids[0] == loaded.tokenizer.unk_token_id:
        raise CheckpointError(f"the tokenizer of {loaded.folder} has no line break, by which OPT ends an output")
    return ids[0]


def square_images(loaded: Pretrained) -> Any:
    """The image processor, which resizes to the square that the vision tower takes: 224 or 364 pixels a side."""
    side = loaded.model.config.vision_config.image_size
    return loaded.image_processor("BlipImageProcessorPil", size={"height": side, "width": side})


def _build(setting: Setting, options: Options, checkpoint: Checkpoint, coco: bool) -> Generative:
    loaded = load("Blip2ForConditionalGeneration", checkpoint, setting, options)
    return Generative(Blip2(loaded, coco), loaded, setting, options)


def _entry(name: str, about: str, parameters: str) -> Entry:
    checkpoint = Checkpoint(name, f"Salesforce/{name}")
    coco = name.endswith("-coco")
    return checkpoint.entry(
        about,
        partial(_build, coco=coco),
        options=Options,
        kinds=KINDS,
        refuse=refuse,
        parameters=parameters,
        protocol="fine_tuned" if coco else "zero_shot",
    )


ENTRIES = (
    _entry("blip2-opt-2.7b", "BLIP-2 with OPT-2.7B, pre-trained", "3.7 B"),
    _entry("blip2-opt-2.7b-coco", "BLIP-2 with OPT-2.7B, fine-tuned on COCO captions", "3.7 B"),
    _entry("blip2-opt-6.7b", "BLIP-2 with OPT-6.7B, pre-trained", "7.8 B"),
    _entry("blip2-opt-6.7b-coco", "BLIP-2 with OPT-6.7B, fine-tuned on COCO captions", "7.8 B"),
    _entry("blip2-flan-t5-xl", "BLIP-2 with Flan-T5-XL, pre-trained", "3.9 B"),
    _entry("blip2-flan-t5-xl-coco", "BLIP-2 with Flan-T5-XL, fine-tuned on COCO captions", "3.9 B"),
    _entry("blip2-flan-t5-xxl", "BLIP-2 with Flan-T5-XXL, pre-trained", "12.1 B"),
)
