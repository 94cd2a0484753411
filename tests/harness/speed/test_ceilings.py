"""Counted work against arithmetic by hand and against counts of transformers' network, and floors."""

from __future__ import annotations

import pytest
import torch

from harness.florence2.config import BASE, LARGE, Config
from harness.speed.ceilings import Ceilings, Work, counted, measured
from tests.twins import TINY


@pytest.mark.parametrize(("config", "vision", "decode"), [(BASE, 380.7e9, 0.190e9), (LARGE, 1490.4e9, 0.489e9)])
def test_counted_operations_of_published_sizes_match_transformers(config: Config, vision: float, decode: float) -> None:
    """At 768 pixels.  The expected values are torch's counts over transformers' network: tower and projection, and a
    token at position 50.

    A channel attention over T tokens in C channels, in groups of D, takes T C (4 C + 2 D) multiply-adds in
    transformers.  Ours, where T is at least 2 C, takes T C^2 for the map and T C (C + 128) / 2 for a symmetric product,
    whose blocks of 128 rows start at the diagonal.  With a constant appended to the channels, ours also takes
    (C + 1)^2 C for keys, C D (C + 1) for scores, C^2 D for folding and C^2 (C + 1) for values.  In the last stage, ours
    takes C^2 D for folding in place of T C D.
    """
    work = counted(config, batch=1, beams=1, side=768, prompt=13, written=100, size=2)
    saved = 0
    for dim, groups, depth, side in zip(
        config.vision.dims, config.vision.groups, config.vision.depths, (192, 96, 48, 24), strict=True
    ):
        tokens, each = side**2, dim // groups
        if tokens < 2 * dim:
            saved += depth * (tokens * dim * each - dim**2 * each)
            continue
        ours = tokens * dim**2 + tokens * dim * (dim + 128) / 2
        ours += (dim + 1) ** 2 * dim + dim * each * (dim + 1) + dim**2 * each + dim**2 * (dim + 1)
        saved += depth * (tokens * dim * (4 * dim + 2 * each) - ours)
    assert work["vision"].operations == pytest.approx(vision - 2 * saved, rel=0.0005)
    assert work["decode"].operations == pytest.approx(decode, rel=0.005)


def test_counted_operations_of_tiny_network_match_arithmetic() -> None:
    """One token per row.  A layer has four linear maps of self-attention, two of cross attention and two of the
    feed-forward, and attention over the tokens written so far and over the memory.  The vocabulary follows.  A
    multiply-add is two operations."""
    batch, beams, prompt, written = 2, 3, 5, 40
    work = counted(TINY, batch=batch, beams=beams, side=96, prompt=prompt, written=written, size=4)
    rows, text = batch * beams, TINY.text
    maps = 4 * text.width**2 + 2 * text.width**2 + 2 * text.width * text.ffn
    memory = 1 + 3 * 3 + prompt  # the mean token, 3 x 3 cells of 32 pixels, and the prompt
    reads = 2 * text.width * (written // 2 + 1) + 2 * text.width * memory
    expected = 2 * rows * (text.decoder_layers * (maps + reads) + text.width * text.vocab)
    assert work["decode"].operations == expected
    again = counted(TINY, batch=2 * batch, beams=beams, side=96, prompt=prompt, written=written, size=4)
    assert again["vision"].operations == 2 * work["vision"].operations
    assert again["vision"].bytes < 2 * work["vision"].bytes  # weights are read once a batch


def test_counted_transfer_reads_bytes_and_writes_numbers() -> None:
    work = counted(TINY, batch=2, beams=1, side=96, prompt=5, written=40, size=2)["transfer"]
    pixels = 2 * 3 * 96 * 96
    assert (work.operations, work.sent, work.bytes) == (0, pixels, 3 * pixels)  # one byte read, two written
    assert work.floor(Ceilings(1.0, bytes=1e6, link=1e3)) == pixels / 1e3
    assert work.bound(Ceilings(1.0, bytes=1e6, link=1e3)) == "link"
    assert work.bound(Ceilings(1.0, bytes=1e3, link=1e6)) == "memory"
    assert work.floor(Ceilings(1.0, bytes=1e6)) == 3 * pixels / 1e6  # a CPU has no link


def test_floor_is_largest_of_times() -> None:
    ceilings = Ceilings(operations=100.0, bytes=10.0)
    assert Work(1000.0, 50.0).floor(ceilings) == 10.0
    assert Work(1000.0, 50.0).bound(ceilings) == "arithmetic"
    assert Work(100.0, 50.0).floor(ceilings) == 5.0
    assert Work(100.0, 50.0).bound(ceilings) == "memory"


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
def test_measured_ceilings_are_plausible(dtype: torch.dtype) -> None:
    ceilings = measured(torch.device("cpu"), dtype)
    assert 1e8 < ceilings.operations < 1e15
    assert 1e8 < ceilings.bytes < 1e14


def test_counted_bytes_of_the_map_to_the_vocabulary_follow_from_its_own_size() -> None:
    size = {"batch": 1, "beams": 1, "side": 96, "prompt": 4, "written": 8, "size": 4}
    halved = counted(TINY, **size, writing_size=2)
    rounded = counted(TINY, **size, writing_size=2, words_size=1)
    for stage in ("prefill", "decode"):
        assert halved[stage].bytes - rounded[stage].bytes == TINY.text.vocab * TINY.text.width
    assert halved["encoder"] == rounded["encoder"]
