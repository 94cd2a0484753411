"""BLIP-2's first stage for retrieval (arXiv:2301.12597): contrastive vectors (ITC), and the matching head (ITM).

Two models of one checkpoint.  `blip2-itc` answers `embed`: a vector for each query token of an image (32), and one for
a text; the similarity is the largest cosine.  `blip2-itm` answers `match`: the head sees image and text at once, and
the score is its logit for "they fit" plus the similarity of ITC, by which LAVIS re-ranks the 128 best of ITC
(`lavis/models/blip2_models/blip2.py`, compute_sim_matrix).  The figures of the paper are after re-ranking; those of
`blip2-itc` are not.

Captions are prepared as by LAVIS' BlipCaptionProcessor and padded to 35 tokens.  Images have the size of the
checkpoint's image processor.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from baselines.batched import Batched
from baselines.entry import Entry, Setting
from baselines.pretrained import Checkpoint, LoadOptions, Pretrained, load
from baselines.towers import model_of
from harness.core import Answer, Kind, Match, Question

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

ANSWERS_VERSION = 1  # raise it whenever an answer could change
LENGTH = 35  # tokens of a caption
MOST_WORDS = 50
REPO = "Salesforce/blip2-itm-vit-g"


def prepared(caption: str) -> str:
    """A caption in lower case, with spaces for . ! " ( ) * # : ; ~, and of at most 50 words."""
    text = re.sub(r"\s{2,}", " ", re.sub(r"[.!\"()*#:;~]", " ", caption.lower())).rstrip("\n").strip(" ")
    return " ".join(text.split(" ")[:MOST_WORDS])


class Blip2Matching:
    """The two heads of BLIP-2's first stage; a `towers.Towers` by ITC."""

    def __init__(self, loaded: Pretrained) -> None:
        self.identity = f"blip2-itc:v{ANSWERS_VERSION}"
        self._model = loaded.model
        self._pixels = loaded.image_processor("BlipImageProcessorPil")
        self._tokenizer = loaded.tokenizer
        self._tokenizer.padding_side = "right"  # the vector of a text is that of its first token

    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Images to vectors (B, V, D), one for each query token."""
        return self._of_images(self._seen(images))

    def embed_texts(self, texts: Sequence[str]) -> tuple[Tensor, Sequence[bool]]:
        """Texts to vectors (B, D), and whether each was cut at 35 tokens."""
        tokens, cut = self._tokens(texts)
        return self._of_texts(tokens), cut

    def match(self, images: Sequence[Image.Image], texts: Sequence[str]) -> tuple[list[float], Sequence[bool]]:
        """The score of each pair, and whether its text was cut."""
        import torch
        import torch.nn.functional as F

        seen, (tokens, cut) = self._seen(images), self._tokens(texts)
        queries = self._model.query_tokens.expand(len(seen), -1, -1)
        inputs = self._model.embeddings(input_ids=tokens["input_ids"], query_embeds=queries)
        attended = torch.cat([torch.ones_like(queries[..., 0]).long(), tokens["attention_mask"]], dim=1)
        states = self._qformer(inputs, attended, seen, queries.shape[1])[:, : queries.shape[1]]
        fits = self._model.itm_head(states.to(self._model.itm_head.weight.dtype)).mean(1)[:, 1]
        of_images, of_texts = (F.normalize(v.float(), dim=-1) for v in (self._of_images(seen), self._of_texts(tokens)))
        similarity = (of_images @ of_texts[..., None]).squeeze(-1).max(1).values
        return (fits.float() + similarity).tolist(), cut

    def _seen(self, images: Sequence[Image.Image]) -> Tensor:
        distinct = {id(image): image for image in images}  # several pairs may share an image
        pixels = self._pixels(list(distinct.values()), return_tensors="pt")["pixel_values"]
        seen: Tensor = self._model.vision_model(pixels.to(self._model.device, self._model.dtype)).last_hidden_state
        places = {name: place for place, name in enumerate(distinct)}
        return seen[[places[id(image)] for image in images]]

    def _tokens(self, texts: Sequence[str]) -> tuple[Any, list[bool]]:
        written = [prepared(text) for text in texts]
        whole = self._tokenizer(written, verbose=False)["input_ids"]
        fixed = {"padding": "max_length", "truncation": True, "max_length": LENGTH, "return_tensors": "pt"}
        return self._tokenizer(written, **fixed).to(self._model.device), [len(ids) > LENGTH for ids in whole]

    def _of_images(self, seen: Tensor) -> Tensor:
        queries = self._model.query_tokens.expand(len(seen), -1, -1)
        return self._projected("vision_projection", self._qformer(queries, None, seen, queries.shape[1]))

    def _of_texts(self, tokens: Any) -> Tensor:
        inputs = self._model.embeddings(input_ids=tokens["input_ids"])
        return self._projected("text_projection", self._qformer(inputs, tokens["attention_mask"], None, 0)[:, 0])

    def _projected(self, name: str, states: Tensor) -> Tensor:
        layer = getattr(self._model, name)
        vectors: Tensor = layer(states.to(layer.weight.dtype))
        return vectors

    def _qformer(self, inputs: Tensor, attended: Tensor | None, seen: Tensor | None, queries: int) -> Tensor:
        """The Q-Former's states of its inputs, of which the first `queries` look at the image."""
        states: Tensor = self._model.qformer(
            query_embeds=inputs, query_length=queries, attention_mask=attended, encoder_hidden_states=seen
        ).last_hidden_state
        return states


def build_itc(setting: Setting, options: LoadOptions, checkpoint: Checkpoint) -> Batched:
    """The model that embeds."""
    loaded = load("Blip2ForImageTextRetrieval", checkpoint, setting, options)
    return model_of(Blip2Matching(loaded), loaded, setting)


def build_itm(setting: Setting, options: LoadOptions, checkpoint: Checkpoint) -> Batched:
    """The model that scores pairs."""
    import torch

    loaded = load("Blip2ForImageTextRetrieval", checkpoint, setting, options)
    heads = Blip2Matching(loaded)

    def answer(images: Sequence[Image.Image], questions: Sequence[Question]) -> list[Answer]:
        start = time.perf_counter()
        with torch.inference_mode():
            scores, cut = heads.match(images, [question.text for question in questions])
        seconds = time.perf_counter() - start
        return [
            Answer((f"{score:.6f}",), Match(score), 0, truncated, seconds, len(questions))
            for score, truncated in zip(scores, cut, strict=True)
        ]

    model = Batched(f"{loaded.identity} blip2-itm:v{ANSWERS_VERSION}", answer, setting, batch_size=16)
    model.provenance |= loaded.provenance
    return model


def _entry(name: str, build: Any, kind: Kind, about: str) -> Entry:
    checkpoint = Checkpoint(name, REPO)
    return checkpoint.entry(about, build, kinds=frozenset({kind}), parameters="1.2 B")


ENTRIES = (
    _entry("blip2-itc", build_itc, "embed", "BLIP-2 ViT-g, contrastive vectors without re-ranking, for retrieval"),
    _entry("blip2-itm", build_itm, "match", "BLIP-2 ViT-g, matching head: how well an image and a text fit"),
)
