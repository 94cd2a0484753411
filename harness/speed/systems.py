"""The systems that are measured: `Ours`, the engine, and `Peer`, transformers' `generate`, on one set of queries.

A set of queries is resized pixels and prompts as token ids, in memory.  Timing starts there, as in LoadGen.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.core import Question
from harness.errors import ResourceError, UsageError
from harness.florence2 import weights
from harness.florence2.config import Config
from harness.florence2.davit import Block
from harness.florence2.decoding.engine import Engine, ImageInput
from harness.florence2.decoding.search import Decoding
from harness.florence2.fast.quantised import Float8Linear, HalfLinear, Int8Linear
from harness.florence2.fast.settings import cuda
from harness.florence2.locations import BINS
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.florence2.start import initialise
from harness.florence2.tokenizer import PAD
from harness.speed.ceilings import synchronise

PEERS = ("transformers", "transformers-static", "transformers-compile")
RANDOM = "random"  # in place of a checkpoint: random weights, without a download


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The queries that `bench` needs from a model: `questions` of a task, or `images` random ones for random weights.

    `about` describes the set in records.  `new_tokens` is the exact length of every answer; None: the model decides.
    """

    questions: Sequence[Question] = ()
    images: int = 0
    about: str = ""
    new_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Queries:
    """For each query the pixels (height, width, 3) uint8 of an image and the token ids of a prompt.

    `about` describes the set in records.  `opening` opens and resizes the image of a query again.  `parsing` takes the
    ids of an answer, their log-probabilities and the query, and returns the value.
    """

    pixels: Sequence[Tensor]
    prompts: Sequence[Sequence[int]]
    about: str
    opening: Callable[[int], object] | None = None
    parsing: Callable[[Sequence[int], Sequence[float], int], object] | None = None

    def __len__(self) -> int:
        return len(self.prompts)


def drawn(count: int, side: int, vocabulary: int, seed: int = 0, length: int = 10) -> Queries:
    """Returns random queries: images of noise with sides of `side` pixels, and prompts of `length` ids."""
    generator = torch.Generator().manual_seed(seed)
    pixels = [torch.randint(0, 256, (side, side, 3), generator=generator).byte() for _ in range(count)]
    end = min(vocabulary - 1, 50_000)
    prompts = torch.randint(4, end, (count, length - 2), generator=generator).tolist()
    return Queries(pixels, [[0, *prompt, 2] for prompt in prompts], f"{count} drawn")  # the set's name in records


@dataclass(frozen=True, slots=True)
class Subject:
    """The model that is measured, with its settings.

    `in_full` returns the same weights in full precision: a peer needs them where `model` has them in fewer bits.
    """

    model: Florence2
    preprocess: Preprocess
    decoding: Decoding
    batch: int
    sha256: str
    dtype: torch.dtype
    in_full: Callable[[], Florence2]

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.model.embedding.weight.device


def random_model(config: Config, seed: int = 0) -> Florence2:
    """Returns a network of that size with random weights, for measurements of speed without a checkpoint.

    The weights of convolutions are small, as trained ones are.  Each convolution is added to its own input, and with
    larger weights the many blocks of the tower would exceed the range of float16.
    """
    with weights.SkipInitialisation():
        model = Florence2(config).requires_grad_(False).eval()
    initialise(model, config.text.vocab - BINS, torch.Generator().manual_seed(seed))
    for block in model.modules():
        if isinstance(block, Block):
            block.conv1.weight.mul_(0.1)
            block.conv2.weight.mul_(0.1)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as after loading
    return model


class Ours:
    """The engine over a set of queries: a `scenarios.System`."""

    def __init__(
        self, model: Florence2, preprocess: Preprocess, decoding: Decoding, queries: Queries, slots: int
    ) -> None:
        self.queries = queries
        self.engine: Engine[int] = Engine(model, preprocess, decoding, slots=slots)
        self._finished = 0

    @property
    def busy(self) -> bool:
        """Whether a query waits, runs, or has an answer that was not polled."""
        return self.engine.busy

    def submit(self, ticket: int, query: int) -> None:
        """Adds a query; its image is encoded for it alone, also where two queries have the same image."""
        self.engine.submit(ticket, ImageInput(self.queries.pixels[query]), self.queries.prompts[query])

    def step(self) -> None:
        """Writes one token of every answer under way."""
        self.engine.step()

    def poll(self) -> list[tuple[int, list[int]]]:
        """Returns finished tickets with the token ids of their answers."""
        return [(done.ticket, done.generated.tokens) for done in self.engine.poll()]


