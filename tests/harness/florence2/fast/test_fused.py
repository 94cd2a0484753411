"""Triton's kernels against plain torch in float64: on a GPU where there is one, else through Triton's interpreter."""

from __future__ import annotations

import copy
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2.davit import Block, ChannelAttention, WindowAttention
from harness.florence2.decoding.search import Beams, Decoding
from harness.florence2.fast import fused
from harness.florence2.fast.choose import FAST, in_forms

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
kernels = pytest.importorskip("harness.florence2.fast.kernels", reason="Triton is not installed")

TOLERANCE = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
MULTIPLIED = DTYPES if DEVICE == "cuda" else DTYPES[:2]  # the interpreter's `dot` takes bfloat16 for whole numbers


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    scale = expected.abs().max().item()
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=TOLERANCE[dtype] * max(scale, 1.0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "windows"), [((8, 12), (0, 4)), ((8, 12), (4, 0)), ((5, 7), (0, 0)), ((1, 1), (0, 0))]
)
def test_convolution_residual_and_norm_are_one_pass(
    dtype: torch.dtype, shape: tuple[int, int], windows: tuple[int, int]
) -> None:
    dim, (window_in, window_out) = 24, windows
    conv, norm = nn.Conv2d(dim, dim, 3, padding=1, groups=dim), nn.LayerNorm(dim)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    bias = torch.randn(dim)
    x = torch.randn(2, shape[0] * shape[1], dim)
    weights = [tensor.detach().to(DEVICE, dtype) for tensor in (conv.weight, conv.bias, norm.weight, norm.bias, bias)]
    conv_weight, conv_bias, gain, shift, bias = weights
    added, normed = kernels.convolve_add_norm(
        x.to(DEVICE, dtype), shape, (conv_weight, conv_bias), (gain, shift, norm.eps), bias, window_in, window_out
    )
    with torch.no_grad():
        for module, (weight, shifted) in ((conv, (conv_weight, conv_bias)), (norm, (gain, shift))):
            module.double().load_state_dict({"weight": weight.double().cpu(), "bias": shifted.double().cpu()})
        expected = fused.convolve_add_norm(
            x.to(dtype).double(), shape, conv, norm, bias.double().cpu(), window_in=window_in, window_out=window_out
        )
    close(added.cpu(), expected[0], dtype)
    close(normed.cpu(), expected[1], dtype)


def test_the_plain_map_in_windows_is_a_convolution_of_the_map_in_rows() -> None:
    """By a loop over tokens, each looked up where it lies."""
    height, width, side, dim = 4, 6, 2, 3
    conv, norm = nn.Conv2d(dim, dim, 3, padding=1, groups=dim).double(), nn.LayerNorm(dim).double()
    x = torch.randn(1, height * width, dim).double()
    rows = (
        conv(x.view(1, height, width, dim).permute(0, 3, 1, 2))[0] + x.view(height, width, dim).permute(2, 0, 1)
    ).permute(1, 2, 0)
    found, _ = fused.convolve_add_norm(x, (height, width), conv, norm, window_out=side)
    place = 0
    for top in range(0, height, side):
        for left in range(0, width, side):
            for row in range(top, top + side):
                for column in range(left, left + side):
                    torch.testing.assert_close(found[0, place], rows[row, column])
                    place += 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sum_and_its_norm(dtype: torch.dtype) -> None:
    x, y, gain, shift = (torch.randn(*size).to(DEVICE, dtype) for size in ((3, 2, 40), (3, 2, 40), (40,), (40,)))
    found = kernels.add_norm(x, y, (gain, shift, 1e-5))
    expected = F.layer_norm(x.double() + y.double(), (40,), gain.double(), shift.double(), 1e-5)
    close(found.cpu(), expected.cpu(), dtype)


