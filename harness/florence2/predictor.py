"""Questions to answers, on top of the engine: the only file of this package with both pixels and strings.

Questions are read in windows and grouped by image, so that an image is encoded once for all its questions.  Threads
open and resize images ahead, while the network runs.  Prompts of similar kind and length are submitted one after
another.  Answers are yielded within POLL_INTERVAL, or a decode step, of their end.  A question with several prompts
(one for each category, say) is answered once all its prompts are.

An answer's seconds are measured from its admission to a slot until its last token.  They include the encoding of its
image if it was not encoded before, and the share of other sequences in the batch.  They do not include the opening and
resizing of image files.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.core import Answer, Failure, ImageRef, Kind, Question, Size, Ticket, Trail
from harness.errors import DataError, HarnessError, UsageError
from harness.florence2 import locations, prompts, reading
from harness.florence2.decoding.engine import Done, Engine, ImageInput
from harness.florence2.decoding.generate import Generated
from harness.florence2.decoding.search import Decoding
from harness.florence2.fast.choose import accelerated
from harness.florence2.fast.threads import BackOff
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.florence2.prompts import DIGEST, digest
from harness.florence2.tokenizer import Tokenizer
from harness.images import open_rgb

ANSWERS_VERSION = 1
"""Part of every fingerprint: stored answers of another version are stale.  Raise it whenever an answer could change.

Raise it for a change of results: the network's arithmetic beyond rounding, the search, a prompt's text, preprocessing,
tokenisation, parsing into a value.  Do not raise it for a change of speed, memory, wording or order of additions that
keeps float32 tokens equal.  The frozen answers in `baselines/frozen` tell the two cases apart: CI fails if float32
tokens differ under the same version.  Settings (beams, precision, resolution, prompt forms) are separate parts of the
fingerprint.
"""
PRECISION_VERSIONS = {torch.bfloat16: 2, torch.int8: 2}
"""The answers version of a precision alone, if it is not 1.  Raise it for a change that keeps float32 answers."""
WINDOW = 2048  # questions that are grouped by image at once
IN_PIXELS = (  # kinds with coordinates in the question or in the scored value
    "detect", "find", "ground", "refer", "segment", "ocr_regions",
    "name", "describe", "outline", "read", "regions", "propose",
)  # fmt: skip
AHEAD = 4  # batches whose images are opened ahead
LEAST = -9999.0  # the least log-probability that is kept
POLL_INTERVAL = 0.1  # seconds between polls of the engine: answers are cheaper to parse and store many at a time


@dataclass(slots=True)
class PendingQuestion:
    """A question whose image is open, and the answers so far to its prompts."""

    ticket: Ticket
    question: Question
    size: Size  # of the opened image, in pixels
    trail: Trail  # without its last part, the generated tokens
    pieces: list[list[locations.Item]]  # of each prompt's answer
    generated: list[list[int]]  # the token ids of each prompt's answer
    remaining: int  # prompts without an answer
    tokens: int = 0
    truncated: bool = False
    begun: float = math.inf
    seconds: float = 0.0
    batch: int = 1
    log_probs: dict[int, tuple[tuple[str, float], ...]] = field(default_factory=dict)  # by prompt, if they are kept

    def answer(self, form: str) -> Answer:
        """The question's answer, once no prompt is remaining."""
        value = reading.read_answer(self.question, self.pieces, self.size, form)
        raw = tuple(map(locations.raw, self.pieces))
        trail = self.trail._replace(tokens_out=digest(self.generated))
        log_probs = tuple(self.log_probs[number] for number in sorted(self.log_probs))
        return Answer(raw, value, self.tokens, self.truncated, self.seconds, self.batch, trail, log_probs=log_probs)


class PromptTicket(NamedTuple):
    """The engine's ticket for a prompt: its question, and its number among the question's prompts."""

    pending: PendingQuestion
    number: int


Chunk = list[tuple[ImageRef, list[tuple[Ticket, Question]]]]
Opened = tuple[Tensor, Size, str] | Failure  # an image's resized pixels, its own size, the digest of the pixels


