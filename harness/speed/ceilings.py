"""Ceilings of a device and floors of the work: no stage can be faster than its floor.

Ceilings are measured: arithmetic by a large matrix product in the precision in use, memory by a large copy (bytes read
plus bytes written), and the link to a GPU by a large copy from pinned host memory.

Work is counted.  Floating-point operations come from torch's counter over the network on the meta device, which
computes nothing.  The network has its form with the fewest operations, the CPU form, whose channel attention is one
linear map.  Bytes are the fewest that must move: weights, inputs and outputs, once per batch.

A floor is the largest of three times: operations, memory bytes and link bytes, each divided by its ceiling.
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
    """Per second: floating-point operations, bytes through memory, and bytes from the host to a GPU (None on a CPU)."""

    operations: float
    bytes: float
    link: float | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """Floating-point operations (two per multiply-add), the fewest bytes through memory, and bytes from the host."""

    operations: float
    bytes: float
    sent: float = 0.0

    def _seconds(self, ceilings: Ceilings) -> Mapping[str, float]:
        """The least seconds of the operations, of the memory bytes and of the link bytes."""
        link = self.sent / ceilings.link if ceilings.link else 0.0
        return {
            "arithmetic": self.operations / ceilings.operations, "memory": self.bytes / ceilings.bytes, "link": link
        }  # fmt: skip

    def floor(self, ceilings: Ceilings) -> float:
        """The least seconds of the work under these ceilings."""
        return max(self._seconds(ceilings).values())

    def bound(self, ceilings: Ceilings) -> str:
        """The ceiling that sets the floor: "arithmetic", "memory" or "link"."""
        seconds = self._seconds(ceilings)
        return max(seconds, key=lambda name: seconds[name])


def measured(device: torch.device, dtype: torch.dtype) -> Ceilings:
    """Measures the ceilings of a device, for products in `dtype`.

    Each ceiling is the best of several tries, since other work on the device can only lower a try.
    """
    side = 8192 if device.type == "cuda" else 1536
    count = (1 << 30 if device.type == "cuda" else 1 << 26) // 4
    with cuda(device), torch.inference_mode():
        matrix = torch.randn(side, side, device=device)
        product: Callable[[], object]
        if dtype == torch.int8:
            product = partial(Int8Linear(_linear_of(matrix)), matrix)
        elif dtype == FLOAT8:
            matrix = matrix.bfloat16()
            product = partial(Float8Linear(_linear_of(matrix)), matrix)
        else:
            matrix = matrix.to(dtype)
            product = partial(linear, matrix, matrix, None)  # the fastest here; not always torch.matmul
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


def _linear_of(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device=weight.device, dtype=weight.dtype)
    layer.weight.copy_(weight)
    return layer


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
    """Waits until a GPU has finished its queued work; does nothing for a CPU."""
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
    words_size: int = 0,
) -> Mapping[str, Work]:
    """Counts the work of each stage for a batch of images with one prompt each.

    "decode" is one token of every row, at half of the `written` tokens.  `side` is the side of the square input in
    pixels, `prompt` the length of the prompt in tokens.  `size` is the bytes per number of the vision tower,
    `text_size` (0: the same) of the text encoder and decoder, `writing_size` (0: `text_size`) of the decoder weights,
    and `words_size` (0: `writing_size`) of the map to the vocabulary.  Eight-bit weights count as one byte, the
    activations between them as four.
    """
    text_size = text_size or size
    writing_size = writing_size or text_size
    words_size = words_size or writing_size
    between, between_texts = (4 if number == 1 else number for number in (size, text_size))
    with torch.device("meta"):
        model = accelerated(Florence2(config), torch.device("meta"), torch.float32).eval().requires_grad_(False)
        pixels = torch.empty(batch, 3, side, side)
        ids = torch.empty(batch, prompt, dtype=torch.long)
        with torch.inference_mode():
            vision, image = _counting(lambda: model.encode_image(pixels))
            encoder, memory = _counting(lambda: model.encode(image, ids))
            first = torch.empty(batch, 2, dtype=torch.long)
            cache = Cache.empty(config.text, batch, image, 64)
            prefill, _ = _counting(lambda: model.lm_head(model.decode(first, memory, cache)[:, -1:]))
            rows, half = batch * beams, max(2, written // 2)
            cache = Cache.empty(config.text, rows, image, half + 64)
            cache.length = half
            token = torch.empty(rows, 1, dtype=torch.long)
            decode, _ = _counting(lambda: model.lm_head(model.decode(token, memory, cache)))
    tower = _numbers(model.vision) + _numbers(model.fusion)
    reading = _numbers(model.encoder) + _numbers(model.decoder.memory)
    writing = _numbers(model.decoder) - _numbers(model.decoder.memory)
    words = model.lm_head.weight.numel()
    crossed = memory.keys.numel() * 2
    kept = 2 * cache.keys[:, :, :, :half].numel()
    scores = config.text.vocab * 4
    weights = writing * writing_size + words * words_size
    colours = batch * 3 * side * side
    return {
        "transfer": Work(0.0, colours * (1 + between), colours),
        "vision": Work(vision, tower * size + colours * between + image.numel() * between),
        "encoder": Work(encoder, reading * text_size + (image.numel() + crossed) * between_texts),
        "prefill": Work(prefill, weights + crossed * between_texts + batch * scores),
        "decode": Work(decode, weights + (crossed + kept) * between_texts + rows * scores),
    }


def _counting(work: Callable[[], T]) -> tuple[float, T]:
    with FlopCounterMode(display=False) as counter:
        result = work()
    return float(counter.get_total_flops()), result


def _numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
