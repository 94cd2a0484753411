"""Triton's kernels versus plain torch in float64, on a GPU, or on a CPU through Triton's interpreter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2.fast import fused
from tests.rounding import EPS, assert_within

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
kernels = pytest.importorskip("harness.florence2.fast.kernels", reason="Triton is not installed")

# At the scale of the largest value.  Half precisions: 8 roundings to their 11 or 8 bits, for inputs, results and
# a norm that divides by a small deviation.  float32: sums of at most 72 products, each off by 72 eps of
# its absolute sum; 168 eps are 2e-5.
TOLERANCE = {torch.float32: 168 * EPS, torch.float16: 8 * 2.0**-11, torch.bfloat16: 8 * 2.0**-8}
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
MULTIPLIED = DTYPES if DEVICE == "cuda" else DTYPES[:2]  # the interpreter's `dot` treats bfloat16 as integers


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def assert_near(computed: Tensor, exact: Tensor, dtype: torch.dtype) -> None:
    scale = exact.abs().max().item()
    torch.testing.assert_close(computed.double(), exact, rtol=0, atol=TOLERANCE[dtype] * max(scale, 1.0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "windows"), [((8, 12), (0, 4)), ((8, 12), (4, 0)), ((5, 7), (0, 0)), ((1, 1), (0, 0))]
)
def test_convolve_add_norm_in_rows_and_windows_equals_plain_torch(
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
        for layer, (weight, offset) in ((conv, (conv_weight, conv_bias)), (norm, (gain, shift))):
            layer.double().load_state_dict({"weight": weight.double().cpu(), "bias": offset.double().cpu()})
        expected = fused.convolve_add_norm(
            x.to(dtype).double(), shape, conv, norm, bias.double().cpu(), window_in=window_in, window_out=window_out
        )
    assert_near(added.cpu(), expected[0], dtype)
    assert_near(normed.cpu(), expected[1], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_add_norm_equals_layer_norm_of_the_sum(dtype: torch.dtype) -> None:
    x, y, gain, shift = (torch.randn(*size).to(DEVICE, dtype) for size in ((3, 2, 40), (3, 2, 40), (40,), (40,)))
    normed = kernels.add_norm(x, y, (gain, shift, 1e-5))
    expected = F.layer_norm(x.double() + y.double(), (40,), gain.double(), shift.double(), 1e-5)
    assert_near(normed.cpu(), expected.cpu(), dtype)


@pytest.mark.parametrize("dtype", MULTIPLIED)
@pytest.mark.parametrize(("tokens", "groups"), [(100, 1), (1025, 2)])
def test_channel_products_of_one_and_of_several_chunks_are_products_over_all_tokens(
    dtype: torch.dtype, tokens: int, groups: int
) -> None:
    qkv = torch.randn(2, tokens, 3 * 24 * groups).to(DEVICE, dtype)
    products = kernels.channel_products(qkv, groups)
    assert products.dtype == torch.float32
    for image in range(2):
        for group in range(groups):
            query, key, _ = qkv[image].double().cpu().view(tokens, 3, groups, 24)[:, :, group].unbind(1)
            bound = tokens * EPS * (query.abs().T @ key.abs())  # as in `product_bound`
            assert_within(products[image, group].cpu(), query.T @ key, bound)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("plain", [False, True])
def test_attend_lineage_equals_attention_over_a_reordered_cache(dtype: torch.dtype, plain: bool) -> None:
    """The kernel, and plain torch, versus a loop over rows and heads; positions need no, one and several blocks."""
    slots, beams, heads, capacity, size = 3, 3, 2, 150, 8
    rows, positions = slots * beams, torch.tensor([0, 5, 140])
    keys, values = (torch.randn(rows, heads, capacity, size).to(dtype) for _ in range(2))
    lineage = torch.randint(0, beams, (slots, beams, capacity + 7))
    qkv = torch.randn(rows, 3 * heads * size).to(dtype)
    buffers = keys.to(DEVICE), values.to(DEVICE)
    attend: Any = fused.attend_lineage if plain else kernels.attend_lineage
    attended = attend(
        qkv.to(DEVICE), *buffers, lineage.to(DEVICE, torch.int32), positions.repeat_interleave(beams).to(DEVICE)
    ).cpu()
    for row in range(rows):
        slot, position = row // beams, int(positions[row // beams])
        writers = slot * beams + lineage[slot, row % beams, :position]
        q, k, v = qkv[row].double().view(3, heads, size)
        for head in range(heads):
            past = [
                torch.cat([buffer[writers, head, torch.arange(position)].double(), new[head][None]])
                for buffer, new in ((keys, k), (values, v))
            ]
            weights = (past[0] @ q[head] * size**-0.5).softmax(0)
            assert_near(attended[row].view(heads, size)[head], weights @ past[1], dtype)
            for buffer, new in zip(buffers, (k, v), strict=True):
                torch.testing.assert_close(buffer[row, head, position].double().cpu(), new[head], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_to_float8_equals_plain_torch_but_for_ties(dtype: torch.dtype) -> None:
    x = (torch.randn(6, 40) * torch.tensor([1e-3, 1.0, 50, 0, 1e4, 1])[:, None]).to(DEVICE, dtype)
    rounded, scale = kernels.to_float8(x)
    expected, expected_scale = fused.to_float8(x.cpu())
    torch.testing.assert_close(scale.cpu(), expected_scale)
    rounded, expected = rounded.cpu().float(), expected.float()
    same = rounded == expected
    if DEVICE == "cpu":  # the interpreter loses the carry of a number that is rounded up to a power of two
        same |= (expected.abs().log2() % 1 == 0) & (rounded == expected / 2)
    assert same.float().mean() > 0.98  # a tie may be rounded either way
    torch.testing.assert_close(rounded[same], expected[same], rtol=0.5, atol=0)


@pytest.mark.parametrize("words", [90, 5000])
def test_normalisers_and_candidates_of_one_and_of_several_programs_equal_plain_torch(words: int) -> None:
    """One row has equal best scores, another has banned words."""
    scores = (9 * torch.randn(5, words)).to(DEVICE)
    normalisers = kernels.normalisers(scores)
    torch.testing.assert_close(normalisers.double(), scores.double().logsumexp(-1), rtol=1e-6, atol=1e-5)
    scores[0, 7] = scores[0, 80] = 99.0
    scores[1, ::3] = -torch.inf
    best, token = kernels.candidates(scores, 6)
    assert best.shape == token.shape
    torch.testing.assert_close(scores.gather(1, token), best, rtol=0, atol=0)
    value, index = best.topk(6)
    expected, expected_words = scores.topk(6)
    torch.testing.assert_close(value, expected, rtol=0, atol=0)
    for row, (words_of_row, equal) in enumerate(
        zip(token.gather(1, index).tolist(), expected_words.tolist(), strict=True)
    ):
        assert set(words_of_row) == set(equal), row


@pytest.mark.parametrize("dtype", MULTIPLIED)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [3, 70, 1030])
def test_linear_gelu_equals_gelu_of_the_product(dtype: torch.dtype, bias: bool, rows: int) -> None:
    x, weight, shift = (torch.randn(*size).to(DEVICE, dtype) for size in ((1, rows, 72), (300, 72), (300,)))
    mapped = kernels.linear_gelu(x, weight * 0.2, shift if bias else None)
    expected = F.gelu(F.linear(x.double(), (weight * 0.2).double(), shift.double() if bias else None))
    assert mapped.shape == (1, rows, 300)
    assert_near(mapped.cpu(), expected.cpu(), dtype)
