"""How many threads of a CPU serve a network best: as many as are asked for, or found by trying.

torch takes one for each core, which a decoding step of few rows is often slower for, and a machine that others use much
slower.  Tokens do not depend on it but where two are as likely to the last bits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

import torch

from harness.errors import UsageError
from harness.florence2.decoding.generate import Pool
from harness.florence2.decoding.search import Decoding
from harness.florence2.model import Florence2

AUTO = "auto"
MOST = torch.get_num_threads()
TOKENS = 20  # of a typical answer
STEPS = 4  # that are timed
WORSE = 1.2  # times the best so far: fewer threads than that are not tried


def settle(wanted: str | None, model: Florence2, side: int, decoding: Decoding) -> None:
    """Sets torch's count: None leaves it, "auto" tries.  UsageError for what is neither that nor a whole number.

    `side` is that of a picture, in pixels.
    """
    if wanted is None:
        return
    if wanted != AUTO:
        torch.set_num_threads(number(wanted))
    elif model.embedding.weight.device.type == "cpu":
        tried = trial(lambda: _an_answer(model, side, decoding), MOST)
        torch.set_num_threads(min(tried, key=lambda count: tried[count]))


def number(wanted: str) -> int:
    """A count of threads; UsageError where it is none, or far more than there are cores."""
    most = 4 * (os.cpu_count() or 1)
    if not wanted.isdecimal() or not 1 <= int(wanted) <= most:
        raise UsageError(f"--threads {wanted}: a whole number from 1 to {most}, or {AUTO}, which tries")
    return int(wanted)


def trial(cost: Callable[[], float], most: int) -> Mapping[int, float]:
    """What it costs with each count: from the most down by halves, until fewer are clearly worse."""
    tried: dict[int, float] = {}
    count = most
    while count:
        torch.set_num_threads(count)
        cost()  # threads are made, and memory is touched
        tried[count] = min(cost(), cost())
        if tried[count] > WORSE * min(tried.values()):
            break
        count //= 2
    return tried


@torch.inference_mode()
def _an_answer(model: Florence2, side: int, decoding: Decoding) -> float:
    """Seconds of a picture and a typical answer, of which a few steps are timed."""
    pixels = torch.zeros(1, 3, side, side, dtype=model.vision.dtype)
    start = time.perf_counter()
    image = model.look(pixels)
    looked = time.perf_counter()
    pool: Pool[int] = Pool(model, decoding, 1)
    pool.admit([0], model.read(image, torch.tensor([[0, 4, 5, 6, 2]])))
    begun = time.perf_counter()
    steps = 0
    while pool.keys and steps < STEPS:
        pool.step()
        steps += 1
    return looked - start + TOKENS * (time.perf_counter() - begun) / steps
