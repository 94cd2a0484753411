"""Whether an exported network writes the tokens of its source in float32.

Both write answers of many tokens about two random images, with prompts of two lengths, greedily and with beams, so that
lengths cross every limit at which a runtime may choose another kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from harness.errors import ResourceError
from harness.florence2.decoding.generate import Generated, generate
from harness.florence2.decoding.search import Decoding
from harness.florence2.exported.network import Exported
from harness.florence2.exported.runtimes import RUNTIMES, Settings
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess

TOKENS = 72  # more than the 64 positions of a cache before it grows
PROMPTS = (9, 5)  # lengths in tokens


@dataclass(frozen=True, slots=True)
class Compared:
    """The number of tokens up to the first difference or the end, and a description of the difference; "" for none.

    `error` is the largest difference of the log-probabilities of these tokens.
    """

    tokens: int
    error: float
    difference: str


def compare(ours: Florence2, theirs: Florence2, preprocess: Preprocess, decoding: Decoding) -> Compared:
    """Compares the answers of two networks, as above, with the search of `decoding`; see TOKENS for their length."""
    length = min(TOKENS, ours.config.text.positions)
    tokens, error = 0, 0.0
    for beams in sorted({1, decoding.beams}):
        search = replace(decoding, beams=beams, max_new_tokens=length, min_new_tokens=length)
        for own, other in zip(_answers(ours, preprocess, search), _answers(theirs, preprocess, search), strict=True):
            pairs = list(zip(own.tokens, other.tokens, own.log_probs, other.log_probs, strict=True))
            for place, (token, another, log_prob, other_log_prob) in enumerate(pairs):
                if token != another:
                    where = f"answer {own.key + 1}, {beams} beam{'s' * (beams > 1)}, token {place + 1} of {length}"
                    return Compared(tokens, error, f"{where}: {another} instead of {token}")
                tokens += 1
                error = max(error, abs(log_prob - other_log_prob))
    return Compared(tokens, error, "")


@torch.inference_mode()
def _answers(model: Florence2, preprocess: Preprocess, decoding: Decoding) -> list[Generated[int]]:
    generator = torch.Generator().manual_seed(0)
    shape = (len(PROMPTS), preprocess.height, preprocess.width, 3)
    pixels = torch.randint(0, 256, shape, generator=generator).byte()
    prompts = torch.randint(4, model.config.text.vocab, (len(PROMPTS), max(PROMPTS)), generator=generator)
    real = torch.arange(max(PROMPTS)) < torch.tensor(PROMPTS)[:, None]
    image = model.encode_image(preprocess.normalise(pixels, model.vision.dtype))
    return generate(model, model.encode(image, prompts.masked_fill(~real, decoding.pad), real), decoding)


def candidates(settings: Settings) -> Iterator[Settings]:
    """The settings themselves, and then with each other value of one hint."""
    yield settings
    for name, values in RUNTIMES[settings.runtime].hints.items():
        for value in values:
            if value != settings.hint(name):
                yield replace(settings, hints={**settings.hints, name: value})


def first_equal(
    ours: Florence2,
    load: Callable[[Settings], Exported],
    settings: Settings,
    preprocess: Preprocess,
    decoding: Decoding,
) -> tuple[Exported, Compared]:
    """The network with the first of `candidates` that writes the tokens of `ours`, and the comparison.

    ResourceError, with the first difference, where none does.
    """
    first = None
    for tried in candidates(settings):
        network = load(tried)
        compared = compare(ours, network, preprocess, decoding)
        if not compared.difference:
            return network, compared
        first = first or compared
    version = RUNTIMES[settings.runtime].version
    difference = first.difference if first else ""
    raise ResourceError(
        f"{settings.runtime} {version} writes other tokens than this harness in float32, with every hint that was "
        f"tried: {difference}; use another version of it, or do without it"
    )
