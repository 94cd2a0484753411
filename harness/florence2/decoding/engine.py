"""Continuous batching of images and prompts: submit, step, poll.

    engine = Engine(model, preprocess, decoding, slots=8)
    engine.submit("a ticket", ImageInput(pixels), prompt)
    while engine.busy:
        engine.step()
        for done in engine.poll(): ...

An engine keeps a pool of slots full: finished sequences free their slots for waiting prompts.  Images are encoded in
groups, and each once for all its waiting prompts.  Prompts and answers are token ids; the engine opens no files.

If memory runs out, the engine continues with half the slots, and later tries more again.  It logs a warning for both.
"""

from __future__ import annotations

import gc
import logging
import math
import time
import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from harness.errors import CheckpointError, HarnessError, ResourceError, UsageError
from harness.florence2.bart import Memory
from harness.florence2.decoding.generate import Generated, Pool
from harness.florence2.decoding.search import Decoding
from harness.florence2.fast.graphs import CapturedMap, CapturedStep
from harness.florence2.fast.lanes import SideStream, to_device, wait_for
from harness.florence2.fast.settings import cuda
from harness.florence2.fast.vision import LARGE
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.florence2.tokenizer import PAD

log = logging.getLogger(__name__)
T = TypeVar("T")
TOGETHER = 64  # images encoded at once on a GPU; attention's kernels accept at most 65,535 windows
GROUP = 8  # small images encoded at once on a CPU; always 8 or 1, so that oneDNN reuses its kernels
READ = 16  # prompts about small images encoded at once on a CPU; more would need memory, and gain no speed


@dataclass(slots=True, eq=False)
class ImageInput:
    """An image to encode once for all its prompts: resized pixels (height, width, 3), uint8."""

    pixels: Tensor
    tokens: Tensor | None = None  # image tokens (I, E), once encoded and while prompts wait
    encoded: torch.cuda.Event | None = None  # the end of the encoding on a GPU
    waiting: int = 0  # submitted prompts that are not yet encoded


@dataclass(slots=True, eq=False)
class _Query(Generic[T]):
    """A prompt about an image, waiting or in a slot."""

    ticket: T
    image: ImageInput
    prompt: Sequence[int]
    begun: float = 0.0
    batch: int = 0  # the most sequences in the pool with it


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """A finished sequence and its ticket.

    `begun` is the time of its admission and `ended` of its end, in seconds of `time.perf_counter`.  `batch` is the
    largest number of sequences that were in the pool with it.
    """

    ticket: T
    generated: Generated[Any]
    begun: float
    ended: float
    batch: int


