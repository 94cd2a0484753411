"""Qwen2.5-VL (arXiv:2502.13923) and Qwen3-VL (arXiv:2511.21631): chat models that write boxes as JSON.

Qwen2.5-VL writes pixels of the resized image; Qwen3-VL writes 0 to 1000 on both sides.  Sources of the prompts:
QwenLM/Qwen3-VL (README, `cookbooks/ocr.ipynb`, `evaluation/ODinW-13/dataset_utils.py`), its issues #947 and #1035 for
boxes by Qwen2.5-VL, and lmms-eval for short captions and VQA.  Search is greedy, where the authors sample.

A region is written as [x1, y1, x2, y2] in the coordinates of the answers, as an author says in the issues #782 and
#1427.  The words of `describe` are those of #1427, translated; those of `name` and `read` are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from baselines.chat import CAPTION, VQA, Ask, Chat
from baselines.entry import Entry, Setting
from baselines.generative import Generative, Options, Written
from baselines.generative import refuse as refuse_generative
from baselines.pretrained import Checkpoint, Pretrained, load
from baselines.written_boxes import from_json, from_pixels, says_none, to_pixels
from harness.core import Box, Boxes, Grounded, Kind, Quad, Quads, Question, Size, Value
from harness.errors import CheckpointError, DataError, UsageError
from harness.florence2.prompts import region_in

if TYPE_CHECKING:
    from PIL import Image

ANSWERS_VERSION = 1  # raise it whenever an answer could change
IMAGE = "<|image_pad|>"
TURN = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{}<|im_end|>\n<|im_start|>assistant\n"
SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"  # Qwen2.5-VL only
LOCATE = "Locate {} in the image and output the bbox coordinates in JSON format."
EVERY = "Locate every instance that belongs to the following categories: '{}'. Report bbox coordinates in JSON format."
SPOT = "Spotting all the text in the image with line-level, and output in JSON format"
SPOT_3 = SPOT + " as [{'bbox_2d': [x1, y1, x2, y2], 'text_content': 'text'}, ...]."
TEXT = "text_content"  # the key of the text in a box, in the cookbooks' answers
SEPARATOR = ", "  # of categories
LONGEST_SIDE = 200  # times the other side: Qwen's smart_resize refuses longer images

ASKS: Mapping[Kind, Ask] = {
    "caption": Ask(CAPTION, {"max_new_tokens": 64}),
    "detailed_caption": Ask("Describe this image.", {"max_new_tokens": 512}),
    "more_detailed_caption": Ask("Describe this image.", {"max_new_tokens": 512}),
    "vqa": Ask(VQA, {"max_new_tokens": 32}),
    "ocr": Ask("Read all the text in the image.", {"max_new_tokens": 1024}),
    "refer": Ask(LOCATE, {"max_new_tokens": 256}),
    "ground": Ask(LOCATE, {"max_new_tokens": 1024}),
    "detect": Ask(LOCATE, {"max_new_tokens": 4096}),
    "find": Ask(LOCATE, {"max_new_tokens": 4096}),
    "ocr_regions": Ask(SPOT + ".", {"max_new_tokens": 4096}),
    "name": Ask(VQA.replace("{}", "What is the object in the bbox region {}?"), {"max_new_tokens": 32}),
    "describe": Ask("Describe the object in the bbox region {}.", {"max_new_tokens": 256}),
    "read": Ask("Read all the text in the bbox region {}.", {"max_new_tokens": 256}),
}
ASKS_3: Mapping[Kind, Ask] = {
    **ASKS,
    "detect": Ask(EVERY, {"max_new_tokens": 4096}),
    "find": Ask(EVERY, {"max_new_tokens": 4096}),
    "ocr_regions": Ask(SPOT_3, {"max_new_tokens": 4096}),
}
REGION_KINDS: frozenset[Kind] = frozenset({"name", "describe", "read"})


@dataclass(frozen=True, slots=True, kw_only=True)
class QwenOptions(Options):
    """The options of Qwen-VL.  None leaves the choice to the checkpoint."""

    min_pixels: int | None = None
    "Smallest area of the resized image, in pixels [default: the checkpoint's]"
    max_pixels: int | None = None
    "Largest area of the resized image, in pixels [default: the checkpoint's]"


class QwenVl(Chat):
    """How Qwen-VL is asked and read; a `generative.Family`."""

    def __init__(self, loaded: Pretrained, options: QwenOptions, *, third: bool) -> None:
        self.third = third
        self._pixels = loaded.image_processor("Qwen2VLImageProcessorPil")
        self._image_token_id = int(loaded.model.config.image_token_id)
        self._smallest = _limit(options.min_pixels, self._pixels.size["shortest_edge"], "--min-pixels", loaded)
        self._largest = _limit(options.max_pixels, self._pixels.size["longest_edge"], "--max-pixels", loaded)
        _check_limits(self._smallest, self._largest)
        self._pixels.size = {"shortest_edge": self._smallest, "longest_edge": self._largest}
        super().__init__(
            loaded,
            ASKS_3 if third else ASKS,
            form=TURN if third else SYSTEM + TURN,
            image_token=IMAGE,
            version=ANSWERS_VERSION,
            preprocessing=f"{self._smallest} to {self._largest} pixels",
        )

    def prompts(self, question: Question) -> Sequence[str]:
        """One prompt; for `ground` one for each phrase.

        Categories are in one prompt, except that a name with the separator in it has a prompt of its own.  DataError
        for a region that cannot be written, and for an image that is too long.
        """
        _check_shape(question.size)
        if question.kind in REGION_KINDS:
            region, size = region_in(question, question.size)
            return [self.prompt(question.kind, str(from_pixels(region, self.extent(size), size)))]
        if question.kind == "ground":
            return [self.prompt("ground", phrase.text) for phrase in question.phrases]
        if question.kind not in ("detect", "find"):
            return super().prompts(question)
        return [self.prompt(question.kind, SEPARATOR.join(names)) for names in self.groups(question)]

    def groups(self, question: Question) -> list[list[str]]:
        """The categories of each prompt of a `detect` or `find` question."""
        names = [phrase.text for phrase in question.phrases]
        together = [name for name in names if SEPARATOR not in name]
        return ([together] if together else []) + [[name] for name in names if SEPARATOR in name]

    def pixels(self, images: Sequence[Image.Image]) -> tuple[list[str], Mapping[str, Any]]:
        """The patches of all images, one after another, and their grids."""
        features = self._pixels(list(images), size=self._pixels.size, return_tensors="pt")
        merged = features["image_grid_thw"].prod(-1) // self._pixels.merge_size**2
        tensors = {name: features[name] for name in ("pixel_values", "image_grid_thw")}
        return [IMAGE * int(count) for count in merged], tensors

    def inputs(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, Any]:
        """With `mm_token_type_ids`, 1 for tokens of the image: without them positions would be those of plain text."""
        inputs = super().inputs(images, prompts)
        return {**inputs, "mm_token_type_ids": (inputs["input_ids"] == self._image_token_id).long()}

    def value(self, question: Question, written: Sequence[Written], size: Size) -> Value | None:
        """The boxes of the JSON, or the text.  With several prompts: None only if no output can be read."""
        if question.kind == "ocr_regions":
            spotted = self._boxes(written[0].text, size, (TEXT, "label"))
            return None if spotted is None else Quads(tuple(map(corners, spotted.boxes)), spotted.labels)
        if question.kind not in ("refer", "ground", "detect", "find"):
            return super().value(question, written, size)
        read = [self._boxes(output.text, size) for output in written]
        if all(boxes is None for boxes in read):
            return None
        if question.kind == "ground":
            return Grounded(tuple(() if boxes is None else boxes.boxes for boxes in read))
        found = [boxes for boxes in read if boxes is not None]
        return Boxes(
            tuple(box for boxes in found for box in boxes.boxes),
            tuple(label for boxes in found for label in boxes.labels),
        )

    def _boxes(self, text: str, size: Size, keys: Sequence[str] = ("label",)) -> Boxes | None:
        """The boxes of one output in pixels of the original image; None for a text without boxes."""
        found = from_json(text, keys)
        if not found:
            return Boxes(()) if says_none(text) else None
        extent = self.extent(size)
        return Boxes(tuple(to_pixels(one.box, extent, size) for one in found), tuple(one.label for one in found))

    def extent(self, size: Size) -> tuple[float, float]:
        """The right and the bottom edge of an image of `size`, in the coordinates that the model writes."""
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

        if self.third:
            return 1000.0, 1000.0
        factor = self._pixels.patch_size * self._pixels.merge_size
        height, width = smart_resize(size.height, size.width, factor, self._smallest, self._largest)
        return float(width), float(height)


def refuse(setting: Setting, options: QwenOptions) -> None:
    """UsageError or ResourceError for settings that cannot work, before anything is loaded."""
    refuse_generative(setting, options)
    for option, value in (("--min-pixels", options.min_pixels), ("--max-pixels", options.max_pixels)):
        if value is not None and value < 1:
            raise UsageError(f"{option} {value}: at least 1")
    if options.min_pixels is not None and options.max_pixels is not None:
        _check_limits(options.min_pixels, options.max_pixels)


def _limit(chosen: int | None, stated: int | None, option: str, loaded: Pretrained) -> int:
    """The limit of an area; CheckpointError where neither the user nor the checkpoint states it."""
    limit = stated if chosen is None else chosen
    if limit is None:
        raise CheckpointError(f"the image processor of {loaded.folder} states no area in pixels: give {option}")
    return int(limit)


def corners(box: Box) -> Quad:
    """The corners of a box, clockwise from the top left; an inverted box is turned, as in the cookbook's drawing."""
    left, right = sorted(box[::2])
    top, bottom = sorted(box[1::2])
    return (left, top), (right, top), (right, bottom), (left, bottom)


