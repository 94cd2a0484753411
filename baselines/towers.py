"""Makes a Model from two towers, one for images and one for texts: embeddings, and the similarity of a pair."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from baselines.batched import Batched
from baselines.entry import Setting
from baselines.pretrained import Pretrained
from harness.core import Answer, Embedding, Kind, Match, Question
from harness.data.embeddings import answer_of

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

KINDS: frozenset[Kind] = frozenset({"embed", "match"})


class Towers(Protocol):
    """The two towers of a family of models; the vectors that they return need not have unit length."""

    identity: str  # the family with its version, and what else decides an answer, such as the text's template

    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Images to vectors (B, D), or (B, V, D) of a model with several for an image."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> tuple[Tensor, Sequence[bool]]:
        """Texts to vectors (B, D), and whether each text was cut at the tower's length."""
        ...


def model_of(towers: Towers, loaded: Pretrained, setting: Setting) -> Batched:
    """The Model of two towers.

    An `embed` question about an image goes through one tower, and one about a text through the other.  The score of
    `match` is the largest cosine of a vector of the image and that of the text.  A text that is longer than its tower
    takes is cut, and its answer counts as truncated.
    """
    import torch

    def answer(images: Sequence[Any], questions: Sequence[Question]) -> list[Answer]:
        start = time.perf_counter()
        pictures = {id(image): image for image in images if image is not None}  # several pairs may share an image
        texts = [question.text for question in questions if _has_text(question)]
        with torch.inference_mode():
            vectors = _vectors(towers.embed_images(list(pictures.values()))) if pictures else []
            said = iter(_read(towers, texts) if texts else [])
        seconds = time.perf_counter() - start
        seen = dict(zip(pictures, vectors, strict=True))
        answers = []
        for question, image in zip(questions, images, strict=True):
            of_image = seen[id(image)] if image is not None else None
            of_text, truncated = next(said) if _has_text(question) else (None, False)
            answered = _answer(question.kind, of_image, of_text)
            answers.append(Answer(answered.raw, answered.value, 0, truncated, seconds, len(questions)))
        return answers

    model = Batched(f"{loaded.identity} {towers.identity}", answer, setting, batch_size=32)
    model.provenance |= loaded.provenance
    return model


def _has_text(question: Question) -> bool:
    """Whether the text tower is asked: for a text alone, and for every pair."""
    return question.kind == "match" or not question.image


def _read(towers: Towers, texts: Sequence[str]) -> list[tuple[Any, bool]]:
    """The vectors (V, D) of each text, and whether it was cut."""
    embedded, cut = towers.embed_texts(texts)
    return list(zip(_vectors(embedded), cut, strict=True))


def _vectors(embedded: Tensor) -> list[Any]:
    """Vectors (B, D) or (B, V, D) as an array (V, D) for each."""
    return list(embedded.float().cpu().numpy().reshape(len(embedded), -1, embedded.shape[-1]))


def _answer(kind: Kind, image: Any, text: Any) -> Answer:
    if kind == "match":
        score = float((_unit(image) @ _unit(text).T).max())
        return Answer((f"{score:.6f}",), Match(score))
    return answer_of(Embedding.of(text if image is None else image))


def _unit(vectors: Any) -> Any:
    return vectors / (vectors**2).sum(1, keepdims=True) ** 0.5
