"""PaliGemma's questions and answers for training, as transformers' processor writes them with a suffix.

A row is the image's placeholders, `<bos>prompt` and a line break, then the answer and `<eos>`.  The first part is
prefix (`token_type_ids` 0, attention both ways), the answer is suffix (1, causal).

An object is `<locYYYY>` four times (y1, x1, y2, x2) and its label; ` ; ` is between objects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from baselines.paligemma import LAST, SEPARATOR, PaliGemma, Variant
from baselines.pretrained import Checkpoint, Pretrained
from baselines.text_training import NO_LABEL, TextLearner, learner
from harness.core import Box, Boxes, Question, Size, Text, Value
from harness.errors import DataError
from harness.training.recipe import RivalRecipe

WRITER_VERSION = 1  # raise it whenever an example could change
CODE = re.compile(r"<(?:loc\d{4}|seg\d{3})>")


class PaliGemmaWriter:
    """A `text_training.Writer`."""

    version = WRITER_VERSION

    def __init__(self, loaded: Pretrained, variant: Variant) -> None:
        self.family = PaliGemma(loaded, variant, None)
        self._tokenizer = loaded.tokenizer
        self._pixels = loaded.processors[-1]
        config = loaded.model.config
        self._image = [int(config.image_token_id)] * (
            (config.vision_config.image_size // config.vision_config.patch_size) ** 2
        )

    def texts(self, question: Question, value: Value, size: Size) -> Sequence[tuple[str, str]]:
        """One pair.  DataError for a question that has no prompt, and for a value that is not written here."""
        prompts = self.family.prompts(question)
        if isinstance(value, Text):
            return [(prompt, self._plain(value.texts[0])) for prompt in prompts]
        if not isinstance(value, Boxes):
            raise DataError(f"a {type(value).__name__} is not written as an answer of PaliGemma")
        labels = value.labels or (question.text,) * len(value.boxes)
        things = [f"{written(box, size)} {self._plain(label)}" for box, label in zip(value.boxes, labels, strict=True)]
        return [(prompt, f" {SEPARATOR} ".join(things)) for prompt in prompts]

    def _plain(self, text: str) -> str:
        """A text of the data without special tokens and codes, which would end an answer or begin a box."""
        for token in self._tokenizer.all_special_tokens:
            text = text.replace(token, " ")
        return CODE.sub(" ", text).strip()

    def prompt_ids(self, prompt: str) -> list[int]:
        """The start token, the prompt and the line break that ends it."""
        return self.family.ids(prompt)

    def answer_ids(self, text: str) -> list[int]:
        """The answer and the end token."""
        return [*self._tokenizer(text, add_special_tokens=False)["input_ids"], self._tokenizer.eos_token_id]

    def resize(self, image: Image.Image) -> Tensor:
        """(3, side, side)."""
        pixels: Tensor = self._pixels([image], return_tensors="pt")["pixel_values"][0]
        return pixels

    def placed(self, prompt: Sequence[int], pixels: Any) -> list[int]:
        """The placeholders, then the prompt."""
        return [*self._image, *prompt]

    def inputs(self, pixels: Sequence[Any], ids: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """The pixels, and the type of each token: 0 of the prefix, 1 of the answer and of padding behind it."""
        behind = (labels != NO_LABEL).cumsum(1) > 0
        return {"pixel_values": torch.stack(list(pixels)), "token_type_ids": behind.long()}


def written(box: Box, size: Size) -> str:
    """A box in pixels as four coordinate tokens, y before x: `paligemma.to_box` undoes it up to half a step."""
    left, top, right, bottom = box
    shares = (top / size.height, left / size.width, bottom / size.height, right / size.width)
    return "".join(f"<loc{round(min(max(share, 0.0), 1.0) * LAST):04}>" for share in shares)


def teach(
    weights: str | None, recipe: RivalRecipe, device: str, *, checkpoint: Checkpoint, variant: Variant
) -> TextLearner:
    """The learner of a checkpoint of PaliGemma."""
    writer = partial(PaliGemmaWriter, variant=variant)
    name = "PaliGemmaForConditionalGeneration"
    return learner(weights, recipe, device, checkpoint=checkpoint, class_name=name, writer=writer)