@pytest.mark.parametrize("dtype", MULTIPLIED)
@pytest.mark.parametrize(("tokens", "groups"), [(100, 1), (1025, 2)])
def test_channel_products_are_summed_over_all_chunks(dtype: torch.dtype, tokens: int, groups: int) -> None:
    qkv = torch.randn(2, tokens, 3 * 24 * groups).to(DEVICE, dtype)
    found = kernels.channel_products(qkv, groups)
    assert found.dtype == torch.float32
    expected = fused.channel_products(qkv.double().cpu(), groups)
    for image in range(2):
        for group in range(groups):
            part = qkv[image].double().cpu().view(tokens, 3, groups, 24)[:, :, group]
            torch.testing.assert_close(expected[image, group], part[:, 0].T @ part[:, 1])
    close(found.cpu(), expected, torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("plain", [False, True])
def test_a_beam_reads_its_ancestors(dtype: torch.dtype, plain: bool) -> None:
    """Against attention over a cache that was really reordered, at places that differ and over several blocks."""
    slots, beams, heads, room, size = 3, 3, 2, 150, 8
    rows, places = slots * beams, torch.tensor([0, 5, 140])
    keys, values = (torch.randn(rows, heads, room, size).to(dtype) for _ in range(2))
    lineage = torch.randint(0, beams, (slots, beams, room + 7))
    qkv = torch.randn(rows, 3 * heads * size).to(dtype)
    mine = keys.to(DEVICE), values.to(DEVICE)
    attend: Any = fused.attend_lineage if plain else kernels.attend_lineage
    found = attend(
        qkv.to(DEVICE), *mine, lineage.to(DEVICE, torch.int32), places.repeat_interleave(beams).to(DEVICE)
    ).cpu()
    for row in range(rows):
        slot, place = row // beams, int(places[row // beams])
        writers = slot * beams + lineage[slot, row % beams, :place]
        q, k, v = qkv[row].double().view(3, heads, size)
        for head in range(heads):
            past = [
                torch.cat([buffer[writers, head, torch.arange(place)].double(), new[head][None]])
                for buffer, new in ((keys, k), (values, v))
            ]
            share = (past[0] @ q[head] * size**-0.5).softmax(0)
            close(found[row].view(heads, size)[head], share @ past[1], dtype)
            for buffer, new in zip(mine, (k, v), strict=True):
                torch.testing.assert_close(buffer[row, head, place].double().cpu(), new[head])


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_in_eight_bits(dtype: torch.dtype) -> None:
    x = (torch.randn(6, 40) * torch.tensor([1e-3, 1.0, 50, 0, 1e4, 1])[:, None]).to(DEVICE, dtype)
    found, scale = kernels.to_float8(x)
    expected, expected_scale = fused.to_float8(x.cpu())
    torch.testing.assert_close(scale.cpu(), expected_scale)
    found, expected = found.cpu().float(), expected.float()
    same = found == expected
    if DEVICE == "cpu":  # the interpreter loses the carry where a number is rounded up to a power of two
        same |= (expected.abs().log2() % 1 == 0) & (found == expected / 2)
    assert same.float().mean() > 0.98  # a tie may fall either way
    torch.testing.assert_close(found[same], expected[same], rtol=0.5, atol=0)


@pytest.mark.parametrize("words", [90, 5000])
def test_normalisers_and_the_best_of_a_row(words: int) -> None:
    """Of few words, and of several programs' worth, two of which are as good as each other and some banned."""
    scores = (9 * torch.randn(5, words)).to(DEVICE)
    found = kernels.normalisers(scores)
    torch.testing.assert_close(found.double(), scores.double().logsumexp(-1), rtol=1e-6, atol=1e-5)
    scores[0, 7] = scores[0, 80] = 99.0
    scores[1, ::3] = -torch.inf
    best, token = kernels.candidates(scores, 6)
    assert best.shape == token.shape
    torch.testing.assert_close(scores.gather(1, token), best, rtol=0, atol=0)
    value, place = best.topk(6)
    expected, word = scores.topk(6)
    torch.testing.assert_close(value, expected, rtol=0, atol=0)
    for row, (mine, theirs) in enumerate(zip(token.gather(1, place).tolist(), word.tolist(), strict=True)):
        assert set(mine) == set(theirs), row


@pytest.mark.parametrize("dtype", MULTIPLIED)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [3, 70, 1030])
def test_a_product_with_gelu_inside(dtype: torch.dtype, bias: bool, rows: int) -> None:
    x, weight, shift = (torch.randn(*size).to(DEVICE, dtype) for size in ((1, rows, 72), (300, 72), (300,)))
    found = kernels.linear_gelu(x, weight * 0.2, shift if bias else None)
    expected = F.gelu(F.linear(x.double(), (weight * 0.2).double(), shift.double() if bias else None))
    assert found.shape == (1, rows, 300)
    close(found.cpu(), expected.cpu(), dtype)


