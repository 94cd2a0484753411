"""Qwen-VL's questions and answers for training: the chat's turn, then the answer and the token that ends a turn.

Boxes are written as the models write them: a JSON list in a block of code, with whole numbers in the family's own
coordinates (pixels of the resized image, or thousandths).  A phrase of a sentence, and a category that is asked alone,
is an example of its own; each epoch uses the next of a question's examples.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from baselines.chat import MESSAGE
from baselines.generative import without_tokens
from baselines.pretrained import Checkpoint, Pretrained
from baselines.qwen_vl import LONGEST_SIDE, TEXT, QwenOptions, QwenVl, class_name
from baselines.text_training import TextLearner, learner
from baselines.written_boxes import from_pixels
from harness.core import Box, Boxes, Grounded, Quad, Quads, Question, Size, Text, Value
from harness.errors import DataError
from harness.images import BadImage
from harness.training.recipe import RivalRecipe

WRITER_VERSION = 1  # raise it whenever an example could change


class QwenWriter:
    """A `text_training.Writer`.  The pixels of an image are its patches (P, C) and its grid (3,)."""

    version = WRITER_VERSION

    def __init__(self, loaded: Pretrained, third: bool) -> None:
        self.family = QwenVl(loaded, QwenOptions(), third=third)
        self._tokenizer = loaded.tokenizer
        self._pixels = loaded.processors[-1]
        self._image = int(loaded.model.config.image_token_id)

    def texts(self, question: Question, value: Value, size: Size) -> Sequence[tuple[str, str]]:
        """A pair for each prompt that has an answer.  DataError for a value that is not written here."""
        prompts = self.family.prompts(question)
        if isinstance(value, Text):
            return [(prompt, self._plain(value.texts[0])) for prompt in prompts]
        if isinstance(value, Grounded):
            phrases = zip(prompts, value.boxes, question.phrases, strict=True)
            return [
                (prompt, self._json(boxes, [phrase.text] * len(boxes), size))
                for prompt, boxes, phrase in phrases
                if boxes
            ]
        if isinstance(value, Quads):
            boxes = [around(quad) for quad in value.quads]
            return [(prompt, self._json(boxes, value.labels, size, TEXT)) for prompt in prompts]
        if not isinstance(value, Boxes):
            raise DataError(f"a {type(value).__name__} is not written as an answer of Qwen-VL")
        if question.kind not in ("detect", "find"):
            return [(prompt, self._json(value.boxes, [question.text] * len(value.boxes), size)) for prompt in prompts]
        things = list(zip(value.boxes, value.labels, strict=True))
        pairs = []
        for prompt, names in zip(prompts, self.family.groups(question), strict=True):
            of_prompt = [(box, label) for box, label in things if label in names]
            pairs.append((prompt, self._json([box for box, _ in of_prompt], [label for _, label in of_prompt], size)))
        return pairs

    def _json(self, boxes: Sequence[Box], labels: Sequence[str], size: Size, key: str = "label") -> str:
        """Objects with `bbox_2d` and a text, as `written_boxes.from_json` reads them."""
        extent = self.family.extent(size)
        things = [
            json.dumps({"bbox_2d": from_pixels(box, extent, size), key: self._plain(label)}, ensure_ascii=False)
            for box, label in zip(boxes, labels, strict=True)
        ]
        lines = ",\n".join(f"\t{thing}" for thing in things)
        return f"```json\n[\n{lines}\n]\n```" if things else "```json\n[]\n```"

    def _plain(self, text: str) -> str:
        """A text of the data without special tokens, which would end an answer."""
        return without_tokens(text, self._tokenizer).strip()

    def prompt_ids(self, prompt: str) -> list[int]:
        """The turn with one placeholder of the image."""
        text = self.family.form.replace(MESSAGE, prompt)
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def answer_ids(self, text: str) -> list[int]:
        """The answer and the token that ends a turn."""
        return [*self._tokenizer(text, add_special_tokens=False)["input_ids"], self._tokenizer.eos_token_id]

    def resize(self, image: Image.Image) -> tuple[Tensor, Tensor]:
        """The patches and the grid of an image; BadImage for one that is too long."""
        if max(image.size) > LONGEST_SIDE * min(image.size):
            sides = f"{image.size[0]} x {image.size[1]}"
            raise BadImage(f"an image of {sides}: Qwen-VL takes sides of at most {LONGEST_SIDE} to 1")
        features = self._pixels([image], size=self._pixels.size, return_tensors="pt")
        return features["pixel_values"], features["image_grid_thw"][0]

    def placed(self, prompt: Sequence[int], pixels: Any) -> list[int]:
        """The turn with a placeholder for each merged patch of the image."""
        count = int(pixels[1].prod()) // self._pixels.merge_size**2
        place = prompt.index(self._image)
        return [*prompt[:place], *[self._image] * count, *prompt[place + 1 :]]

    def inputs(self, pixels: Sequence[Any], ids: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """The patches of all images, their grids, and 1 for tokens of the image."""
        return {
            "pixel_values": torch.cat([patches for patches, _ in pixels]),
            "image_grid_thw": torch.stack([grid for _, grid in pixels]),
            "mm_token_type_ids": (ids == self._image).long(),
        }


def around(quad: Quad) -> Box:
    """The smallest box around a quadrilateral."""
    across, down = zip(*quad, strict=True)
    return min(across), min(down), max(across), max(down)


def teach(weights: str | None, recipe: RivalRecipe, device: str, *, checkpoint: Checkpoint, third: bool) -> TextLearner:
    """The learner of a checkpoint of Qwen-VL."""
    writer = partial(QwenWriter, third=third)
    return learner(weights, recipe, device, checkpoint=checkpoint, class_name=class_name(third), writer=writer)
