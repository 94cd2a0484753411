"""InternVL3 (arXiv:2504.10479), in the form for transformers (repositories ending in -hf).

Prompts and lengths are those of the authors' evaluation (OpenGVLab/InternVL, `internvl_chat/eval`:
`evaluate_caption.py`, `evaluate_vqa.py`, `refcoco/evaluate_grounding.py`), except that VizWiz has no sentence of its
own.  Boxes are [[x1, y1, x2, y2]], 0 to 1000 on both sides.  The evaluator takes boxes with a sum below 4 as 0 to 1;
that guess is not made here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from baselines.chat import CAPTION, Ask, Chat
from baselines.entry import Entry, Setting
from baselines.generative import Generative, Options, Written, refuse
from baselines.pretrained import Checkpoint, Pretrained, load
from baselines.written_boxes import from_lists, to_pixels
from harness.core import Boxes, Kind, Question, Size, Value

if TYPE_CHECKING:
    from PIL import Image

ANSWERS_VERSION = 1  # raise it whenever an answer could change
IMAGE, START, END = "<IMG_CONTEXT>", "<img>", "</img>"
TURN = "<|im_start|>user\n<IMG_CONTEXT>\n{}<|im_end|>\n<|im_start|>assistant\n"
ASKS: Mapping[Kind, Ask] = {
    "caption": Ask(CAPTION, {"min_new_tokens": 8, "max_new_tokens": 30}),
    "vqa": Ask("{} Answer the question using a single word or phrase.", {"max_new_tokens": 10}),
    "refer": Ask(
        "Please provide the bounding box coordinate of the region this sentence describes: <ref>{}</ref>",
        {"max_new_tokens": 100},
    ),
}


class InternVl(Chat):
    """How InternVL3 is asked and read; a `generative.Family`."""

    def __init__(self, loaded: Pretrained) -> None:
        self._pixels = loaded.image_processor("GotOcr2ImageProcessorPil")
        self._per_tile = int(loaded.model.config.image_seq_length)
        tiles = f"{self._pixels.min_patches} to {self._pixels.max_patches} tiles"
        super().__init__(
            loaded,
            ASKS,
            form=TURN,
            image_token=IMAGE,
            version=ANSWERS_VERSION,
            preprocessing=f"{tiles} of {self._pixels.size['width']} x {self._pixels.size['height']}",
        )

    def pixels(self, images: Sequence[Image.Image]) -> tuple[list[str], Mapping[str, Any]]:
        """The tiles of all images, one after another: a whole image is the last tile if it has several."""
        features = self._pixels(list(images), crop_to_patches=True, return_tensors="pt")
        places = [START + IMAGE * (self._per_tile * int(count)) + END for count in features["num_patches"]]
        return places, {"pixel_values": features["pixel_values"]}

    def value(self, question: Question, written: Sequence[Written], size: Size) -> Value | None:
        """The boxes in pixels of the original image; None where there is none.  Other kinds: the text."""
        if question.kind != "refer":
            return super().value(question, written, size)
        found = from_lists(written[0].text)
        return Boxes(tuple(to_pixels(one.box, (1000.0, 1000.0), size) for one in found)) if found else None


def _build(setting: Setting, options: Options, checkpoint: Checkpoint) -> Generative:
    loaded = load("InternVLForConditionalGeneration", checkpoint, setting, options)
    return Generative(InternVl(loaded), loaded, setting, options)


def _entry(size: str, parameters: str) -> Entry:
    name = f"internvl3-{size.lower()}"
    checkpoint = Checkpoint(name, f"OpenGVLab/InternVL3-{size}-hf")
    return checkpoint.entry(
        f"InternVL3 {size}, tuned for chat",
        _build,
        options=Options,
        kinds=frozenset(ASKS),
        refuse=refuse,
        parameters=parameters,
    )


ENTRIES = (
    _entry("1B", "0.9 B"),
    _entry("2B", "2.1 B"),
    _entry("8B", "7.9 B"),
    _entry("14B", "15.1 B"),
    _entry("38B", "38.4 B"),
    _entry("78B", "78.4 B"),
)
