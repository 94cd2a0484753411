"""OmDet-Turbo (arXiv:2403.06892): detection by category names, in real time.

transformers' processor needs torchvision for its NMS, so the inputs and the output are written here: each name is one
text, and the task is `Detect a, b, c.` (the processor's default), both cut at CLIP's 77 tokens.  COCO's 80 names do
not fit into one task text; the name texts, which decide the classes, do.

As many of the highest (query, name) pairs as there are queries are kept, then NMS of each class at an IoU of 0.5 (the
defaults of the authors' and transformers' post-processing), without a threshold, and boxes are clipped.  Questions
with different numbers of names are in different batches: the names that fill up a batch change which queries are used.

The phrases of a sentence (`ground`) are names.  A phrase has the 10 best boxes after NMS among all queries; the rest of
the sentence is not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from baselines.detectors import (
    FIRST,
    NOTHING,
    Detecting,
    Found,
    Numbers,
    Prepared,
    as_box,
    as_boxes,
    clipped,
    corners,
    load_exact,
    numbers,
    resized,
    top_pairs,
)
from baselines.entry import Setting
from baselines.pretrained import Checkpoint, LoadOptions, Pretrained
from harness.core import Box, Grounded, Kind, Question, Size

if TYPE_CHECKING:
    from PIL import Image

ANSWERS_VERSION = 1  # raise it whenever an answer could change
KINDS: frozenset[Kind] = frozenset({"detect", "find", "ground", "refer"})
TASK = "Detect {}."
LONGEST = 77  # tokens of a text
NMS_IOU = 0.5


class OmDetTurbo:
    """How OmDet-Turbo is asked and read; the two functions of `detectors.Detecting`."""

    def __init__(self, loaded: Pretrained) -> None:
        self._loaded = loaded
        self._processor = loaded.image_processor("DetrImageProcessorPil")
        self._tokenizer = loaded.tokenizer
        self._tokenizer.padding_side = "right"
        self.settings = str(dict(self._processor.size))

    def prepare(self, image: Image.Image, question: Question) -> Prepared[Any]:
        """The resized image, (3, H, W); the key is its size and the number of names."""
        pixels = resized(self._processor, image)
        return Prepared((pixels.shape, len(names_of(question))), Size(*image.size), question, pixels)

    def find(self, batch: Sequence[Prepared[Any]]) -> list[Found]:
        """The boxes of a batch of images of one size, with equally many names."""
        import torch

        names = [names_of(prepared.question) for prepared in batch]
        if not names[0]:
            return [Found(Grounded(()) if prepared.question.kind == "ground" else NOTHING) for prepared in batch]
        device = self._loaded.device
        tasks = self._encoded([TASK.format(", ".join(of_image)) for of_image in names])
        classes = self._encoded([name for of_image in names for name in of_image])
        output = self._loaded.model(
            pixel_values=torch.stack([prepared.content for prepared in batch]).to(device, self._loaded.dtype),
            tasks_input_ids=tasks["input_ids"].to(device),
            tasks_attention_mask=tasks["attention_mask"].to(device),
            classes_input_ids=classes["input_ids"].to(device),
            classes_attention_mask=classes["attention_mask"].to(device),
            classes_structure=torch.tensor([len(of_image) for of_image in names], device=device),
        )
        scores = numbers(output.decoder_class_logits.float().sigmoid())
        return [
            Found(_value(prepared, of_image, scores[row][:, : len(of_image)], output.decoder_coord_logits[row]))
            for row, (prepared, of_image) in enumerate(zip(batch, names, strict=True))
        ]

    def _encoded(self, texts: list[str]) -> Any:
        return self._tokenizer(texts, padding="max_length", truncation=True, max_length=LONGEST, return_tensors="pt")


def names_of(question: Question) -> tuple[str, ...]:
    """The names of a question's categories, its phrases, or its expression."""
    return (question.text,) if question.kind == "refer" else tuple(phrase.text for phrase in question.phrases)


def _value(prepared: Prepared[Any], names: Sequence[str], scores: Numbers, shares: Any) -> Any:
    """The boxes of an image from (Q, names) scores and (Q, 4) shares; for an expression the best one."""
    boxes = corners(shares, *prepared.size)
    if prepared.question.kind == "ground":
        return Grounded(tuple(best_of(boxes, column, prepared.size) for column in scores.T))
    rows, columns = top_pairs(scores, 1 if prepared.question.kind == "refer" else len(scores))
    kept = suppressed(boxes[rows], columns)
    rows, columns = rows[kept], columns[kept]
    return as_boxes(clipped(boxes[rows], prepared.size), [names[n] for n in columns], scores[rows, columns])


def best_of(boxes: Numbers, scores: Numbers, size: Size) -> tuple[Box, ...]:
    """The first boxes of a phrase that NMS keeps, from (Q, 4) boxes and (Q,) scores, highest first."""
    ranked = boxes[np.argsort(-scores, kind="stable")]
    kept = suppressed(ranked, np.zeros(len(ranked), np.int64))[:FIRST]
    return tuple(map(as_box, clipped(ranked[kept], size)))


def suppressed(boxes: Numbers, classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of the boxes that NMS keeps: (N, 4) boxes, the highest score first, each class by itself."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = np.ones(len(boxes), np.bool_)
    kept = []
    for place in range(len(boxes)):
        if not alive[place]:
            continue
        kept.append(place)
        low = np.maximum(boxes[place, :2], boxes[:, :2])
        high = np.minimum(boxes[place, 2:], boxes[:, 2:])
        both = np.prod(np.maximum(high - low, 0), axis=1)
        iou = both / np.maximum(areas[place] + areas - both, np.finfo(np.float32).tiny)
        alive &= ~((iou > NMS_IOU) & (classes == classes[place]))
    return np.array(kept, np.int64)


def _build(setting: Setting, options: LoadOptions, checkpoint: Checkpoint) -> Detecting[Any]:
    loaded = load_exact("OmDetTurboForObjectDetection", checkpoint, setting, options)
    family = OmDetTurbo(loaded)
    named = f"OmDetTurbo v{ANSWERS_VERSION}:{family.settings}"
    return Detecting(named, family.prepare, family.find, loaded, setting)


_CHECKPOINT = Checkpoint("omdet-turbo", "omlab/omdet-turbo-swin-tiny-hf")
ENTRIES = (
    _CHECKPOINT.entry("OmDet-Turbo with Swin-T; its checkpoint's backbone needs the package timm", _build, kinds=KINDS),
)
