"""The time of each stage of a batch, timed separately.

    open       an image file decoded to RGB and resized, one image after another, on the CPU
    transfer   the pixels of a batch stacked, copied to a GPU from pinned memory, and normalised there
    vision     the vision tower and the projection
    encoder    image tokens and prompt through the text encoder, to the keys and values of all decoder layers
    prefill    the first two tokens, and the slots of the answers
    decode     one token for every row: decoder, vocabulary, search
    parsing    token ids to text and to a value

The device is synchronised before each reading of the clock.  Stages therefore do not overlap, and their sum can exceed
the time of a run, where they do.  Opening and parsing have no floor: their operations are not counted.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from harness.florence2.decoding.generate import Pool
from harness.florence2.decoding.search import Decoding
from harness.florence2.fast.graphs import CapturedMap, CapturedStep
from harness.florence2.fast.settings import cuda
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.florence2.tokenizer import PAD
from harness.speed.ceilings import synchronise
from harness.speed.systems import Queries


@dataclass(frozen=True, slots=True)
class Staged:
    """Median seconds of each stage of a batch, and the seconds of every round; "decode" is one of `steps` steps."""

    batch: int
    steps: int
    seconds: Mapping[str, float]
    each: Mapping[str, Sequence[float]] = field(default_factory=dict)


def staged(
    model: Florence2,
    preprocess: Preprocess,
    decoding: Decoding,
    queries: Queries,
    batch: int,
    rounds: int,
    *,
    opening: Callable[[int], object] | None = None,
    parsing: Callable[[Sequence[int], Sequence[float], int], object] | None = None,
) -> Staged:
    """Times the stages of the first `batch` queries in `rounds` rounds, after one round that is not counted.

    `opening` takes a query, and opens and resizes its image.  `parsing` takes the ids of an answer, their
    log-probabilities and the query.  Without them these stages are left out.
    """
    device = model.embedding.weight.device
    chosen = [place % len(queries) for place in range(batch)]
    times: dict[str, list[float]] = {}
    steps = 0

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        synchronise(device)
        start = time.perf_counter()
        yield
        synchronise(device)
        times.setdefault(name, []).append(time.perf_counter() - start)

    longest = max(len(queries.prompts[query]) for query in chosen)
    rows = [[*queries.prompts[query], *[PAD] * (longest - len(queries.prompts[query]))] for query in chosen]
    lengths = torch.tensor([len(queries.prompts[query]) for query in chosen], device=device)
    ids = torch.tensor(rows, device=device)
    real = torch.arange(longest, device=device) < lengths[:, None]
    mask = None if bool(real.all()) else real
    dtype = model.vision.dtype
    encode_image = CapturedMap(model.encode_image) if device.type == "cuda" else model.encode_image
    pool: Pool[int] = Pool(model, decoding, batch, static=device.type == "cuda")
    if device.type == "cuda":
        pool.advance = CapturedStep(pool)
    with cuda(device), torch.inference_mode():
        for number in range(rounds + 1):
            if opening is not None:
                with timed("open"):
                    for query in chosen:
                        opening(query)
            with timed("transfer"):
                stacked = torch.stack([queries.pixels[query] for query in chosen])
                if device.type == "cuda":
                    stacked = stacked.pin_memory().to(device, non_blocking=True)
                pixels = preprocess.normalise(stacked, dtype)
            with timed("vision"):
                image = encode_image(pixels)
            with timed("encoder"):
                memory = model.encode(image, ids, mask)
            with timed("prefill"):
                pool.admit(chosen, memory)
            steps = 0
            with timed("decode"):
                while pool.keys:
                    pool.step()
                    steps += 1
                answers = pool.poll()
            times["decode"][-1] /= steps
            if parsing is not None:
                with timed("parsing"):
                    for answer in answers:
                        parsing(answer.tokens, answer.log_probs, answer.key)
            if number == 0:
                times.clear()
    medians = {name: statistics.median(values) for name, values in times.items()}
    return Staged(batch, steps, medians, times)
