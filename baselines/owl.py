"""OWL-ViT (arXiv:2205.06230) and OWLv2 (arXiv:2306.09683), by the evaluation of their authors' repository.

`scenic/projects/owl_vit/evaluator.py` of google-research/scenic: each name is written in seven templates of CLIP; the
logits of a (box, name) pair are averaged over the templates; the 300 highest sigmoids of all pairs are kept, without
NMS or threshold.  Texts are in lower case, and other characters than letters a-z, digits, dashes and spaces are
spaces.  An expression (`refer`) is asked as it is, without a template; its box has the highest score.  So is each
phrase of a sentence (`ground`), which has its 10 best boxes; the rest of the sentence is not read.

- A text longer than 16 tokens is cut.  An answer to a cut text counts as truncated in the record.
- Each question has its own queries, so that no padded query can win a box.
- OWLv2 pads an image to a square at the right and bottom: its boxes are shares of the longer side.  OWL-ViT of
  transformers squeezes the image into a square: its boxes are shares of each side.  Boxes are clipped to the image,
  and empty ones are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

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
from harness.core import Boxes, Grounded, Kind, Question, Size

if TYPE_CHECKING:
    from PIL import Image

ANSWERS_VERSION = 1  # raise it whenever an answer could change
KINDS: frozenset[Kind] = frozenset({"detect", "find", "ground", "refer"})
TEMPLATES = (  # CLIP_BEST_PROMPT_TEMPLATES of scenic's `label_ops.py`
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)
LONGEST = 16  # tokens of a text, its start and end included


class Forms(NamedTuple):
    """The classes of transformers of a family, and whether its image processor pads to a square."""

    model: str
    processor: str
    pads: bool


FORMS: Mapping[str, Forms] = {
    "owlv2": Forms("Owlv2ForObjectDetection", "Owlv2ImageProcessorPil", pads=True),
    "owlvit": Forms("OwlViTForObjectDetection", "OwlViTImageProcessorPil", pads=False),
}


class Owl:
    """How an OWL is asked and read; the two functions of `detectors.Detecting`."""

    def __init__(self, loaded: Pretrained, forms: Forms) -> None:
        self._loaded = loaded
        self._pads = forms.pads
        self._processor = loaded.image_processor(forms.processor)
        self._tokenizer = loaded.tokenizer
        self._tokenizer.padding_side = "right"
        self.settings = str(dict(self._processor.size))
        self._encoded = lru_cache(maxsize=64)(self._encode)

    def prepare(self, image: Image.Image, question: Question) -> Prepared[Any]:
        """The resized image, (3, H, W).  All questions can be in one batch."""
        return Prepared((), Size(*image.size), question, resized(self._processor, image))

    def find(self, batch: Sequence[Prepared[Any]]) -> list[Found]:
        """The boxes of a batch: the images pass the model together, and each meets the queries of its question."""
        import torch

        model = self._loaded.model
        pixels = torch.stack([prepared.content for prepared in batch]).to(self._loaded.device, self._loaded.dtype)
        grid = model.image_embedder(pixel_values=pixels)[0]  # (B, rows, columns, D)
        features = grid.flatten(1, 2)  # (B, P, D)
        shares = model.box_predictor(features, grid)  # (B, P, 4)
        found = []
        for row, prepared in enumerate(batch):
            if prepared.question.kind != "refer" and not prepared.question.phrases:
                found.append(Found(Grounded(()) if prepared.question.kind == "ground" else NOTHING))
                continue
            templates, cut = self._encoded(texts_of(prepared.question))
            logits = [model.class_predictor(features[row : row + 1], queries[None])[0][0] for queries in templates]
            scores = numbers(torch.stack(logits).float().mean(dim=0).sigmoid())  # (P, names)
            found.append(Found(self._value(prepared, scores, shares[row]), cut))
        return found

    def _value(self, prepared: Prepared[Any], scores: Numbers, shares: Any) -> Boxes | Grounded:
        question, size = prepared.question, prepared.size
        longer = max(size)
        width, height = (longer, longer) if self._pads else size
        boxes = clipped(corners(shares, width, height), size)
        full = (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
        if question.kind == "ground":
            boxes, scores = boxes[full], scores[full]
            best = (np.argsort(-column, kind="stable")[:FIRST] for column in scores.T)
            return Grounded(tuple(tuple(as_box(boxes[row]) for row in rows) for rows in best))
        names = [question.text] if question.kind == "refer" else [phrase.text for phrase in question.phrases]
        if question.kind == "refer":
            rows, columns = top_pairs(np.where(full[:, None], scores, -1), 1)
        else:
            rows, columns = top_pairs(scores)  # as in scenic, the highest pairs are chosen before boxes are clipped
        kept = full[rows]
        rows, columns = rows[kept], columns[kept]
        return as_boxes(boxes[rows], [names[column] for column in columns], scores[rows, columns])

    def _encode(self, texts: tuple[tuple[str, ...], ...]) -> tuple[list[Any], bool]:
        """For each template the embeddings of its texts, (names, D); and whether a text was cut."""
        queries, cut = [], False
        for of_template in texts:
            lengths = [len(ids) for ids in self._tokenizer(list(of_template))["input_ids"]]
            cut |= max(lengths) > LONGEST
            inputs = self._tokenizer(
                list(of_template), padding="max_length", truncation=True, max_length=LONGEST, return_tensors="pt"
            ).to(self._loaded.device)
            base = self._loaded.model.base_model
            features = base.get_text_features(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
            queries.append(features.pooler_output)
        return queries, cut


def texts_of(question: Question) -> tuple[tuple[str, ...], ...]:
    """The texts of a question: for each template its categories; an expression or the phrases of a sentence alone."""
    if question.kind == "refer":
        return ((canonical(question.text),),)
    names = [phrase.text for phrase in question.phrases]
    if question.kind == "ground":
        return (tuple(map(canonical, names)),)
    return tuple(tuple(canonical(template.format(name)) for name in names) for template in TEMPLATES)


def canonical(text: str) -> str:
    """A text as scenic's `_canonicalize_string_py` writes it; `#`, a mark of training texts, is not kept."""
    text = re.sub(r"[^a-z0-9-]", " ", text.lower())
    return re.sub(r"-+", "-", " ".join(text.split()))


def _build(setting: Setting, options: LoadOptions, checkpoint: Checkpoint, forms: Forms) -> Detecting[Any]:
    loaded = load_exact(forms.model, checkpoint, setting, options)
    family = Owl(loaded, forms)
    return Detecting(f"Owl v{ANSWERS_VERSION}:{family.settings}", family.prepare, family.find, loaded, setting)


def _entry(name: str, repo: str, about: str, parameters: str) -> Entry:
    checkpoint = Checkpoint(name, f"google/{repo}")
    return checkpoint.entry(
        about,
        partial(_build, forms=FORMS[name.partition("-")[0]]),
        kinds=KINDS,
        parameters=parameters,
    )


ENTRIES = (
    _entry("owlv2-b", "owlv2-base-patch16-ensemble", "OWLv2 with ViT-B/16, ensemble checkpoint", "0.2 B"),
    _entry("owlv2-l", "owlv2-large-patch14-ensemble", "OWLv2 with ViT-L/14, ensemble checkpoint", "0.4 B"),
    _entry("owlvit-b-32", "owlvit-base-patch32", "OWL-ViT with ViT-B/32", "0.2 B"),
    _entry("owlvit-b-16", "owlvit-base-patch16", "OWL-ViT with ViT-B/16", "0.2 B"),
    _entry("owlvit-l-14", "owlvit-large-patch14", "OWL-ViT with ViT-L/14", "0.4 B"),
)
