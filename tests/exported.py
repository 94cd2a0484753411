"""A small network with random weights, its exported graphs, and the answers that transformers writes with it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import cache
from itertools import zip_longest
from pathlib import Path

import pytest
import torch

from harness.florence2.decoding.search import Decoding
from harness.florence2.exported.graphs import export
from harness.florence2.exported.network import Exported
from harness.florence2.exported.runtimes import Settings, load
from harness.florence2.preprocess import Preprocess
from harness.speed.scenarios import ask
from harness.speed.systems import Ours, Queries
from tests.twins import TINY, Twins, twins, with_image_tokens

SMALL = replace(
    TINY,
    vision=replace(TINY.vision, depths=(1, 1, 1, 1)),
    text=replace(TINY.text, encoder_layers=1),
)
SIDE = SMALL.image_size
PREPROCESS = Preprocess(SIDE, SIDE)
LENGTHS = (7, 4, 9, 5, 7)  # of the prompts, in tokens
NEW_TOKENS = 40
RUNTIMES = ("onnxruntime", "openvino")  # those that read exported files
_kept: list[tempfile.TemporaryDirectory[str]] = []  # deleted at the end of the process


@cache
def small() -> Twins:
    """The network in transformers and here; some answers end early."""
    return twins(SMALL, seed=2, ending=5.0)


@cache
def folder() -> Path:
    """The folder with the exported graphs of `small`; skips the test where a package is missing."""
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    _kept.append(tempfile.TemporaryDirectory(prefix="exported-"))
    path = Path(_kept[-1].name)
    export(small().ours, SIDE, SIDE, path)
    return path


def network(settings: Settings) -> Exported:
    """`small` in a runtime; skips the test where it is not installed."""
    if settings.runtime in RUNTIMES:
        pytest.importorskip(settings.runtime)
        return Exported(SMALL, load(None, folder(), settings), settings)
    return Exported(SMALL, load(small().ours, Path(), settings), settings)


@cache
def queries() -> Queries:
    """Random images, and prompts of different lengths."""
    generator = torch.Generator().manual_seed(0)
    pixels = [torch.randint(0, 256, (SIDE, SIDE, 3), generator=generator).byte() for _ in LENGTHS]
    prompts = [torch.randint(4, SMALL.text.vocab, (length,), generator=generator).tolist() for length in LENGTHS]
    return Queries(pixels, prompts, "random")


@cache
def by_transformers(beams: int) -> list[list[int]]:
    """The ids that transformers' `generate` writes for each query alone."""
    decoding, answers = Decoding(), []
    for pixels, prompt in zip(queries().pixels, queries().prompts, strict=True):
        ids = torch.tensor([prompt])
        places, mask = with_image_tokens(small(), ids, torch.ones_like(ids, dtype=torch.bool), SMALL.image_tokens)
        written = small().reference.generate(
            input_ids=places, attention_mask=mask, pixel_values=PREPROCESS.normalise(pixels[None]), num_beams=beams,
            max_new_tokens=NEW_TOKENS, do_sample=False, no_repeat_ngram_size=decoding.no_repeat_ngram,
            forced_bos_token_id=0, forced_eos_token_id=2, decoder_start_token_id=2, eos_token_id=2, pad_token_id=1,
            **({"early_stopping": True} if beams > 1 else {}),
        )  # fmt: skip
        answers.append(written[0, 1:].tolist())
    return answers


def tokens_in_common(model: Exported) -> float:
    """The share of the places of transformers' answers, with 3 beams, at which `model` writes the same token."""
    system = Ours(model, PREPROCESS, Decoding(max_new_tokens=NEW_TOKENS), queries(), 2)
    answers = ask(system, range(len(LENGTHS)))
    pairs = [
        (one, other)
        for expected, answer in zip(by_transformers(3), answers, strict=True)
        for one, other in zip_longest(expected, answer)
    ]
    return sum(one == other for one, other in pairs) / len(pairs)
