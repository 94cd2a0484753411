"""Makes a Model from a detector of transformers: it answers in boxes with scores.

A family prepares each question, and finds the boxes of a batch of prepared questions with equal keys.  `key` keeps
apart what must not be in one batch: images that are resized to different sizes are never padded to a common one,
since padding changes the scores of a detector.

Detectors run in float32 unless `--dtype` says otherwise, as their authors evaluate them: a coordinate in bfloat16 is
rounded to about 1/256 of the image's side.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from baselines.batched import Batched
from baselines.entry import Setting
from baselines.pretrained import Checkpoint, LoadOptions, Pretrained, load
from harness.core import Answer, Box, Boxes, Question, Size, Value

if TYPE_CHECKING:
    from PIL import Image

WINDOW = 4  # batches whose questions are grouped by key together
TOP = 300  # (box, class) pairs of an image that authors' evaluations keep; COCOeval uses the best 100
FIRST = 10  # boxes of a phrase that is grounded: R@10 needs as many
NOTHING = Boxes((), (), ())  # the answer to a question without names
log = logging.getLogger(__name__)
Numbers = NDArray[np.float32]
P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Prepared(Generic[P]):
    """A question that is ready for the model.  Questions of one batch have equal keys."""

    key: Hashable
    size: Size  # of the original image
    question: Question
    content: P  # the family's own tensors, on the CPU


@dataclass(frozen=True, slots=True)
class Found:
    """The value of a question; `cut` says whether a text of the question was too long for the model."""

    value: Value | None
    cut: bool = False


class Detecting(Batched, Generic[P]):
    """A Model (see `core`) from the two functions of a family of detectors.

    - `prepare(image, question)` returns the Prepared question.
    - `find(batch)` returns a Found for each question of a batch.

    `fingerprint` names the family, its version and its settings; the weights and their precision are added to it.
    """

    def __init__(
        self,
        fingerprint: str,
        prepare: Callable[[Image.Image, Question], Prepared[P]],
        find: Callable[[Sequence[Prepared[P]]], Sequence[Found]],
        loaded: Pretrained,
        setting: Setting,
    ) -> None:
        self._prepare = prepare
        self._find = find
        self._batch = setting.batch_size or (8 if str(loaded.device).startswith("cuda") else 1)
        window = replace(setting, batch_size=WINDOW * self._batch)
        super().__init__(f"{fingerprint}:{loaded.identity}", self._answers, window)
        self.provenance = {**loaded.provenance, "batch size": self._batch}

    def _answers(self, images: Sequence[Image.Image], questions: Sequence[Question]) -> Sequence[Answer]:
        """The answers of a window of questions."""
        groups: dict[Hashable, list[tuple[int, Prepared[P]]]] = {}
        for place, (image, question) in enumerate(zip(images, questions, strict=True)):
            prepared = self._prepare(image, question)
            groups.setdefault(prepared.key, []).append((place, prepared))
        answers: dict[int, Answer] = {}
        for group in groups.values():
            begin = 0
            while begin < len(group):
                batch = group[begin : begin + self._batch]
                start = time.perf_counter()
                found = self._found([prepared for _, prepared in batch])
                seconds = time.perf_counter() - start
                for (place, _), result in zip(batch, found, strict=True):
                    answers[place] = _as_answer(result, seconds, len(batch))
                begin += len(batch)
        return [answers[place] for place in range(len(questions))]

    def _found(self, batch: Sequence[Prepared[P]]) -> Sequence[Found]:
        """The values of a batch; a batch that is too large for the memory is halved, and later ones are as small."""
        import torch

        try:
            with torch.inference_mode():
                return self._find(batch)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
            half = len(batch) // 2
            self._batch = min(self._batch, half)
            log.warning("%d images at once are too many for the memory; going on with %d", len(batch), half)
        torch.cuda.empty_cache()
        return [*self._found(batch[:half]), *self._found(batch[half:])]


def _as_answer(found: Found, seconds: float, batch: int) -> Answer:
    count = len(found.value.boxes) if isinstance(found.value, Boxes) else 1
    raw = f"{count} boxes" if isinstance(found.value, Boxes) else type(found.value).__name__
    if found.cut:
        raw += " for a text that was cut"
    return Answer((raw,), found.value, truncated=found.cut, seconds=seconds, batch=batch)


def load_exact(class_name: str, checkpoint: Checkpoint, setting: Setting, options: LoadOptions) -> Pretrained:
    """`pretrained.load`, in float32 unless the setting names a precision."""
    return load(class_name, checkpoint, replace(setting, dtype=setting.dtype or "float32"), options)


def resized(processor: Any, image: Image.Image) -> Any:
    """The pixels of one image as its processor resizes and normalises them, (3, H, W), without padding."""
    return processor([image], return_tensors="pt")["pixel_values"][0]


def numbers(tensor: Any) -> Numbers:
    """A tensor of any device and precision as a float32 array."""
    array: Numbers = tensor.float().cpu().numpy()
    return array


def corners(boxes: Any, width: float, height: float) -> Numbers:
    """(Q, 4) pixels: left, top, right, bottom, from centres and sides as shares of `width` and `height`."""
    x, y, w, h = numbers(boxes).T
    edges = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1)
    return (edges * np.array([width, height, width, height], np.float32)).astype(np.float32)


def clipped(boxes: Numbers, size: Size) -> Numbers:
    """(Q, 4) with every coordinate inside the image."""
    return np.clip(boxes, 0, np.array([size.width, size.height] * 2, np.float32))


def top_pairs(scores: Numbers, limit: int = TOP) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The boxes and the classes of the `limit` highest of (Q, C) scores, highest first; of equal ones the first."""
    order = np.argsort(-scores, axis=None, kind="stable")[:limit]
    rows, columns = np.unravel_index(order, scores.shape)
    return rows, columns


def as_boxes(boxes: Numbers, labels: Sequence[str], scores: Numbers) -> Boxes:
    """Boxes with a label and a score each: the score is the region score, by which the project's AP ranks."""
    return Boxes(tuple(map(as_box, boxes)), tuple(labels), region_scores=tuple(map(_short, scores)))


def as_box(row: Numbers) -> Box:
    """(4,) as a Box."""
    left, top, right, bottom = map(_short, row)
    return left, top, right, bottom


def _short(number: np.float32) -> float:
    """The shortest decimal of a float32, which needs half the digits in a file."""
    return float(str(number))
