"""What is measured: ours, and what people would use instead, answering the same set of queries.

A set is resized pixels and prompts as ids, in memory; that is where LoadGen's clock begins, too.  `Ours` is the engine.
A `Peer` answers a batch at a time, as transformers' `generate` does, and waits for nothing.
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
from harness.florence2.decoding.engine import Engine, Picture
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
RANDOM = "random"  # in place of a checkpoint: random weights, which need no download


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What `bench` asks a model's hook for: these questions, or so many random queries for random weights.

    `new_tokens` is the exact length of every answer; None leaves it to the model.
    """

    questions: Sequence[Question] = ()
    images: int = 0
    about: str = ""
    new_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Queries:
    """Pixels (height, width, 3) uint8 and the ids of a prompt about them, and what they are, for records."""

    pixels: Sequence[Tensor]
    prompts: Sequence[Sequence[int]]
    about: str
    opening: Callable[[int], object] | None = None  # opens and resizes the picture of a query anew
    parsing: Callable[[Sequence[int], Sequence[float], int], object] | None = (
        None  # reads ids, as the answer to a query
    )

    def __len__(self) -> int:
        return len(self.prompts)


def drawn(count: int, side: int, vocabulary: int, seed: int = 0, length: int = 10) -> Queries:
    """Noise and random prompts of ten ids: for random weights, to which no picture means anything."""
    draw = torch.Generator().manual_seed(seed)
    pixels = [torch.randint(0, 256, (side, side, 3), generator=draw).byte() for _ in range(count)]
    most = min(vocabulary - 1, 50_000)
    prompts = torch.randint(4, most, (count, length - 2), generator=draw).tolist()
    return Queries(pixels, [[0, *prompt, 2] for prompt in prompts], f"{count} drawn")


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured, and how to have the same weights in full for a peer, where here they are in eight bits."""

    model: Florence2
    preprocess: Preprocess
    decoding: Decoding
    batch: int
    sha256: str
    dtype: torch.dtype
    in_full: Callable[[], Florence2]

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.model.embedding.weight.device


def random_model(config: Config, seed: int = 0) -> Florence2:
    """A network of that size with drawn weights, which say nothing: for speed where there is no checkpoint.

    Its convolutions are drawn small, as trained ones are: added to the map that they are of, a hundred times over, they
    would take it past what float16 has numbers for.
    """
    with weights.Unfilled():
        model = Florence2(config).requires_grad_(False).eval()
    initialise(model, config.text.vocab - BINS, torch.Generator().manual_seed(seed))
    for block in model.modules():
        if isinstance(block, Block):
            block.conv1.weight.mul_(0.1)
            block.conv2.weight.mul_(0.1)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as one that is loaded
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
        """Whether anything waits, is under way, or was not polled."""
        return self.engine.busy

    def submit(self, ticket: int, query: int) -> None:
        """Each query is shown its picture anew: no work is saved between two that are of one image."""
        self.engine.submit(ticket, Picture(self.queries.pixels[query]), self.queries.prompts[query])

    def step(self) -> None:
        """A token for everything that is under way."""
        self.engine.step()

    def poll(self) -> list[tuple[int, list[int]]]:
        """What has been settled."""
        return [(done.ticket, done.written.tokens) for done in self.engine.poll()]


class Peer:
    """transformers' Florence-2 of the same weights: a `scenarios.System` whose step is a whole batch.

    `mode` is one of PEERS: as it comes; with a static cache; and with its forward compiled as well.  `network` is what
    `in_transformers` made of the model, where that is at hand.  On a GPU it works under the engine's settings, but for
    cuDNN's attention: the first batch is answered with it and without, and the faster of the two is kept.
    UsageError for another mode, ResourceError where transformers is not installed.
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
        self.cudnn: bool | None = None  # whether attention is by cuDNN, once it is known which is quicker
        self._waiting: list[tuple[int, int]] = []
        self._done: list[tuple[int, list[int]]] = []

    @property
    def busy(self) -> bool:
        """Whether anything waits, or was not polled."""
        return bool(self._waiting or self._done)

    def submit(self, ticket: int, query: int) -> None:
        """Puts a query behind those that wait."""
        self._waiting.append((ticket, query))

    def poll(self) -> list[tuple[int, list[int]]]:
        """What has been answered."""
        done, self._done = self._done, []
        return done

    @torch.inference_mode()
    def step(self) -> None:
        """A batch, from pixels to ids."""
        taken, self._waiting = self._waiting[: self.batch], self._waiting[self.batch :]
        if not taken:
            return
        pixels = torch.stack([self.queries.pixels[query] for _, query in taken]).to(self.device)
        asked = [self.queries.prompts[query] for _, query in taken]
        longest = max(map(len, asked))
        image = [self.network.config.image_token_id] * self.image_tokens
        ids = torch.tensor([[*image, *one, *[PAD] * (longest - len(one))] for one in asked], device=self.device)
        mask = (torch.arange(longest) < torch.tensor([len(one) for one in asked])[:, None]).to(self.device)
        mask = torch.cat([mask.new_ones(len(asked), self.image_tokens), mask], 1).long()

        def answered() -> Tensor:
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
                self.cudnn = cudnn_is_quicker(answered, self.device)
            with attention_by_cudnn(bool(self.cudnn)):
                written = answered()
        for (ticket, _), row in zip(taken, written.tolist(), strict=True):
            self._done.append((ticket, _answer(row, self.decoding)))