class Engine(Generic[T]):
    """At most `slots` sequences at once, on the model's device.

    `refill` is the share of the slots that must be free before waiting prompts are admitted, so that they are encoded
    together; an empty pool admits whatever waits.

    `static` (default: on a GPU) has decode steps of a few fixed sizes, which a GPU replays as CUDA graphs, and encodes
    the images of the next prompts during decoding, on a stream of their own.  Without it, small images are encoded
    `group` at a time, at most as many as there are slots, and their prompts a few at a time.  Two or more images
    that are fewer than a group are padded with copies of the last; a single image is encoded alone.

    ResourceError if one slot does not fit in memory.
    """

    def __init__(
        self,
        model: Florence2,
        preprocess: Preprocess,
        decoding: Decoding,
        *,
        slots: int,
        refill: float = 0.25,
        static: bool | None = None,
    ) -> None:
        self.model = model
        self.preprocess = preprocess
        self.decoding = decoding
        self.slots = slots
        self.refill = refill
        self.device = model.embedding.weight.device
        self.static = self.device.type == "cuda" if static is None else static
        self.waiting: deque[_Query[T]] = deque()
        self._done: list[Done[T]] = []
        self._tried = 0  # sequences in the pool after the last refill
        self._fits = 0  # the largest batch whose sequences finished
        self._fails: int | None = None  # the smallest batch that did not fit in memory
        self._encode_image = CapturedMap(model.encode_image) if self.device.type == "cuda" else model.encode_image
        with cuda(self.device):
            self._stream = SideStream(self.device)
            self.pool: Pool[_Query[T]] = self._largest_pool()
        largest = max(1, min(GROUP, self.slots, LARGE // (preprocess.width * preprocess.height)))
        self.group = 1 if self.static else largest

    @property
    def active(self) -> bool:
        """Whether any prompt waits, or the pool is busy."""
        return bool(self.waiting or self.pool.busy)

    @property
    def busy(self) -> bool:
        """Whether the engine is active, or any finished sequence was not polled."""
        return bool(self.active or self._done)

    def submit(self, ticket: T, image: ImageInput, prompt: Sequence[int]) -> None:
        """Appends a prompt (token ids, with `<s>` and `</s>`) to the waiting ones."""
        image.waiting += 1
        self.waiting.append(_Query(ticket, image, prompt))

    @torch.inference_mode()
    def step(self) -> None:
        """Admits waiting prompts if there are free slots, then decodes a token of every sequence.

        ResourceError if a single sequence does not fit in memory.  If a sequence has scores that are not numbers:
        UsageError in float16, which these weights may overflow; CheckpointError in other precisions.
        """
        with cuda(self.device):
            self._step()

    def _step(self) -> None:
        try:
            self._refill()
            self.pool.step()
            if self.static and self.pool.keys:
                self._encode_images(self._needed)
        except Exception as error:  # cuBLAS, the driver and Triton have their own exceptions for memory
            if not is_out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)  # frames hold tensors
            out_of_memory: Exception | None = error
        else:
            out_of_memory = None
        self._collect(wait=out_of_memory is not None)
        if out_of_memory is not None:
            self._shrink(out_of_memory)

    def poll(self) -> list[Done[T]]:
        """The sequences that finished since the last poll."""
        done, self._done = self._done, []
        return done

    def _collect(self, *, wait: bool = False) -> None:
        finished = self.pool.poll(wait=wait)
        now = time.perf_counter()
        for generated in finished:
            query = generated.key
            if any(map(math.isnan, generated.log_probs)):
                raise self._not_numbers()
            self._fits = max(self._fits, query.batch)
            self._done.append(Done(query.ticket, generated, query.begun, now, query.batch))

    @property
    def _needed(self) -> int:
        """The number of free slots at which an occupied pool admits waiting prompts."""
        return max(1, math.ceil(self.refill * self.slots))

    def _refill(self) -> None:
        larger = self._larger_batch()
        if larger and len(self.waiting) >= self.slots:
            if self.pool.keys:
                return
            log.warning("a batch of %d fits in the memory of %s: trying %d", self.slots, self.device, larger)
            self._resize(larger)
        free = self.pool.free
        if not self.waiting or not free or (self.pool.keys and free < self._needed):
            return
        admitted = list(islice(self.waiting, free))
        self._tried = len(self.pool.keys) + len(admitted)
        start = time.perf_counter()
        self._encode_images(len(admitted))
        together = READ if self.group > 1 else len(admitted)
        for first in range(0, len(admitted), together):
            queries = admitted[first : first + together]
            self.pool.admit(queries, self._encode_prompts(queries))
            for query in queries:
                self.waiting.popleft()
                query.begun = start
                query.image.waiting -= 1
                if not query.image.waiting:
                    query.image.tokens = None
        for query in self.pool.keys:
            query.batch = max(query.batch, len(self.pool.keys))

    def _encode_images(self, count: int) -> None:
        """Encodes the images of the first `count` waiting prompts, and of further ones until a group is full."""
        together = TOGETHER if self.static else self.group
        new: dict[int, ImageInput] = {}
        for index, query in enumerate(self.waiting):
            if index >= count and len(new) % self.group == 0:
                break
            if query.image.tokens is None:
                new[id(query.image)] = query.image
        images = list(new.values())
        for first in range(0, len(images), together):
            self._encode_batch(images[first : first + together])

    def _encode_batch(self, images: Sequence[ImageInput]) -> None:
        pixels = [image.pixels for image in images]
        # oneDNN would build and keep kernels for every batch size.
        padding = self.group - len(images) if 1 < len(images) < self.group else 0
        batch = torch.stack(pixels + pixels[-1:] * padding)
        if self.device.type == "cuda":
            batch = batch.pin_memory()

        def encode() -> Tensor:
            pixels = batch.to(self.device, non_blocking=True)
            return self._encode_image(self.preprocess.normalise(pixels, self.model.vision.dtype))

        encoded, event = self._stream.run(encode)
        for image, tokens in zip(images, encoded[: len(images)], strict=True):
            image.tokens, image.encoded = tokens, event

    def _encode_prompts(self, queries: Sequence[_Query[T]]) -> Memory:
        """The encoder memory of queries whose images are encoded; prompts are padded to the longest."""
        lengths = [len(query.prompt) for query in queries]
        longest = max(lengths)
        ids = to_device([[*query.prompt, *[PAD] * (longest - len(query.prompt))] for query in queries], self.device)
        real = None
        if min(lengths) < longest:
            real = torch.arange(longest, device=self.device) < to_device(lengths, self.device)[:, None]
        images = [
            wait_for(query.image.tokens, query.image.encoded) for query in queries if query.image.tokens is not None
        ]
        return self.model.encode(torch.stack(images), ids, real)

    def _largest_pool(self) -> Pool[_Query[T]]:
        """A pool of `slots` slots; while it does not fit in memory, `slots` is halved."""
        while True:
            try:
                pool: Pool[_Query[T]] = Pool(self.model, self.decoding, self.slots, static=self.static)
            except Exception as error:  # as in `step`
                if not is_out_of_memory(error):
                    raise
                if self.slots == 1:
                    raise self._too_little_memory() from error
                traceback.clear_frames(error.__traceback__)
                self._fails, tried, self.slots = self.slots, self.slots, self.slots // 2
                self._warn_of_fewer_slots(tried)
                self._free_memory()
                continue
            if self.device.type == "cuda":
                pool.advance = CapturedStep(pool)
            return pool

    def _free_memory(self) -> None:
        """Frees unreferenced memory, and a GPU's cached blocks."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _too_little_memory(self) -> ResourceError:
        return ResourceError(
            f"one sequence does not fit in the memory of {self.device}; try --dtype float16, fewer --beams or fewer "
            "--max-new-tokens"
        )

    def _warn_of_fewer_slots(self, tried: int) -> None:
        log.warning("a batch of %d does not fit in the memory of %s: going on with %d", tried, self.device, self.slots)

    def _not_numbers(self) -> HarnessError:
        """The error for a sequence with log-probabilities that are not numbers."""
        dtype = str(self.model.vision.dtype).removeprefix("torch.")
        message = f"the network's scores of an answer are not numbers in {dtype}"
        if dtype == "float16":
            return UsageError(f"{message}, whose largest number is 65,504: try --dtype bfloat16")
        return CheckpointError(f"{message}: the checkpoint's weights are broken, or belong to another network")

    def _shrink(self, error: BaseException) -> None:
        """Continues with half the slots, or with the largest batch that fits; the pool's queries wait again, in front.

        ResourceError if a single sequence did not fit.
        """
        if self._tried <= 1:
            raise self._too_little_memory() from error
        self._fails = self._tried
        self._fits = self._fits if self._fits < self._fails else 0
        for query in reversed(self.pool.keys):
            query.image.waiting += 1
            query.batch = 0
            self.waiting.appendleft(query)
        for query in self.waiting:
            query.image.tokens = None
        self._resize(max(self._fits, self._tried // 2))
        self._warn_of_fewer_slots(self._tried)

    def _larger_batch(self) -> int:
        """A batch half way to the smallest that did not fit, once the current one fits; 0 if it gains under 1/8."""
        if self._fails is None or self._fits < self.slots:
            return 0
        gain = (self._fails - self.slots) // 2
        return self.slots + gain if 8 * gain > self.slots else 0

    def _resize(self, slots: int) -> None:
        """Replaces the pool by an empty one of `slots` slots; a group of images is no larger than that."""
        self.slots = slots
        del self.pool  # its memory is freed before the next pool is built
        self._free_memory()
        self.pool = self._largest_pool()
        self.group = min(self.group, self.slots)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a CPU or a GPU.

    torch raises a plain RuntimeError for a CPU; cuBLAS, the driver and Triton have their own exceptions.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(sign in str(error) for sign in ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "out of memory"))