@dataclass(frozen=True, slots=True)
class Parts:
    """The contents of a checkpoint folder: network, tokenizer, preprocessing, and the sha256 of the weights.

    `notes` are sentences for the record: what was assumed, or taken from elsewhere, to load the folder.
    """

    model: Florence2
    tokenizer: Tokenizer
    preprocess: Preprocess
    sha256: str
    notes: tuple[str, ...] = ()


class Predictor:
    """A Model (see `core`): Florence-2 on one device.

    `root` resolves image references.  `batch` is the largest number of sequences decoded together; it shrinks if memory
    is short.  `forms` are those of `prompts.choose`.  If `watch` is set, it is called for each finished prompt, with
    the question's ticket, the prompt's number and the generated sequence.  `log_probs` keeps the log-probability of
    each token with its answer; answers are the same with and without.  `backend` names a runtime that computes the
    network on a CPU (`exported.backend`), None: this package's fast forms.
    UsageError if `max_new_tokens` exceeds the checkpoint's positions, or for a batch smaller than 1.
    """

    def __init__(
        self,
        parts: Parts,
        root: Path,
        *,
        decoding: Decoding,
        device: str = "cpu",
        dtype: torch.dtype,
        batch: int,
        forms: Mapping[Kind, str] | None = None,
        log_probs: bool = False,
        backend: str | None = None,
    ) -> None:
        positions = parts.model.config.text.positions
        if decoding.max_new_tokens > positions:
            raise UsageError(
                f"--max-new-tokens {decoding.max_new_tokens}: this checkpoint has positions for {positions}"
            )
        if batch < 1:
            raise UsageError(f"--batch-size {batch}: a batch has at least one sequence")
        self.root = root
        self.decoding = decoding
        self.device = torch.device(device)
        self.dtype = dtype
        self.batch = batch
        self.forms = dict(forms or prompts.choose())
        self.log_probs = log_probs
        self.tokenizer = parts.tokenizer
        self.preprocess = parts.preprocess
        self.sha256 = parts.sha256
        self.notes = parts.notes
        self.parameters = sum(parameter.numel() for parameter in parts.model.parameters())  # before they are quantised
        self.model = accelerated(parts.model, self.device, dtype) if backend is None else self._exported(parts, backend)
        self.watch: Callable[[Ticket, int, Generated[Any]], None] | None = None
        self.backs_off = False  # whether other processes may lower torch's number of threads during `answer`
        self._engine: Engine[PromptTicket] | None = None
        vision = self.model.config.vision
        cells = vision.map_side(self.preprocess.height) * vision.map_side(self.preprocess.width)
        self.prompt_limit = positions - cells - 1  # tokens; an image has a token for each cell, and one for their mean

    def _exported(self, parts: Parts, name: str) -> Florence2:
        from harness.florence2.exported import backend

        precision = str(self.dtype).removeprefix("torch.")
        return backend.load(parts.model, name, precision, parts.sha256, self.preprocess, self.decoding)

    @property
    def fingerprint(self) -> str:
        """One line of weights, precision, decoding, preprocessing, other forms and tokens, backend, answers versions.

        Other forms are those that are not the default; other tokens, those that no published checkpoint has.
        """
        precision = str(self.dtype).removeprefix("torch.")
        tokens = [f"tokens={digest(self.tokenizer.own_tokens)}"] if self.tokenizer.own_tokens else []
        backend = [f"backend={self.model.backend}"] if self.model.backend else []
        own = f".{PRECISION_VERSIONS[self.dtype]}" if self.dtype in PRECISION_VERSIONS and not backend else ""
        rest = ":".join([f"{self.preprocess}", *self._other_forms(), *tokens, *backend, f"v{ANSWERS_VERSION}{own}"])
        return f"florence2:{self.sha256[:16]}:{precision}:{self.decoding.describe()}:{rest}"

    def _other_forms(self) -> list[str]:
        default = prompts.choose()
        return [prompts.name_of(kind, form) for kind, form in self.forms.items() if form != default[kind]]

    @property
    def provenance(self) -> dict[str, Any]:
        """Weights, settings, device and the batch size in use, which is smaller than `batch` if memory was short.

        With the checkpoint's notes, if it has any.
        """
        return {
            "weights sha256": self.sha256,
            "parameters": self.parameters,
            "precision": str(self.dtype).removeprefix("torch."),
            "decoding": self.decoding.describe(),
            "input": f"{self.preprocess.width}x{self.preprocess.height}",
            "prompts": dict(self.forms),
            "device": _device_name(self.device),
            "threads": torch.get_num_threads(),
            "batch size": self.batch,
            **({"backend": self.model.backend} if self.model.backend else {}),
            **({"checkpoint": list(self.notes)} if self.notes else {}),
        }

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """Answers in the order in which they finish; a Failure for a question that cannot be queried.

        ResourceError if a single sequence does not fit in memory; UsageError or CheckpointError as `Engine.step`.
        Answers that finished before an error are yielded first.
        """
        engine = self._idle_engine()
        chunks = self._chunks(questions, engine.group)
        pool = ThreadPoolExecutor(max(2, min(8, os.cpu_count() or 1)), "images")
        back_off = BackOff()
        try:
            upcoming = _start_opening(next(chunks, None), self._open, pool)
            polled = time.perf_counter()
            while upcoming is not None or engine.busy:
                if upcoming is not None and len(engine.waiting) < engine.slots:
                    chunk, opened = upcoming
                    upcoming = _start_opening(next(chunks, None), self._open, pool)
                    yield from self._submit(engine, chunk, [future.result() for future in opened])
                start, cpu = time.perf_counter(), time.process_time()
                try:
                    engine.step()
                except HarnessError:
                    for done in engine.poll():
                        yield from self._record(done)
                    raise
                if self.backs_off:
                    back_off.record(time.perf_counter() - start, time.process_time() - cpu)
                self.batch = engine.slots
                needs_images = upcoming is not None and len(engine.waiting) < engine.slots  # the wait may be long
                if engine.active and not needs_images and time.perf_counter() - polled < POLL_INTERVAL:
                    continue
                for done in engine.poll():
                    yield from self._record(done)
                polled = time.perf_counter()
        finally:
            if self.backs_off:
                back_off.end()
            pool.shutdown(cancel_futures=True)

    def _chunks(self, questions: Iterable[tuple[Ticket, Question]], group: int) -> Iterator[Chunk]:
        """Chunks of images with their questions: AHEAD batches of questions, in whole groups of images."""
        stream = iter(questions)
        chunk: Chunk = []
        while window := list(islice(stream, WINDOW)):
            by_image: dict[ImageRef, list[tuple[Ticket, Question]]] = {}
            for ticket, question in window:
                by_image.setdefault(question.image, []).append((ticket, question))
            for item in by_image.items():
                chunk.append(item)
                enough = sum(len(about) for _, about in chunk) >= (AHEAD * self.batch if self.batch > 1 else 1)
                if enough and len(chunk) % group == 0:
                    yield chunk
                    chunk = []
        if chunk:
            yield chunk

    def _open(self, reference: ImageRef) -> Opened:
        try:
            image = open_rgb(self.root, reference)
        except DataError as error:
            return Failure(str(error))
        pixels = self.preprocess.resize(image)
        return pixels, Size(*image.size), hashlib.sha256(pixels.numpy().data).hexdigest()[:DIGEST]

    def _idle_engine(self) -> Engine[PromptTicket]:
        """The last engine, to reuse its buffers; a new one if the last was abandoned with sequences in it."""
        if self._engine is None or self._engine.busy:
            self._engine = Engine(self.model, self.preprocess, self.decoding, slots=self.batch)
        return self._engine

    def _submit(
        self, engine: Engine[PromptTicket], chunk: Chunk, opened: Sequence[Opened]
    ) -> Iterator[tuple[Ticket, Failure]]:
        """Submits the prompts of a chunk to the engine; yields the questions that cannot be queried."""
        queries: list[tuple[PromptTicket, ImageInput, list[int]]] = []
        for (reference, questions), result in zip(chunk, opened, strict=True):
            if isinstance(result, Failure):
                yield from ((ticket, result) for ticket, _ in questions)
                continue
            pixels, size, pixels_digest = result
            conflict = _size_conflict(reference, questions, size)
            if conflict:
                yield from ((ticket, Failure(conflict)) for ticket, _ in questions)
                continue
            image = ImageInput(pixels)
            for ticket, question in questions:
                try:
                    texts = prompts.prompts_of(question, self.forms[question.kind], size)
                except DataError as error:
                    yield ticket, Failure(str(error))
                    continue
                if not texts:
                    yield ticket, Failure(f"a {question.kind!r} question without phrases has no prompt")
                    continue
                ids = [self.tokenizer.encode(text) for text in texts]
                longest = max(map(len, ids))
                if longest > self.prompt_limit:
                    reason = f"a prompt of {longest} tokens; this checkpoint has positions for {self.prompt_limit}"
                    yield ticket, Failure(reason)
                    continue
                trail = Trail(digest(texts), pixels_digest, digest(ids), "")
                pieces: list[list[locations.Item]] = [[] for _ in texts]
                pending = PendingQuestion(ticket, question, size, trail, pieces, [[] for _ in texts], len(texts))
                queries.extend((PromptTicket(pending, number), image, prompt) for number, prompt in enumerate(ids))
        for prompt_ticket, image, prompt in sorted(
            queries, key=lambda query: (query[0].pending.question.kind, len(query[2]))
        ):
            engine.submit(prompt_ticket, image, prompt)

    def _stated(self, generated: Generated[Any]) -> tuple[tuple[str, float], ...]:
        """The text and the log-probability of each token, with four decimals; LEAST stands for anything below."""
        texts = self.tokenizer.texts(generated.tokens)
        values = (min(0.0, max(LEAST, round(value, 4))) for value in generated.log_probs)
        return tuple(zip(texts, values, strict=True))

    def _record(self, done: Done[PromptTicket]) -> Iterator[tuple[Ticket, Answer]]:
        """Stores a prompt's answer with its question; yields the question's answer after its last prompt."""
        (pending, number), generated = done.ticket, done.generated
        pending.pieces[number] = self.tokenizer.items(generated.tokens, generated.log_probs)
        pending.generated[number] = generated.tokens
        if self.log_probs:
            pending.log_probs[number] = self._stated(generated)
        if self.watch is not None:
            self.watch(pending.ticket, number, generated)
        pending.tokens += len(generated.tokens)
        pending.truncated |= generated.truncated
        pending.begun = min(pending.begun, done.begun)
        pending.batch = max(pending.batch, done.batch)
        pending.remaining -= 1
        if not pending.remaining:
            pending.seconds = done.ended - pending.begun
            yield pending.ticket, pending.answer(self.forms[pending.question.kind])


def _device_name(device: torch.device) -> str:
    if device.type != "cuda":
        return str(device)
    return f"{torch.cuda.get_device_name(device)} (CUDA {torch.version.cuda})"


def _start_opening(
    chunk: Chunk | None, open_image: Callable[[ImageRef], Opened], pool: ThreadPoolExecutor
) -> tuple[Chunk, list[Future[Opened]]] | None:
    """Starts to open a chunk's images; the chunk with the future of each image, in order."""
    return None if chunk is None else (chunk, [pool.submit(open_image, image) for image, _ in chunk])


def _size_conflict(image: ImageRef, questions: Sequence[tuple[Ticket, Question]], size: Size) -> str:
    """The reason of a Failure if an image has another size than its annotations; else ""."""
    for _, question in questions:
        if question.kind in IN_PIXELS and question.size is not None and question.size != size:
            stated = f"{question.size.width}x{question.size.height}"
            return f"the image {image} is {size.width}x{size.height}; its annotation says {stated}"
    return ""
