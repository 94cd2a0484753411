"""How far a network in fewer bits, or in another runtime, is from its float32 source."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from harness.florence2.bart import Cache
from harness.florence2.decoding.generate import generate
from harness.florence2.decoding.search import Decoding
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.speed.systems import Queries

ANSWERS = 4  # at most
TOKENS = 40  # of each answer


@torch.inference_mode()
def fidelity(reference: Florence2, network: Florence2, preprocess: Preprocess, queries: Queries) -> dict[str, float]:
    """The agreement of a network with its float32 source, and the error of its vision tower, on the first queries.

    Both are given the source's greedy answers, token for token.  "agreement" is the share of the "places" at which the
    same token is the most likely.  "tower error" is the norm of the difference of the image tokens over the source's.
    """
    length = min(TOKENS, reference.config.text.positions)
    decoding = Decoding(beams=1, max_new_tokens=length, min_new_tokens=length)
    equal, places, difference, norm = 0, 0, 0.0, 0.0
    for query in range(min(ANSWERS, len(queries))):
        pixels = preprocess.normalise(queries.pixels[query][None])
        prompt = torch.tensor([list(queries.prompts[query])])
        images = [model.encode_image(pixels.to(model.vision.dtype)).float() for model in (reference, network)]
        difference += float((images[1] - images[0]).square().sum())
        norm += float(images[0].square().sum())
        [answer] = generate(reference, reference.encode(images[0], prompt), decoding)
        tokens = [decoding.start, *answer.tokens]
        own, other = (
            _most_likely(model, image, prompt, tokens)
            for model, image in zip((reference, network), images, strict=True)
        )
        equal += int((own == other).sum())
        places += len(own)
    return {"agreement": equal / places, "places": places, "tower error": (difference / norm) ** 0.5}


def _most_likely(model: Florence2, image: Tensor, prompt: Tensor, tokens: Sequence[int]) -> Tensor:
    """The most likely token after each of `tokens` but the last, given those before it."""
    memory = model.encode(image, prompt)
    cache = Cache.empty(model.config.text, 1, model.embedding.weight)
    likely = [model.lm_head(model.decode(torch.tensor([[token]]), memory, cache)).argmax(-1) for token in tokens[:-1]]
    return torch.cat(likely)


def digest(model: Florence2) -> str:
    """A sha256 of a network's weights, by name, which identifies them where they come from no file."""
    total = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        total.update(name.encode())
        total.update(weight.contiguous().view(torch.uint8).numpy().data)
    return total.hexdigest()