def _check_limits(smallest: int, largest: int) -> None:
    if smallest > largest:
        raise UsageError(f"the smallest area, {smallest} pixels, is larger than the largest, {largest} (--max-pixels)")


def _check_shape(size: Size | None) -> None:
    """DataError for an image that is too long; `size` is None only where a question was not asked by a model."""
    if size is not None and max(size) > LONGEST_SIDE * min(size):
        raise DataError(f"an image of {size.width} x {size.height}: Qwen-VL takes sides of at most 200 to 1")


def class_name(third: bool) -> str:
    """The class of transformers: of Qwen3-VL, or of Qwen2.5-VL."""
    return "Qwen3VLForConditionalGeneration" if third else "Qwen2_5_VLForConditionalGeneration"


def _build(setting: Setting, options: QwenOptions, checkpoint: Checkpoint, third: bool) -> Generative:
    loaded = load(class_name(third), checkpoint, setting, options)
    return Generative(QwenVl(loaded, options, third=third), loaded, setting, options)


def _entry(name: str, size: str, parameters: str, licence: str) -> Entry:
    third = name.startswith("qwen3")
    family = "Qwen3-VL" if third else "Qwen2.5-VL"
    checkpoint = Checkpoint(name, f"Qwen/{family}-{size}-Instruct")
    return checkpoint.entry(
        f"{family} {size}, tuned for chat ({licence})",
        partial(_build, third=third),
        options=QwenOptions,
        kinds=frozenset(ASKS),
        refuse=refuse,
        parameters=parameters,
        checkpoint=checkpoint.folder,
        base=checkpoint.base,
        recipe="lora",
        teach=partial(_teach, checkpoint=checkpoint, third=third),
    )


def _teach(weights: str | None, recipe: Any, device: str, checkpoint: Checkpoint, third: bool) -> Any:
    from baselines.qwen_vl_training import teach

    return teach(weights, recipe, device, checkpoint=checkpoint, third=third)


ENTRIES = (
    _entry("qwen2.5-vl-3b", "3B", "3.8 B", "Qwen research licence: not for commercial use"),
    _entry("qwen2.5-vl-7b", "7B", "8.3 B", "Apache-2.0"),
    _entry("qwen2.5-vl-72b", "72B", "73.4 B", "Qwen licence"),
    _entry("qwen3-vl-2b", "2B", "2.1 B", "Apache-2.0"),
    _entry("qwen3-vl-4b", "4B", "4.4 B", "Apache-2.0"),
    _entry("qwen3-vl-8b", "8B", "8.8 B", "Apache-2.0"),
    _entry("qwen3-vl-32b", "32B", "33.4 B", "Apache-2.0"),
)