@contextmanager
def attention_by_cudnn(wanted: bool) -> Iterator[None]:
    """With cuDNN among what attention is computed by on a GPU, or without."""
    before = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    torch.backends.cuda.enable_cudnn_sdp(wanted)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


def cudnn_is_quicker(work: Callable[[], object], device: torch.device) -> bool:
    """Whether the work is done sooner with cuDNN's attention, each way a second time."""
    seconds = {}
    for wanted in (False, True):
        with attention_by_cudnn(wanted):
            work()
            synchronise(device)
            start = time.perf_counter()
            work()
            synchronise(device)
            seconds[wanted] = time.perf_counter() - start
    return seconds[True] < seconds[False]


def _settings(decoding: Decoding) -> dict[str, Any]:
    """The same decoding, as `generate` takes it."""
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
    """The generated ids of a row, without its start token and what pads it."""
    known = list(row[1:])
    return known[: known.index(decoding.end) + 1] if decoding.end in known else known


def in_fewer_bits(model: Florence2) -> bool:
    """Whether some of its weights are not there as such, for a checkpoint."""
    return any(isinstance(part, Int8Linear | HalfLinear | Float8Linear) for part in model.modules())


def in_transformers(model: Florence2) -> Any:
    """The same weights in transformers' class, by way of a checkpoint in its layout; all in the tower's precision.

    ValueError where the model has not all weights as such (`in_fewer_bits`).
    """
    try:
        from transformers import Florence2ForConditionalGeneration
    except ImportError as error:
        raise ResourceError("--against transformers needs it installed: pip install transformers") from error
    dtype = model.vision.dtype
    with tempfile.TemporaryDirectory() as folder:
        weights.save(model, Path(folder), dtype=dtype)
        loaded: Any = Florence2ForConditionalGeneration.from_pretrained(folder, dtype=dtype, output_loading_info=True)
    network, loading = loaded
    if loading["missing_keys"]:  # which it would draw by itself
        raise ValueError(f"not all weights are the model's: {', '.join(sorted(loading['missing_keys'])[:3])} ...")
    return network.to(model.embedding.weight.device).eval()


def rounds_of(
    sides: Mapping[str, Callable[[], Sequence[Sequence[int]]]],
    count: int,
    clock: Callable[[], float],
    go_on: Callable[[int], bool] = lambda done: True,
) -> tuple[dict[str, list[float]], dict[str, Sequence[Sequence[int]]]]:
    """Seconds of each side in each round, after one that is not counted, and what each wrote last.

    Whoever was first in one round is last in the next.  `go_on` is asked before each that is counted, with how many
    were.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    wrote: dict[str, Sequence[Sequence[int]]] = {}
    for number in range(-1, count):
        if number >= 0 and not go_on(number):
            break
        for name in list(sides)[:: 1 if number % 2 else -1]:
            start = clock()
            wrote[name] = sides[name]()
            if number >= 0:
                times[name].append(clock() - start)
    return times, wrote