class Peer:
    """transformers' Florence-2 with the same weights: a `scenarios.System` whose step is a whole batch.

    `mode` is one of PEERS: transformers' default, its static cache, or its static cache with a compiled forward.
    `network` is a result of `in_transformers` for the model, which is otherwise called here.  On a GPU a peer has the
    settings of the engine, except for cuDNN's attention: the first batch is answered with and without, and the faster
    way is kept.  Raises UsageError for another mode, ResourceError without transformers.
    """

    def __init__(
        self,
        mode: str,
        model: Florence2,
        preprocess: Preprocess,
        decoding: Decoding,
        queries: Queries,
        batch: int,
        network: Any = None,
    ) -> None:
        if mode not in PEERS:
            raise UsageError(f"--against {mode}: one of {', '.join(PEERS)}")
        self.name = mode
        self.preprocess, self.decoding, self.queries, self.batch = preprocess, decoding, queries, batch
        self.network = in_transformers(model) if network is None else network
        self.device, self.dtype = model.embedding.weight.device, model.vision.dtype
        self.more: dict[str, Any] = {} if mode == "transformers" else {"cache_implementation": "static"}
        if mode == "transformers-compile":
            self.network.forward = torch.compile(self.network.forward, mode="reduce-overhead", dynamic=False)
        vision = model.config.vision
        self.image_tokens = vision.map_side(preprocess.height) * vision.map_side(preprocess.width) + 1
        self.cudnn: bool | None = None  # whether cuDNN computes attention; None until the first batch on a GPU
        self._waiting: list[tuple[int, int]] = []
        self._done: list[tuple[int, list[int]]] = []

    @property
    def busy(self) -> bool:
        """Whether a query waits, or has an answer that was not polled."""
        return bool(self._waiting or self._done)

    def submit(self, ticket: int, query: int) -> None:
        """Adds a query to the end of the queue."""
        self._waiting.append((ticket, query))

    def poll(self) -> list[tuple[int, list[int]]]:
        """Returns answered tickets with the token ids of their answers."""
        done, self._done = self._done, []
        return done

    @torch.inference_mode()
    def step(self) -> None:
        """Answers the next batch of queries, from pixels to token ids."""
        taken, self._waiting = self._waiting[: self.batch], self._waiting[self.batch :]
        if not taken:
            return
        pixels = torch.stack([self.queries.pixels[query] for _, query in taken]).to(self.device)
        prompts = [self.queries.prompts[query] for _, query in taken]
        longest = max(map(len, prompts))
        image = [self.network.config.image_token_id] * self.image_tokens
        rows = [[*image, *prompt, *[PAD] * (longest - len(prompt))] for prompt in prompts]
        ids = torch.tensor(rows, device=self.device)
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        mask = (torch.arange(longest) < lengths[:, None]).to(self.device)
        mask = torch.cat([mask.new_ones(len(prompts), self.image_tokens), mask], 1).long()

        def generate() -> Tensor:
            written: Tensor = self.network.generate(
                input_ids=ids,
                attention_mask=mask,
                pixel_values=self.preprocess.normalise(pixels, self.dtype),
                do_sample=False,
                **_settings(self.decoding),
                **self.more,
            )
            return written

        with cuda(self.device):
            if self.cudnn is None and self.device.type == "cuda":
                self.cudnn = cudnn_is_quicker(generate, self.device)
            with attention_by_cudnn(bool(self.cudnn)):
                written = generate()
        for (ticket, _), row in zip(taken, written.tolist(), strict=True):
            self._done.append((ticket, _answer(row, self.decoding)))