@pytest.mark.parametrize("longest", [9, 11])
def test_the_best_of_beams_by_kernels_are_those_of_plain_torch(longest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With repeats to ban, an end that may not come yet, and (of 12 tokens, where 11 are known) the last place."""
    decoding = Decoding(max_new_tokens=11, min_new_tokens=10, no_repeat_ngram=2)
    search = Beams(decoding, 4, torch.device(DEVICE))
    search.scores.copy_(-torch.rand(4, 3))
    running = torch.randint(4, 7, (12, longest), device=DEVICE)  # of three words, so that they repeat themselves
    current = torch.tensor([longest, 5, longest, 2], device=DEVICE).repeat_interleave(3)
    logits = 3 * torch.randn(12, 2500, device=DEVICE)
    logits[:, 4:7] += 20
    monkeypatch.setattr(fused, "usable", lambda x: False)
    plain = search._best(logits.clone(), running, current, longest)
    monkeypatch.setattr(fused, "usable", lambda x: True)
    found = search._best(logits.clone(), running, current, longest)
    finite = plain[0] > -1e30
    assert finite.sum() == (24 if longest < 11 else 18)  # in a slot at its last place each beam can go on in one way
    torch.testing.assert_close(found[0], plain[0], rtol=1e-5, atol=1e-4)
    for mine, theirs in zip(found[1:], plain[1:], strict=True):
        assert torch.equal(mine[finite], theirs[finite])


@pytest.mark.parametrize("shape", [(8, 12), (6, 7)])
@pytest.mark.parametrize("kind", ["windows", "channels"])
def test_a_block_in_passes_is_the_block(shape: tuple[int, int], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps that are whole windows and maps that are not; the kernels in their places."""
    attention = WindowAttention(24, 2, 4) if kind == "windows" else ChannelAttention(24, 2)
    plain = Block(24, 4, attention).to(DEVICE)
    for parameter in plain.parameters():
        nn.init.normal_(parameter, std=0.3)
    block: Any = in_forms(copy.deepcopy(plain), FAST)
    x = torch.randn(2, *shape, 24, device=DEVICE)
    with torch.inference_mode():
        monkeypatch.setattr(fused, "usable", lambda x: False)
        expected = plain(x)
        by_torch = block.in_passes(x.clone())
        monkeypatch.setattr(fused, "usable", lambda x: True)
        calls = []
        for name in ("convolve_add_norm", "channel_products"):
            kernel = getattr(kernels, name)
            monkeypatch.setattr(kernels, name, lambda *given, kernel=kernel: (calls.append(kernel), kernel(*given))[1])
        found = block(x.clone())
    torch.testing.assert_close(by_torch, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert len(calls) == (2 if kind == "windows" else 3)


def test_triton_that_does_not_work_is_said_and_done_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A compiler that is missing, say: found by trying once, not in the middle of an answer."""
    ones = torch.ones(16)

    def fails(*_: object) -> Tensor:
        raise RuntimeError("no C compiler\nwas found")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", lambda *_, **__: ones)
    monkeypatch.setattr(kernels, "add_norm", lambda *_: ones)
    chosen = fused._kernels.__wrapped__
    assert chosen() is kernels
    monkeypatch.setattr(kernels, "add_norm", fails)
    assert chosen() is None
    [told] = caplog.messages
    assert told == "Triton is installed and does not work here (no C compiler): going on in plain torch"
    monkeypatch.setitem(sys.modules, "harness.florence2.fast.kernels", None)  # as where it is not installed
    monkeypatch.delattr("harness.florence2.fast.kernels")
    assert chosen() is None
    assert len(caplog.messages) == 1
