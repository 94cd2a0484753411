"""Questions to answers: the only file here that touches both pixels and strings.

Questions are pulled a window at a time and grouped by image, so that an image is encoded once for all that is asked
of it.  Images are decoded and resized ahead, in threads, while the network works; batches are formed of prompts of
like length.  A batch that does not fit in memory is halved and tried again, and that is said.  A question may take
several prompts (one for each category, say): it is answered once all of them are.

The time kept with an answer is that of the batches it was written in: encoding of their images (in full, also where
one was encoded for several batches), the prompts, and every token.  Decoding of files and resizing are not in it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from harness.core import Answer, Failure, ImageRef, Kind, Question, Size, Ticket
from harness.errors import DataError, ResourceError, UsageError
from harness.florence2 import locations, prompts
from harness.florence2.generate import Decoding, Written, generate
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.florence2.tokenizer import PAD, Tokenizer
from harness.images import open_rgb

WINDOW = 2048  # questions looked at together
IN_PIXELS = ("detect", "find", "ground", "refer", "segment", "ocr_regions")  # kinds that are marked by coordinates
AHEAD = 4  # batches whose images are encoded together
CODE = (
    "bart", "davit", "fusion", "generate", "linear", "locations", "model", "predictor", "preprocess", "prompts",
    "tokenizer",
)  # fmt: skip

log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class UnderWay:
    """A question whose image is open, and what has been written of each of its prompts."""

    ticket: Ticket
    question: Question
    size: Size
    place: int  # of its image in the chunk
    pieces: list[list[locations.Item]] = field(default_factory=list)
    left: int = 0
    tokens: int = 0
    truncated: bool = False
    seconds: float = 0.0
    batch: int = 1

    def answer(self, form: str) -> Answer:
        """Once nothing is left."""
        value = prompts.read_answer(self.question, self.pieces, self.size, form)
        raw = tuple(map(locations.raw, self.pieces))
        return Answer(raw, value, self.tokens, self.truncated, self.seconds, self.batch)


class Asked(NamedTuple):
    """One prompt of a question, as ids."""

    whole: UnderWay
    number: int
    prompt: list[int]


Chunk = list[tuple[ImageRef, list[tuple[Ticket, Question]]]]
Opened = tuple[Tensor, Size] | Failure


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
    memory is short; `forms` are those of `prompts.choose`.  UsageError where the decoding asks for more tokens than the
    checkpoint has positions for.
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
        self.model = parts.model.to(device=self.device, dtype=dtype)
        vision = self.model.config.vision
        self.room = room - vision.map_side(self.preprocess.height) * vision.map_side(self.preprocess.width) - 1

    @property
    def fingerprint(self) -> str:
        """Weights, precision, decoding, preprocessing, prompts other than the first, and a digest of the code."""
        precision = str(self.dtype).removeprefix("torch.")
        asked = ":".join([f"{self.preprocess}", *self._other_forms(), code_digest()])
        return f"florence2:{self.sha256[:16]}:{precision}:{self.decoding.describe()}:{asked}"

    def _other_forms(self) -> list[str]:
        first = prompts.choose()
        return [f"{kind}={form}" for kind, form in self.forms.items() if form != first[kind]]

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
        """Answers as their batches are done; a Failure for every question about an image that cannot be used."""
        chunks = self._chunks(questions)
        pool = ThreadPoolExecutor(max(2, min(8, os.cpu_count() or 1)), "images")
        try:
            upcoming = _opening(next(chunks, None), self._open, pool)
            while upcoming is not None:
                chunk, opened = upcoming
                upcoming = _opening(next(chunks, None), self._open, pool)
                yield from self._answer_chunk(chunk, [future.result() for future in opened])
        finally:
            pool.shutdown(cancel_futures=True)

    def _chunks(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[Chunk]:
        """Images with their questions, as many as make a few batches."""
        stream = iter(questions)
        while window := list(islice(stream, WINDOW)):
            by_image: dict[ImageRef, list[tuple[Ticket, Question]]] = {}
            for ticket, question in window:
                by_image.setdefault(question.image, []).append((ticket, question))
            chunk: Chunk = []
            for item in by_image.items():
                chunk.append(item)
                if sum(len(asked) for _, asked in chunk) >= (AHEAD * self.batch if self.batch > 1 else 1):
                    yield chunk
                    chunk = []
            if chunk:
                yield chunk

    def _open(self, image: ImageRef) -> Opened:
        try:
            picture = open_rgb(self.root, image)
        except DataError as error:
            return Failure(str(error))
        return self.preprocess.resize(picture), Size(*picture.size)

    def _answer_chunk(self, chunk: Chunk, opened: Sequence[Opened]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        pixels: list[Tensor] = []
        asked: list[Asked] = []
        for (image, questions), found in zip(chunk, opened, strict=True):
            wrong = found.reason if isinstance(found, Failure) else _size_conflict(image, questions, found[1])
            if wrong or isinstance(found, Failure):
                yield from ((ticket, Failure(wrong)) for ticket, _ in questions)
                continue
            for ticket, question in questions:
                whole = UnderWay(ticket, question, found[1], len(pixels))
                texts = prompts.prompts_of(question, self.forms[question.kind])
                if not texts:
                    yield ticket, Failure(f"a {question.kind!r} question without phrases cannot be asked")
                    continue
                prompted = [self.tokenizer.encode(text) for text in texts]
                longest = max(map(len, prompted))
                if longest > self.room:
                    yield ticket, Failure(f"a prompt of {longest} tokens; this checkpoint has room for {self.room}")
                    continue
                whole.pieces, whole.left = [[] for _ in texts], len(texts)
                asked.extend(Asked(whole, number, prompt) for number, prompt in enumerate(prompted))
            pixels.append(found[0])
        if not asked:
            return
        start = time.perf_counter()
        images = torch.cat([tokens for _, tokens in self._in_batches(self._look, pixels)])
        self._synchronise()
        looking = (time.perf_counter() - start) / len(pixels)

        asked.sort(key=lambda one: (one.whole.question.kind, len(one.prompt)))
        start = time.perf_counter()
        for batch, written in self._in_batches(lambda batch: self._write(images, batch), asked):
            seconds = time.perf_counter() - start + looking * len({one.whole.place for one in batch})
            for whole in {id(one.whole): one.whole for one in batch}.values():
                whole.seconds += seconds
                whole.batch = max(whole.batch, len(batch))
            for row, one in enumerate(batch):
                whole = one.whole
                ids, log_probs = written.row(row)
                whole.pieces[one.number] = self.tokenizer.items(ids, log_probs)
                whole.tokens += len(ids)
                whole.truncated |= bool(written.truncated[row])
                whole.left -= 1
                if not whole.left:
                    yield whole.ticket, whole.answer(self.forms[whole.question.kind])
            start = time.perf_counter()

    @torch.inference_mode()
    def _look(self, pixels: Sequence[Tensor]) -> Tensor:
        batch = torch.stack(list(pixels)).to(self.device)
        return self.model.look(self.preprocess.normalise(batch, self.dtype))

    @torch.inference_mode()
    def _write(self, images: Tensor, batch: Sequence[Asked]) -> Written:
        longest = max(len(one.prompt) for one in batch)
        ids = torch.tensor([one.prompt + [PAD] * (longest - len(one.prompt)) for one in batch], device=self.device)
        lengths = torch.tensor([len(one.prompt) for one in batch], device=self.device)
        real = torch.arange(longest, device=self.device) < lengths[:, None]
        places = torch.tensor([one.whole.place for one in batch], device=self.device)
        memory = self.model.read(images[places], ids, None if bool(real.all()) else real)
        return generate(self.model, memory, self.decoding).cpu()

    def _in_batches(self, work: Callable[[Sequence[T]], R], items: Sequence[T]) -> Iterator[tuple[Sequence[T], R]]:
        """`work` on batches of at most `self.batch` items; ResourceError where a single one does not fit in memory."""
        start = 0
        while start < len(items):
            part = items[start : start + self.batch]
            try:
                result = work(part)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                self._halve(len(part), error)
                continue
            yield part, result
            start += len(part)

    def _halve(self, tried: int, error: BaseException) -> None:
        if tried == 1:
            raise ResourceError(
                f"one answer does not fit in the memory of {self.device}; try --dtype float16, fewer --beams or fewer "
                "--max-new-tokens"
            ) from error
        self.batch = tried // 2
        log.warning("a batch of %d does not fit in the memory of %s: going on with %d", tried, self.device, self.batch)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def code_digest() -> str:
    """Of the files that an answer depends on, in twelve letters."""
    here = Path(__file__).parent
    whole = hashlib.sha256((here.parent / "images.py").read_bytes())
    for name in CODE:
        whole.update((here / f"{name}.py").read_bytes())
    return whole.hexdigest()[:12]


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


def _is_out_of_memory(error: BaseException) -> bool:
    """torch raises a plain RuntimeError where the CPU's memory ends."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)
