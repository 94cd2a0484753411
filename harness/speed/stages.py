"""Where the time goes: each stage of a batch timed apart, beside its floor.

    open       an image file to RGB and to the network's size, one after another, on a CPU
    transfer   a batch's pixels side by side, to a GPU from pinned memory, and normalised there
    vision     the tower and the projection
    encoder    image and prompt through the text encoder, to the keys and values that all decoder layers read
    prefill    the first two tokens, and the places that are kept for the answers
    decode     a token for every row: decoder, vocabulary, search
    parsing    ids to text and to what is marked

The device is waited for before every look at the clock, so stages do not overlap here as they may in a run; their sum
is more than a run takes.  Opening and parsing have no floor: that is branches, whose operations nobody counts.
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
    """Median seconds of each stage for a batch; "decode" is a step."""

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
    """The stages of the first `batch` queries, `rounds` times after one that is not counted.

    `opening` opens the picture of a query anew; `parsing` reads the answer to one.
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

    longest = max(len(queries.prompts[place]) for place in chosen)
    rows = [[*queries.prompts[place], *[PAD] * (longest - len(queries.prompts[place]))] for place in chosen]
    lengths = torch.tensor([len(queries.prompts[place]) for place in chosen], device=device)
    ids = torch.tensor(rows, device=device)
    real = torch.arange(longest, device=device) < lengths[:, None]
    mask = None if bool(real.all()) else real
    dtype = model.vision.dtype
    look = CapturedMap(model.look) if device.type == "cuda" else model.look
    pool: Pool[int] = Pool(model, decoding, batch, static=device.type == "cuda")
    if device.type == "cuda":
        pool.advance = CapturedStep(pool)
    with cuda(device), torch.inference_mode():
        for number in range(rounds + 1):
            if opening is not None:
                with timed("open"):
                    for place in chosen:
                        opening(place)
            with timed("transfer"):
                stacked = torch.stack([queries.pixels[place] for place in chosen])
                if device.type == "cuda":
                    stacked = stacked.pin_memory().to(device, non_blocking=True)
                pixels = preprocess.normalise(stacked, dtype)
            with timed("vision"):
                image = look(pixels)
            with timed("encoder"):
                memory = model.read(image, ids, mask)
            with timed("prefill"):
                pool.admit(chosen, memory)
            steps = 0
            with timed("decode"):
                while pool.keys:
                    pool.step()
                    steps += 1
                written = pool.poll()
            times["decode"][-1] /= steps
            if parsing is not None:
                with timed("parsing"):
                    for one in written:
                        parsing(one.tokens, one.log_probs, one.key)
            if number == 0:
                times.clear()
    medians = {name: statistics.median(values) for name, values in times.items()}
    return Staged(batch, steps, medians, times)
