"""Counted work against the dossier's arithmetic, and floors."""

from __future__ import annotations

import pytest
import torch

from harness.florence2.config import BASE, LARGE, Config
from harness.speed.ceilings import Ceilings, Work, counted, measured
from tests.twins import TINY


@pytest.mark.parametrize(("config", "vision", "decode"), [(BASE, 380.7e9, 0.190e9), (LARGE, 1490.4e9, 0.489e9)])
def test_operations_are_those_of_the_published_sizes(config: Config, vision: float, decode: float) -> None:
    """At 768 pixels; counted by torch over transformers' network (tower and projection; a token at place 50).

    Of a channel attention over T tokens in C channels, groups of D, transformers' multiplies T C (4 C + 2 D) times.
    Where T is at least 2 C, ours multiplies T C^2 times for the map and T C (C + 128) / 2 for a symmetric product, of
    which blocks of 128 rows begin at the diagonal, and, with a one beside the channels, (C + 1)^2 C for keys,
    C D (C + 1) for scores, C^2 D to fold and C^2 (C + 1) for the values; in the last stage it folds T C D away.
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


def test_operations_of_a_small_one_by_hand() -> None:
    """A token of every row: in each layer four maps of attention, two of cross attention and two of the feed-forward,
    attention over what is written and over the memory; then the vocabulary.  Two operations to a multiply-add."""
    batch, beams, prompt, written = 2, 3, 5, 40
    work = counted(TINY, batch=batch, beams=beams, side=96, prompt=prompt, written=written, size=4)
    rows, text = batch * beams, TINY.text
    maps = 4 * text.width**2 + 2 * text.width**2 + 2 * text.width * text.ffn
    memory = 1 + 3 * 3 + prompt  # the mean, nine cells of 32 pixels, and the prompt
    reads = 2 * text.width * (written // 2 + 1) + 2 * text.width * memory
    expected = 2 * rows * (text.decoder_layers * (maps + reads) + text.width * text.vocab)
    assert work["decode"].operations == expected
    again = counted(TINY, batch=2 * batch, beams=beams, side=96, prompt=prompt, written=written, size=4)
    assert again["vision"].operations == 2 * work["vision"].operations
    assert again["vision"].bytes < 2 * work["vision"].bytes  # weights are read once a batch


def test_pixels_come_as_bytes_and_are_numbers_afterwards() -> None:
    work = counted(TINY, batch=2, beams=1, side=96, prompt=5, written=40, size=2)["transfer"]
    pixels = 2 * 3 * 96 * 96
    assert (work.operations, work.sent, work.bytes) == (0, pixels, 3 * pixels)  # one byte read, two written
    assert work.floor(Ceilings(1.0, bytes=1e6, link=1e3)) == pixels / 1e3
    assert work.bound(Ceilings(1.0, bytes=1e6, link=1e3)) == "link"
    assert work.bound(Ceilings(1.0, bytes=1e3, link=1e6)) == "memory"
    assert work.floor(Ceilings(1.0, bytes=1e6)) == 3 * pixels / 1e6  # a CPU has them already


def test_a_floor_is_the_larger_of_two_times() -> None:
    ceilings = Ceilings(operations=100.0, bytes=10.0)
    assert Work(1000.0, 50.0).floor(ceilings) == 10.0
    assert Work(1000.0, 50.0).bound(ceilings) == "arithmetic"
    assert Work(100.0, 50.0).floor(ceilings) == 5.0
    assert Work(100.0, 50.0).bound(ceilings) == "memory"


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
def test_ceilings_are_measured(dtype: torch.dtype) -> None:
    found = measured(torch.device("cpu"), dtype)
    assert 1e8 < found.operations < 1e15
    assert 1e8 < found.bytes < 1e14
