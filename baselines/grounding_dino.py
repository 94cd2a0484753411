"""Grounding DINO (arXiv:2303.05499) and MM-Grounding-DINO (arXiv:2401.02361).

Category names are one caption, `name . name .`, in lower case.  The score of a (query, class) pair is the mean of the
sigmoid of the logits over the tokens of the class's name, and an answer has the 300 highest pairs, without NMS or
threshold: the authors' AP protocol (IDEA-Research/GroundingDINO, `demo/test_ap_on_coco.py`; mmdetection does the
same).  transformers' post-processing is for demonstrations: it merges the names of a box and cuts at 0.25.

- Full stops and question marks in a name or expression are written as spaces, since each of them ends a phrase.
- Names that do not fit into one caption (256 tokens) go into several; the 300 highest pairs are of all of them.
- An expression is one caption; its box has the highest score of any token.
- A sentence is one caption; a phrase's score is the mean over its tokens, and a phrase has its 10 best boxes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

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
from baselines.entry import Entry, Setting
from baselines.pretrained import Checkpoint, LoadOptions, Pretrained
from harness.core import Grounded, Kind, Phrase, Question, Size

if TYPE_CHECKING:
    from PIL import Image

ANSWERS_VERSION = 1  # raise it whenever an answer could change
KINDS: frozenset[Kind] = frozenset({"detect", "find", "ground", "refer"})
SEPARATORS = str.maketrans(".?", "  ")  # what ends a phrase, by `SPECIAL_TOKENS` of transformers
TRAINED_ON_COCO = ("grounding-dino-b", "mm-grounding-dino-b-all", "mm-grounding-dino-l-all")
AUTHORS_EPSILON = 1e-6  # in the normalisation of the authors' positive map

Span = tuple[int, int]  # of characters; the end is exclusive


@dataclass(frozen=True, slots=True)
class Caption:
    """A tokenised caption, and the places of the tokens of each of its spans."""

    ids: tuple[int, ...]
    tokens: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Content:
    """The pixels of an image, (3, H, W), and the captions of its question."""

    pixels: Any
    captions: tuple[Caption, ...]


class GroundingDino:
    """How a Grounding DINO is asked and read; the two functions of `detectors.Detecting`."""

    def __init__(self, loaded: Pretrained, clip: bool) -> None:
        self._loaded = loaded
        self._clip = clip
        self._tokenizer = loaded.tokenizer
        self._processor = loaded.image_processor("GroundingDinoImageProcessorPil")
        self._longest = int(loaded.model.config.max_text_len)
        self.settings = f"{dict(self._processor.size)}:{self._longest} tokens"
        self._of_names = lru_cache(maxsize=64)(self._captions_of_names)

    def prepare(self, image: Image.Image, question: Question) -> Prepared[Content]:
        """The resized image and the captions of a question; the key is the resized size and the number of captions."""
        pixels = resized(self._processor, image)
        captions = self._captions(question)
        return Prepared((pixels.shape, len(captions)), Size(*image.size), question, Content(pixels, captions))

    def _captions(self, question: Question) -> tuple[Caption, ...]:
        if question.kind in ("detect", "find"):
            return self._of_names(question.phrases)
        text = question.text.translate(SEPARATORS) + " ."
        return (self._tokenised(text, [(phrase.start, phrase.end) for phrase in question.phrases]),)

    def _captions_of_names(self, phrases: tuple[Phrase, ...]) -> tuple[Caption, ...]:
        """The captions that hold all names, in their order; each as many names as fit."""
        captions = []
        room = self._longest - 2  # [CLS] and [SEP]
        chunk: list[str] = []
        used = 0
        for phrase in phrases:
            name = " ".join(phrase.text.lower().translate(SEPARATORS).split())
            length = len(self._tokenizer(name, add_special_tokens=False)["input_ids"]) + 1  # its full stop
            if chunk and used + length > room:
                captions.append(self._tokenised(*joined(chunk)))
                chunk, used = [], 0
            chunk.append(name)
            used += length
        return (*captions, self._tokenised(*joined(chunk)))

    def _tokenised(self, text: str, spans: Sequence[Span]) -> Caption:
        """The tokens of a caption; one that is too long keeps its last full stop, which ends the last phrase."""
        encoded = self._tokenizer(text, return_offsets_mapping=True)
        ids, offsets = list(encoded["input_ids"]), list(encoded["offset_mapping"])
        if len(ids) > self._longest:
            ids = [*ids[: self._longest - 2], *ids[-2:]]
            offsets = [*offsets[: self._longest - 2], *offsets[-2:]]
        return Caption(tuple(ids), tuple(tokens_in(span, offsets) for span in spans))

    def find(self, batch: Sequence[Prepared[Content]]) -> list[Found]:
        """The boxes of a batch: one pass of the model for each of its captions."""
        import torch

        pixels = torch.stack([prepared.content.pixels for prepared in batch])
        passes = [
            self._outputs(pixels, [prepared.content.captions[number] for prepared in batch])
            for number in range(len(batch[0].content.captions))
        ]
        return [Found(self._value(prepared, [each[place] for each in passes])) for place, prepared in enumerate(batch)]

    def _outputs(self, pixels: Any, captions: Sequence[Caption]) -> list[tuple[Numbers, Any]]:
        """For each image: the probabilities of its queries' tokens, (Q, T), and its boxes as shares, (Q, 4)."""
        import torch

        longest = max(len(caption.ids) for caption in captions)
        ids = torch.full((len(captions), longest), self._tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, caption in enumerate(captions):
            ids[row, : len(caption.ids)] = torch.tensor(caption.ids)
            mask[row, : len(caption.ids)] = 1
        device = self._loaded.device
        output = self._loaded.model(
            pixel_values=pixels.to(device, self._loaded.dtype),
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
        )
        probabilities = numbers(output.logits.float().sigmoid())
        return [
            (row[:, : len(caption.ids)], boxes)
            for row, caption, boxes in zip(probabilities, captions, output.pred_boxes, strict=True)
        ]

    def _value(self, prepared: Prepared[Content], outputs: Sequence[tuple[Numbers, Any]]) -> Any:
        question, size = prepared.question, prepared.size
        boxes = [corners(shares, size.width, size.height) for _, shares in outputs]
        if self._clip:
            boxes = [clipped(each, size) for each in boxes]
        if question.kind == "refer":
            scores = outputs[0][0].max(axis=1)
            best = int(scores.argmax())
            return as_boxes(boxes[0][[best]], [question.text], scores[[best]])
        scores = [
            class_scores(probabilities, caption.tokens)
            for (probabilities, _), caption in zip(outputs, prepared.content.captions, strict=True)
        ]
        if question.kind == "ground":
            return Grounded(
                tuple(
                    tuple(as_box(boxes[0][query]) for query in np.argsort(-column, kind="stable")[:FIRST])
                    if tokens
                    else ()
                    for column, tokens in zip(scores[0].T, prepared.content.captions[0].tokens, strict=True)
                )
            )
        names = [phrase.text for phrase in question.phrases]
        return NOTHING if not names else highest(boxes, scores, names)


def highest(boxes: Sequence[Numbers], scores: Sequence[Numbers], names: Sequence[str]) -> Any:
    """The highest (query, class) pairs of all captions, whose classes are `names` one after the other."""
    found: list[tuple[Numbers, list[str], Numbers]] = []
    first = 0
    for each, of_classes in zip(boxes, scores, strict=True):
        queries, classes = top_pairs(of_classes)
        labels = [names[first + number] for number in classes]
        found.append((each[queries], labels, of_classes[queries, classes]))
        first += of_classes.shape[1]
    together = np.concatenate([each for _, _, each in found])
    order, _ = top_pairs(together[:, None])
    labels = [label for _, of_caption, _ in found for label in of_caption]
    return as_boxes(np.concatenate([each for each, _, _ in found])[order], [labels[n] for n in order], together[order])


def joined(names: Sequence[str]) -> tuple[str, list[Span]]:
    """The caption of names, `a . b .`, and the span of each name in it."""
    text, spans = "", []
    for name in names:
        start = len(text) + bool(text)
        text += f"{' ' if text else ''}{name} ."
        spans.append((start, start + len(name)))
    return text, spans


def tokens_in(span: Span, offsets: Sequence[Span]) -> tuple[int, ...]:
    """The places of the tokens that share a character with a span; special tokens have empty offsets."""
    return tuple(
        place for place, (start, end) in enumerate(offsets) if start < end and start < span[1] and span[0] < end
    )


def class_scores(probabilities: Numbers, tokens: Sequence[Sequence[int]]) -> Numbers:
    """(Q, C): the mean over a class's tokens of (Q, T) probabilities; 0 for a class without tokens."""
    positive = np.zeros((len(tokens), probabilities.shape[1]), np.float32)
    for row, places in enumerate(tokens):
        positive[row, list(places)] = 1
    scores: Numbers = probabilities @ (positive / (positive.sum(axis=1, keepdims=True) + AUTHORS_EPSILON)).T
    return scores.astype(np.float32)


CLASSES: Mapping[bool, str] = {False: "GroundingDinoForObjectDetection", True: "MMGroundingDinoForObjectDetection"}


def _build(setting: Setting, options: LoadOptions, checkpoint: Checkpoint, mm: bool) -> Detecting[Content]:
    loaded = load_exact(CLASSES[mm], checkpoint, setting, options)
    family = GroundingDino(loaded, clip=mm)  # mmdetection clips boxes to the image; the authors of the first do not
    named = f"GroundingDino v{ANSWERS_VERSION}:{family.settings}:{'clipped' if mm else 'whole'}"
    return Detecting(named, family.prepare, family.find, loaded, setting)


def _entry(name: str, repo: str, about: str, parameters: str) -> Entry:
    checkpoint = Checkpoint(name, repo)
    return checkpoint.entry(
        about,
        partial(_build, mm=name.startswith("mm-")),
        kinds=KINDS,
        parameters=parameters,
        protocol="fine_tuned" if name in TRAINED_ON_COCO else "zero_shot",
    )


def _mm(size: str, data: str, about: str, parameters: str) -> Entry:
    repo = f"openmmlab-community/mm_grounding_dino_{size}_{data}"
    name = f"mm-grounding-dino-{size[0]}-{data.replace('_', '-')}"
    return _entry(name, repo, f"MM-Grounding-DINO, {about}", parameters)


ENTRIES = (
    _entry("grounding-dino-t", "IDEA-Research/grounding-dino-tiny", "Grounding DINO with Swin-T", "0.2 B"),
    _entry(
        "grounding-dino-b",
        "IDEA-Research/grounding-dino-base",
        "Grounding DINO with Swin-B; COCO's boxes are in its training data",
        "0.2 B",
    ),
    _mm("tiny", "o365v1_goldg", "Swin-T, trained on Objects365 and GoldG", "0.2 B"),
    _mm("tiny", "o365v1_goldg_grit", "Swin-T, trained on Objects365, GoldG and GRIT", "0.2 B"),
    _mm("tiny", "o365v1_goldg_v3det", "Swin-T, trained on Objects365, GoldG and V3Det", "0.2 B"),
    _mm("tiny", "o365v1_goldg_grit_v3det", "Swin-T, trained on Objects365, GoldG, GRIT and V3Det", "0.2 B"),
    _mm("base", "o365v1_goldg_v3det", "Swin-B, trained on Objects365, GoldG and V3Det", "0.2 B"),
    _mm("base", "all", "Swin-B, trained on all data of its authors, COCO's boxes among them", "0.2 B"),
    _mm("large", "o365v2_oiv6_goldg", "Swin-L, trained on Objects365 v2, Open Images and GoldG", "0.3 B"),
    _mm("large", "all", "Swin-L, trained on all data of its authors, COCO's boxes among them", "0.3 B"),
)
