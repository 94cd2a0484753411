"""Questions to answers, on top of the engine: the only file here that touches both pixels and strings.

Questions are pulled a window at a time and grouped by image, so that an image is encoded once for all that is asked
of it.  Images are decoded and resized ahead, in threads, while the network works; prompts of like kind and length are
submitted one after another, and answers leave within a tenth of a second, or a step, of being settled.  A question may
take several prompts (one for each category, say): it is answered once all of them are.

The time kept with an answer is that of its stay in the engine, from when it was taken in, and its picture encoded if
that was not done before, until its last token was settled, beside whatever else was under way.  Decoding of files and
resizing are not in it.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.core import Answer, Failure, ImageRef, Kind, Question, Size, Ticket, Trail
from harness.errors import DataError, HarnessError, UsageError
from harness.florence2 import locations, prompts, reading
from harness.florence2.decoding.engine import Done, Engine, Picture
from harness.florence2.decoding.search import Decoding
from harness.florence2.fast.choose import accelerated
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.florence2.tokenizer import Tokenizer
from harness.images import open_rgb

ANSWERS_VERSION = 1
"""Part of every fingerprint: answers kept under another version are stale.  Raise it whenever an answer could change.

Raise it for a change of what is computed or decoded: the network's arithmetic beyond rounding, the search, a prompt's
text, preprocessing, tokenisation, parsing into a value.  Do not raise it for a change of speed, memory, wording or
order of additions that leaves float32 tokens equal: the frozen answers in `baselines/frozen` tell the two apart, and
CI fails where float32 tokens differ under the same version.  Settings (beams, precision, resolution, prompt forms)
are in the fingerprint by themselves.
"""
WINDOW = 2048  # questions looked at together
IN_PIXELS = (  # kinds that have coordinates in the question or in what is scored
    "detect", "find", "ground", "refer", "segment", "ocr_regions",
    "name", "describe", "outline", "read", "regions", "propose",
)  # fmt: skip
DIGEST = 8  # letters of each part of a trail
AHEAD = 4  # batches whose images are opened together
SOON = 0.1  # seconds between looks for answers: reading and keeping one by one takes four times as long as many


@dataclass(slots=True)
class UnderWay:
    """A question whose image is open, and what has been written of each of its prompts."""

    ticket: Ticket
    question: Question
    size: Size
    trail: Trail  # its last part, the tokens written, once nothing is left
    pieces: list[list[locations.Item]]
    written: list[list[int]]  # the tokens of each
    left: int  # prompts that are not answered yet
    tokens: int = 0
    truncated: bool = False
    begun: float = math.inf
    seconds: float = 0.0
    batch: int = 1

    def answer(self, form: str) -> Answer:
        """Once nothing is left."""
        value = reading.read_answer(self.question, self.pieces, self.size, form)
        raw = tuple(map(locations.raw, self.pieces))
        trail = self.trail._replace(tokens_out=digest(self.written))
        return Answer(raw, value, self.tokens, self.truncated, self.seconds, self.batch, trail)


class Asked(NamedTuple):
    """One prompt of a question."""

    whole: UnderWay
    number: int


Chunk = list[tuple[ImageRef, list[tuple[Ticket, Question]]]]
Opened = tuple[Tensor, Size, str] | Failure  # its pixels as the network takes them, its size, the pixels' digest


@dataclass(frozen=True, slots=True)
class Parts:
    """What a checkpoint folder gives: the network, its tokenizer, its pixels, and the sha256 of its weights."""

    model: Florence2
    tokenizer: Tokenizer
    preprocess: Preprocess
    sha256: str


class Predictor:
    """A Model (see `core`): Florence-2 on one device.

    `root` is where image references are resolved; `batch` is the most answers written together, and shrinks where
    memory is short; `forms` are those of `prompts.choose`.  `watch`, where it is set, is called with a question's
    ticket, the number of its prompt and the tokens written to it.  UsageError where the decoding asks for more tokens
    than the checkpoint has positions for.
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
    ) -> None:
        room = parts.model.config.text.positions
        if decoding.max_new_tokens > room:
            raise UsageError(f"--max-new-tokens {decoding.max_new_tokens}: this checkpoint has positions for {room}")
        if batch < 1:
            raise UsageError(f"--batch-size {batch}: a batch has at least one answer")
        self.root = root
        self.decoding = decoding
        self.device = torch.device(device)
        self.dtype = dtype
        self.batch = batch
        self.forms = dict(forms or prompts.choose())
        self.tokenizer = parts.tokenizer
        self.preprocess = parts.preprocess
        self.sha256 = parts.sha256
        self.model = accelerated(parts.model, self.device, dtype)
        self.watch: Callable[[Ticket, int, Sequence[int]], None] | None = None
        self._engine: Engine[Asked] | None = None
        vision = self.model.config.vision
        self.room = room - vision.map_side(self.preprocess.height) * vision.map_side(self.preprocess.width) - 1

    @property
    def fingerprint(self) -> str:
        """Weights, precision, decoding, preprocessing, prompts other than the default, and `ANSWERS_VERSION`."""
        precision = str(self.dtype).removeprefix("torch.")
        asked = ":".join([f"{self.preprocess}", *self._other_forms(), f"v{ANSWERS_VERSION}"])
        return f"florence2:{self.sha256[:16]}:{precision}:{self.decoding.describe()}:{asked}"

    def _other_forms(self) -> list[str]:
        first = prompts.choose()
        return [prompts.name_of(kind, form) for kind, form in self.forms.items() if form != first[kind]]

    @property
    def provenance(self) -> dict[str, Any]:
        """Weights, precision, device and the batch size in use (smaller than asked for where memory was short)."""
        return {
            "weights sha256": self.sha256,
            "precision": str(self.dtype).removeprefix("torch."),
            "decoding": self.decoding.describe(),
            "input": f"{self.preprocess.width}x{self.preprocess.height}",
            "prompts": dict(self.forms),
            "device": _device_name(self.device),
            "threads": torch.get_num_threads(),
            "batch size": self.batch,
        }

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """Answers soon after they are settled; a Failure for every question about an image that cannot be used."""
        engine = self._idle_engine()
        chunks = self._chunks(questions, engine.group)
        pool = ThreadPoolExecutor(max(2, min(8, os.cpu_count() or 1)), "images")
        try:
            upcoming = _opening(next(chunks, None), self._open, pool)
            looked = time.perf_counter()
            while upcoming is not None or engine.busy:
                if upcoming is not None and len(engine.waiting) < engine.slots:
                    chunk, opened = upcoming
                    upcoming = _opening(next(chunks, None), self._open, pool)
                    yield from self._submit(engine, chunk, [future.result() for future in opened])
                try:
                    engine.step()
                except HarnessError:
                    for done in engine.poll():
                        yield from self._settle(done)
                    raise
                self.batch = engine.slots
                opening = upcoming is not None and len(engine.waiting) < engine.slots  # which may take long
                if engine.writing and not opening and time.perf_counter() - looked < SOON:
                    continue
                for done in engine.poll():
                    yield from self._settle(done)
                looked = time.perf_counter()
        finally:
            pool.shutdown(cancel_futures=True)

    def _chunks(self, questions: Iterable[tuple[Ticket, Question]], group: int) -> Iterator[Chunk]:
        """Images with their questions, as many as make a few batches, and whole groups of images."""
        stream = iter(questions)
        chunk: Chunk = []
        while window := list(islice(stream, WINDOW)):
            by_image: dict[ImageRef, list[tuple[Ticket, Question]]] = {}
            for ticket, question in window:
                by_image.setdefault(question.image, []).append((ticket, question))
            for item in by_image.items():
                chunk.append(item)
                enough = sum(len(asked) for _, asked in chunk) >= (AHEAD * self.batch if self.batch > 1 else 1)
                if enough and len(chunk) % group == 0:
                    yield chunk
                    chunk = []
        if chunk:
            yield chunk

    def _open(self, image: ImageRef) -> Opened:
        try:
            picture = open_rgb(self.root, image)
        except DataError as error:
            return Failure(str(error))
        pixels = self.preprocess.resize(picture)
        return pixels, Size(*picture.size), hashlib.sha256(pixels.numpy().data).hexdigest()[:DIGEST]

    def _idle_engine(self) -> Engine[Asked]:
        """The last one, which has its buffers, unless it was left in the middle of something."""
        if self._engine is None or self._engine.busy:
            self._engine = Engine(self.model, self.preprocess, self.decoding, slots=self.batch)
        return self._engine

    def _submit(
        self, engine: Engine[Asked], chunk: Chunk, opened: Sequence[Opened]
    ) -> Iterator[tuple[Ticket, Failure]]:
        """All that is asked of a chunk's images, to the engine; gives what cannot be asked."""
        asked: list[tuple[Asked, Picture, list[int]]] = []
        for (image, questions), found in zip(chunk, opened, strict=True):
            wrong = found.reason if isinstance(found, Failure) else _size_conflict(image, questions, found[1])
            if wrong or isinstance(found, Failure):
                yield from ((ticket, Failure(wrong)) for ticket, _ in questions)
                continue
            picture = Picture(found[0])
            for ticket, question in questions:
                try:
                    texts = prompts.prompts_of(question, self.forms[question.kind], found[1])
                except DataError as error:
                    yield ticket, Failure(str(error))
                    continue
                if not texts:
                    yield ticket, Failure(f"a {question.kind!r} question without phrases cannot be asked")
                    continue
                prompted = [self.tokenizer.encode(text) for text in texts]
                longest = max(map(len, prompted))
                if longest > self.room:
                    yield ticket, Failure(f"a prompt of {longest} tokens; this checkpoint has room for {self.room}")
                    continue
                trail = Trail(digest(texts), found[2], digest(prompted), "")
                pieces: list[list[locations.Item]] = [[] for _ in texts]
                whole = UnderWay(ticket, question, found[1], trail, pieces, [[] for _ in texts], len(texts))
                asked.extend((Asked(whole, number), picture, prompt) for number, prompt in enumerate(prompted))
        for one, picture, prompt in sorted(asked, key=lambda item: (item[0].whole.question.kind, len(item[2]))):
            engine.submit(one, picture, prompt)

    def _settle(self, done: Done[Asked]) -> Iterator[tuple[Ticket, Answer]]:
        """Puts an answer's tokens to its question; gives the question's answer once it is whole."""
        (whole, number), written = done.ticket, done.written
        whole.pieces[number] = self.tokenizer.items(written.tokens, written.log_probs)
        whole.written[number] = written.tokens
        if self.watch is not None:
            self.watch(whole.ticket, number, written.tokens)
        whole.tokens += len(written.tokens)
        whole.truncated |= written.truncated
        whole.begun = min(whole.begun, done.begun)
        whole.batch = max(whole.batch, done.batch)
        whole.left -= 1
        if not whole.left:
            whole.seconds = done.ended - whole.begun
            yield whole.ticket, whole.answer(self.forms[whole.question.kind])


def digest(said: Sequence[str] | Sequence[Sequence[int]]) -> str:
    """Of the texts, or the tokens, of all of a question's prompts."""
    return hashlib.sha256(repr(said).encode()).hexdigest()[:DIGEST]


def _device_name(device: torch.device) -> str:
    if device.type != "cuda":
        return str(device)
    return f"{torch.cuda.get_device_name(device)} (CUDA {torch.version.cuda})"


def _opening(
    chunk: Chunk | None, open_image: Callable[[ImageRef], Opened], pool: ThreadPoolExecutor
) -> tuple[Chunk, list[Future[Opened]]] | None:
    """A chunk with its images on their way."""
    return None if chunk is None else (chunk, [pool.submit(open_image, image) for image, _ in chunk])


def _size_conflict(image: ImageRef, questions: Sequence[tuple[Ticket, Question]], size: Size) -> str:
    """Why an image is not the one whose pixels were annotated; '' where nothing speaks against it."""
    for _, question in questions:
        if question.kind in IN_PIXELS and question.size is not None and question.size != size:
            stated = f"{question.size.width}x{question.size.height}"
            return f"the image {image} is {size.width}x{size.height}; its annotation says {stated}"
    return ""
