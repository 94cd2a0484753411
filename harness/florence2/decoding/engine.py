"""Pictures and prompts to answers under way: submit, step, poll.

An engine keeps a pool of slots full: as answers are settled, waiting ones take their places, pictures are encoded some
together, and each once for all that waits to be asked of it.  It knows no strings and no
files.  What does not fit in memory is tried again with half the slots, then with more of them as long as those fit, and
that is said.

    engine = Engine(model, preprocess, decoding, slots=8)
    engine.submit("a ticket", Picture(pixels), prompt)
    while engine.busy:
        engine.step()
        for ticket, written in engine.poll(): ...
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
from harness.florence2.decoding.generate import Pool, Written
from harness.florence2.decoding.search import Decoding
from harness.florence2.fast.graphs import CapturedMap, CapturedStep
from harness.florence2.fast.lanes import Lane, join, sent
from harness.florence2.fast.settings import cuda
from harness.florence2.fast.vision import LARGE
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.florence2.tokenizer import PAD

log = logging.getLogger(__name__)
T = TypeVar("T")
TOGETHER = 64  # pictures encoded at once on a GPU: more windows than 65,535 are no grid of attention's kernels
GROUP = 8  # small ones on a CPU: always as many, or one alone, so that no kernels are made anew
READ = 16  # prompts of small ones that are read at once: of more, what is between layers is memory, and no quicker


@dataclass(slots=True, eq=False)
class Picture:
    """Resized pixels (height, width, 3) uint8, to be encoded once for all that is asked of it."""

    pixels: Tensor
    tokens: Tensor | None = None  # (I, E), once encoded
    encoded: torch.cuda.Event | None = None  # what must have happened before they are read
    waiting: int = 0  # prompts that were submitted and not yet read


@dataclass(slots=True, eq=False)
class _Asked(Generic[T]):
    """A prompt under way."""

    ticket: T
    picture: Picture
    prompt: Sequence[int]
    begun: float = 0.0
    beside: int = 0  # the most answers that were under way at once


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """An answer, when it was taken in and when it was settled (seconds of `time.perf_counter`), and the most answers
    that were under way with it."""

    ticket: T
    written: Written[Any]
    begun: float
    ended: float
    batch: int


class Engine(Generic[T]):
    """At most `slots` answers at once, on the model's device.

    `refill` is the share of the slots that must be free before waiting prompts are taken in, so that they are encoded
    together; a pool that is empty takes what there is.  `static` says that steps are of a few fixed sizes and that the
    pictures of the next ones to be taken in are encoded while these are written, as it is on a GPU, where steps are
    replayed as CUDA graphs and pictures have a stream of their own; without it, small pictures are encoded `group` at a
    time (filled up with the last one repeated, where fewer wait, but more than one), no more than there are slots, and
    their prompts are read a few at a time.
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
        self.waiting: deque[_Asked[T]] = deque()
        self._done: list[Done[T]] = []
        self._tried = 0  # answers under way after the last refill
        self._fits = 0  # the most that were under way at once and came to an end
        self._fails: int | None = None  # the fewest that did not fit in memory
        self._encode = CapturedMap(model.look) if self.device.type == "cuda" else model.look
        with cuda(self.device):
            self._lane = Lane(self.device)
            self.pool: Pool[_Asked[T]] = self._largest_pool()
        few = max(1, min(GROUP, self.slots, LARGE // (preprocess.width * preprocess.height)))
        self.group = 1 if self.static else few

    @property
    def writing(self) -> bool:
        """Whether anything waits or is under way."""
        return bool(self.waiting or self.pool.busy)

    @property
    def busy(self) -> bool:
        """Whether anything waits, is under way, or was not yet polled."""
        return bool(self.writing or self._done)

    def submit(self, ticket: T, picture: Picture, prompt: Sequence[int]) -> None:
        """Puts a prompt (ids, with the tokens that begin and end it) behind what waits."""
        picture.waiting += 1
        self.waiting.append(_Asked(ticket, picture, prompt))

    @torch.inference_mode()
    def step(self) -> None:
        """Takes in what there is room for, then writes a token of every answer.

        ResourceError where not even one fits in memory.  Where an answer's scores are not numbers, UsageError in
        float16, which these weights may be too large for, and else CheckpointError.
        """
        with cuda(self.device):
            self._step()

    def _step(self) -> None:
        try:
            self._refill()
            self.pool.step()
            if self.static and self.pool.keys:
                self._look(self._wanted)
        except Exception as error:  # cuBLAS, the driver and Triton have kinds of their own for memory
            if not is_out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)  # they hold what did not fit
            full: Exception | None = error
        else:
            full = None
        self._collect(wait=full is not None)
        if full is not None:
            self._shrink(full)

    def poll(self) -> list[Done[T]]:
        """What has been settled since the last time."""
        done, self._done = self._done, []
        return done

    def _collect(self, *, wait: bool = False) -> None:
        written = self.pool.poll(wait=wait)
        now = time.perf_counter()
        for one in written:
            if any(map(math.isnan, one.log_probs)):
                raise self._not_numbers()
            self._fits = max(self._fits, one.key.beside)
            self._done.append(Done(one.key.ticket, one, one.key.begun, now, one.key.beside))

    @property
    def _wanted(self) -> int:
        """How many slots must be free before waiting prompts are taken in beside others."""
        return max(1, math.ceil(self.refill * self.slots))

    def _next(self, count: int) -> list[_Asked[T]]:
        return list(islice(self.waiting, count))

    def _refill(self) -> None:
        more = self._more()
        if more and len(self.waiting) >= self.slots:
            if self.pool.keys:
                return
            log.warning("%d answers at once fit in the memory of %s: trying %d", self.slots, self.device, more)
            self._resize(more)
        free = self.pool.free
        if not self.waiting or not free or (self.pool.keys and free < self._wanted):
            return
        taken = self._next(free)
        self._tried = len(self.pool.keys) + len(taken)
        start = time.perf_counter()
        self._look(len(taken))
        together = READ if self.group > 1 else len(taken)
        for first in range(0, len(taken), together):
            some = taken[first : first + together]
            self.pool.admit(some, self._read(some))
            for asked in some:
                self.waiting.popleft()
                asked.begun = start
                asked.picture.waiting -= 1
                if not asked.picture.waiting:
                    asked.picture.tokens = None
        for asked in self.pool.keys:
            asked.beside = max(asked.beside, len(self.pool.keys))

    def _look(self, count: int) -> None:
        """Encodes the pictures of the first `count` that wait, and of more until a group is full."""
        together = TOGETHER if self.static else self.group
        new: dict[int, Picture] = {}
        for place, asked in enumerate(self.waiting):
            if place >= count and len(new) % self.group == 0:
                break
            if asked.picture.tokens is None:
                new[id(asked.picture)] = asked.picture
        pictures = list(new.values())
        for first in range(0, len(pictures), together):
            self._look_at(pictures[first : first + together])

    def _look_at(self, new: Sequence[Picture]) -> None:
        pixels = [picture.pixels for picture in new]
        fill = self.group - len(new) if 1 < len(new) < self.group else 0  # each number would have kernels of its own
        batch = torch.stack(pixels + pixels[-1:] * fill)
        if self.device.type == "cuda":
            batch = batch.pin_memory()

        def look() -> Tensor:
            pixels = batch.to(self.device, non_blocking=True)
            return self._encode(self.preprocess.normalise(pixels, self.model.vision.dtype))

        encoded, event = self._lane.run(look)
        for picture, tokens in zip(new, encoded[: len(new)], strict=True):
            picture.tokens, picture.encoded = tokens, event

    def _read(self, taken: Sequence[_Asked[T]]) -> Memory:
        """Pictures and prompts, padded to the longest, to the decoder's memory."""
        lengths = [len(asked.prompt) for asked in taken]
        longest = max(lengths)
        ids = sent([[*asked.prompt, *[PAD] * (longest - len(asked.prompt))] for asked in taken], self.device)
        real = None
        if min(lengths) < longest:
            real = torch.arange(longest, device=self.device) < sent(lengths, self.device)[:, None]
        images = [
            join(asked.picture.tokens, asked.picture.encoded) for asked in taken if asked.picture.tokens is not None
        ]
        return self.model.read(torch.stack(images), ids, real)

    def _largest_pool(self) -> Pool[_Asked[T]]:
        """A pool of as many slots as are wanted, or of the first half of a half of them that there is memory for."""
        while True:
            try:
                pool: Pool[_Asked[T]] = Pool(self.model, self.decoding, self.slots, static=self.static)
            except Exception as error:  # the kinds of `step`
                if not is_out_of_memory(error):
                    raise
                if self.slots == 1:
                    raise self._too_little() from error
                traceback.clear_frames(error.__traceback__)
                self._fails, tried, self.slots = self.slots, self.slots, self.slots // 2
                self._say_fewer(tried)
                self._give_back()
                continue
            if self.device.type == "cuda":
                pool.advance = CapturedStep(pool)
            return pool

    def _give_back(self) -> None:
        """The memory of what nothing holds any more."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _too_little(self) -> ResourceError:
        return ResourceError(
            f"one answer does not fit in the memory of {self.device}; try --dtype float16, fewer --beams or fewer "
            "--max-new-tokens"
        )

    def _say_fewer(self, tried: int) -> None:
        log.warning("a batch of %d does not fit in the memory of %s: going on with %d", tried, self.device, self.slots)

    def _not_numbers(self) -> HarnessError:
        """What to say of an answer whose log-probabilities are not numbers."""
        dtype = str(self.model.vision.dtype).removeprefix("torch.")
        said = f"the network's scores of an answer are not numbers in {dtype}"
        if dtype == "float16":
            return UsageError(f"{said}, which has none past 65,504: try --dtype bfloat16")
        return CheckpointError(f"{said}: the checkpoint's weights are broken, or are not of this network")

    def _shrink(self, error: BaseException) -> None:
        """Half the slots, or as many as have fit; what was under way waits again, in front."""
        if self._tried <= 1:
            raise self._too_little() from error
        self._fails = self._tried
        self._fits = self._fits if self._fits < self._fails else 0
        for asked in reversed(self.pool.keys):
            asked.picture.waiting += 1
            asked.beside = 0
            self.waiting.appendleft(asked)
        for asked in self.waiting:
            asked.picture.tokens = None
        self._resize(max(self._fits, self._tried // 2))
        self._say_fewer(self._tried)

    def _more(self) -> int:
        """A number of slots half way to what does not fit, once all that there are have fit; 0 where that is less than
        an eighth more."""
        if self._fails is None or self._fits < self.slots:
            return 0
        more = (self._fails - self.slots) // 2
        return self.slots + more if 8 * more > self.slots else 0

    def _resize(self, slots: int) -> None:
        """A pool of so many in place of this one, and no more pictures at a time."""
        self.slots = slots
        del self.pool  # before there is another
        self._give_back()
        self.pool = self._largest_pool()
        self.group = min(self.group, self.slots)


def is_out_of_memory(error: BaseException) -> bool:
    """torch raises a plain RuntimeError where the CPU's memory ends; cuBLAS, the driver and Triton have their own."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(sign in str(error) for sign in ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "out of memory"))
