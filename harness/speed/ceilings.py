"""What the device can do and what the work needs: a floor under every stage.

Ceilings are measured on the spot: a large matrix product in the precision in use, a large copy (bytes read and written)
and, for a GPU, a large copy to it from pinned memory.  The work is counted: floating-point operations by torch's own
counter over the network on the meta device, where nothing is computed (in the form with the fewest: a CPU's, whose
channel attention is one linear map), and the fewest bytes that must move (weights once a batch, what comes in, what
goes out).
No version of the work runs faster than the largest of what it needs over what there is a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from harness.florence2.bart import Cache
from harness.florence2.config import Config
from harness.florence2.fast.choose import accelerated
from harness.florence2.fast.linear import linear
from harness.florence2.fast.quantised import FLOAT8, Float8Linear, Int8Linear
from harness.florence2.fast.settings import cuda
from harness.florence2.model import Florence2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Operations, bytes through memory, and bytes from the host to a GPU, a second."""

    operations: float
    bytes: float
    link: float | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """Floating-point operations (two to a multiply-add), the fewest bytes through memory, and those from the host."""

    operations: float
    bytes: float
    sent: float = 0.0

    def _seconds(self, ceilings: Ceilings) -> Mapping[str, float]:
        """What each of them takes at least."""
        link = self.sent / ceilings.link if ceilings.link else 0.0
        return {
            "arithmetic": self.operations / ceilings.operations, "memory": self.bytes / ceilings.bytes, "link": link
        }  # fmt: skip

    def floor(self, ceilings: Ceilings) -> float:
        """Seconds."""
        return max(self._seconds(ceilings).values())

    def bound(self, ceilings: Ceilings) -> str:
        """Which of them it is: "arithmetic", "memory" or "link"."""
        seconds = self._seconds(ceilings)
        return max(seconds, key=lambda name: seconds[name])


def measured(device: torch.device, dtype: torch.dtype) -> Ceilings:
    """The best of several tries; what else runs on the device only lowers it."""
    side = 8192 if device.type == "cuda" else 1536
    count = (1 << 30 if device.type == "cuda" else 1 << 26) // 4
    with cuda(device), torch.inference_mode():
        given = torch.randn(side, side, device=device)
        product: Callable[[], object]
        if dtype == torch.int8:
            product = partial(Int8Linear(_holding(given)), given)
        elif dtype == FLOAT8:
            given = given.bfloat16()
            product = partial(Float8Linear(_holding(given)), given)
        else:
            given = given.to(dtype)
            product = partial(linear, given, given, None)  # the quickest there is here: not always torch.matmul
        source = torch.ones(count, device=device)
        target = torch.empty_like(source)
        operations = 2 * side**3 / _best(product, device)
        moved = 2 * 4 * count / _best(lambda: target.copy_(source), device)
        link = None
        if device.type == "cuda":
            pinned = torch.empty(count, dtype=torch.uint8, pin_memory=True)
            received = torch.empty(count, dtype=torch.uint8, device=device)
            link = count / _best(lambda: received.copy_(pinned, non_blocking=True), device)
        return Ceilings(operations, moved, link)


def _holding(weight: Tensor) -> nn.Linear:
    held = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device=weight.device, dtype=weight.dtype)
    held.weight.copy_(weight)
    return held


def _best(work: Callable[[], object], device: torch.device, tries: int = 7) -> float:
    work()
    times = []
    for _ in range(tries):
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        times.append(time.perf_counter() - start)
    return min(times)


def synchronise(device: torch.device) -> None:
    """Waits for a GPU; a CPU has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def counted(
    config: Config,
    *,
    batch: int,
    beams: int,
    side: int,
    prompt: int,
    written: int,
    size: int,
    text_size: int = 0,
    writing_size: int = 0,
) -> Mapping[str, Work]:
    """The work of each stage for a batch of images, one prompt each; "decode" is a token of every row, half way.

    `size` is bytes a number, `text_size` that of what reads and writes texts, and `writing_size` that of the weights
    that write, where they are others; eight-bit weights are counted as one byte, what lies between them as four.
    """
    text_size = text_size or size
    writing_size = writing_size or text_size
    between, between_texts = (4 if one == 1 else one for one in (size, text_size))
    with torch.device("meta"):
        model = accelerated(Florence2(config), torch.device("meta"), torch.float32).eval().requires_grad_(False)
        pixels = torch.empty(batch, 3, side, side)
        ids = torch.empty(batch, prompt, dtype=torch.long)
        with torch.inference_mode():
            vision, image = _counting(lambda: model.look(pixels))
            encoder, memory = _counting(lambda: model.read(image, ids))
            first = torch.empty(batch, 2, dtype=torch.long)
            cache = Cache.empty(config.text, batch, image, 64)
            prefill, _ = _counting(lambda: model.lm_head(model.write(first, memory, cache)[:, -1:]))
            rows, half = batch * beams, max(2, written // 2)
            cache = Cache.empty(config.text, rows, image, half + 64)
            cache.length = half
            token = torch.empty(rows, 1, dtype=torch.long)
            decode, _ = _counting(lambda: model.lm_head(model.write(token, memory, cache)))
    tower = _numbers(model.vision) + _numbers(model.fusion)
    reading = _numbers(model.encoder) + _numbers(model.decoder.memory)
    writing = _numbers(model.decoder) - _numbers(model.decoder.memory)
    words = model.lm_head.weight.numel()
    crossed = memory.keys.numel() * 2
    kept = 2 * cache.keys[:, :, :, :half].numel()
    scores = config.text.vocab * 4
    colours = batch * 3 * side * side
    return {
        "transfer": Work(0.0, colours * (1 + between), colours),
        "vision": Work(vision, tower * size + colours * between + image.numel() * between),
        "encoder": Work(encoder, reading * text_size + (image.numel() + crossed) * between_texts),
        "prefill": Work(prefill, (writing + words) * writing_size + crossed * between_texts + batch * scores),
        "decode": Work(decode, (writing + words) * writing_size + (crossed + kept) * between_texts + rows * scores),
    }


def _counting(work: Callable[[], T]) -> tuple[float, T]:
    with FlopCounterMode(display=False) as counter:
        result = work()
    return float(counter.get_total_flops()), result


def _numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