@contextmanager
def attention_by_cudnn(enabled: bool) -> Iterator[None]:
    """Enables or disables cuDNN's attention on a GPU within the context, and restores the setting afterwards."""
    before = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    torch.backends.cuda.enable_cudnn_sdp(enabled)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


def cudnn_is_quicker(work: Callable[[], object], device: torch.device) -> bool:
    """Returns whether the work is faster with cuDNN's attention; each way is run twice, and the second run counts."""
    seconds = {}
    for enabled in (False, True):
        with attention_by_cudnn(enabled):
            work()
            synchronise(device)
            start = time.perf_counter()
            work()
            synchronise(device)
            seconds[enabled] = time.perf_counter() - start
    return seconds[True] < seconds[False]


def _settings(decoding: Decoding) -> dict[str, Any]:
    """Returns the arguments of `generate` for the same decoding."""
    settings: dict[str, Any] = {
        "num_beams": decoding.beams, "max_new_tokens": decoding.max_new_tokens,
        "no_repeat_ngram_size": decoding.no_repeat_ngram, "forced_bos_token_id": decoding.forced_first,
        "forced_eos_token_id": decoding.forced_last, "decoder_start_token_id": decoding.start,
        "eos_token_id": decoding.end, "pad_token_id": decoding.pad,
    }  # fmt: skip
    if decoding.min_new_tokens:
        settings["min_new_tokens"] = decoding.min_new_tokens
    if decoding.beams > 1:
        settings |= {"early_stopping": decoding.early_stopping, "length_penalty": decoding.length_penalty}
    return settings


def _answer(row: Sequence[int], decoding: Decoding) -> list[int]:
    """Returns the generated ids of a row, without its start token and its padding."""
    ids = list(row[1:])
    return ids[: ids.index(decoding.end) + 1] if decoding.end in ids else ids


def in_fewer_bits(model: Florence2) -> bool:
    """Returns whether some weights are kept in fewer bits, so that the model cannot be saved as a checkpoint."""
    return any(isinstance(part, Int8Linear | HalfLinear | Float8Linear) for part in model.modules())


def in_transformers(model: Florence2) -> Any:
    """Returns transformers' Florence-2 with the same weights, all in the precision of the vision tower.

    The weights are saved as a checkpoint in transformers' layout and loaded from there.  Raises ResourceError without
    transformers, and ValueError for a model that has weights in fewer bits (`in_fewer_bits`).
    """
    try:
        from transformers import Florence2ForConditionalGeneration
    except ImportError as error:
        raise ResourceError("--against transformers needs it installed: pip install transformers") from error
    dtype = model.vision.dtype
    with tempfile.TemporaryDirectory() as folder:
        weights.save(model, Path(folder), dtype=dtype)
        with no_progress_bar():
            loaded: Any = Florence2ForConditionalGeneration.from_pretrained(
                folder, dtype=dtype, output_loading_info=True
            )
    network, loading = loaded
    if loading["missing_keys"]:  # transformers fills them with random weights, and only warns
        raise ValueError(f"not all weights are the model's: {', '.join(sorted(loading['missing_keys'])[:3])} ...")
    return network.to(model.embedding.weight.device).eval()


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Keeps transformers from drawing its bar "Loading weights", within the context."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def rounds_of(
    sides: Mapping[str, Callable[[], Sequence[Sequence[int]]]],
    count: int,
    clock: Callable[[], float],
    go_on: Callable[[int], bool] = lambda done: True,
) -> tuple[dict[str, list[float]], dict[str, Sequence[Sequence[int]]]]:
    """Runs the sides in alternation; returns the seconds of each side per round, and the last answers of each.

    One round comes first that is not counted.  The order of the sides is reversed from round to round.  Before each
    counted round, `go_on` receives the number of counted rounds; False ends the comparison.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    answers: dict[str, Sequence[Sequence[int]]] = {}
    for number in range(-1, count):
        if number >= 0 and not go_on(number):
            break
        for name in list(sides)[:: 1 if number % 2 else -1]:
            start = clock()
            answers[name] = sides[name]()
            if number >= 0:
                times[name].append(clock() - start)
    return times, answers
