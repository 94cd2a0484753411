"""The plain forms of fused operations versus slow loops, and the choice between kernels and plain torch."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from harness.florence2.fast import fused
from harness.florence2.fast.fused import PIECE, gelu_
from tests.rounding import assert_within, gelu_bound


def test_plain_convolve_add_norm_in_windows_has_the_tokens_of_the_map_in_rows() -> None:
    """In a loop over windows and their tokens."""
    torch.manual_seed(0)
    height, width, side, dim = 4, 6, 2, 3
    conv, norm = nn.Conv2d(dim, dim, 3, padding=1, groups=dim).double(), nn.LayerNorm(dim).double()
    x = torch.randn(1, height * width, dim).double()
    rows = (
        conv(x.view(1, height, width, dim).permute(0, 3, 1, 2))[0] + x.view(height, width, dim).permute(2, 0, 1)
    ).permute(1, 2, 0)
    added, _ = fused.convolve_add_norm(x, (height, width), conv, norm, window_out=side)
    index = 0
    for top in range(0, height, side):
        for left in range(0, width, side):
            for row in range(top, top + side):
                for column in range(left, left + side):
                    torch.testing.assert_close(added[0, index], rows[row, column])
                    index += 1


def test_plain_channel_products_equal_a_loop_over_tokens() -> None:
    torch.manual_seed(0)
    tokens, groups, size = 7, 2, 3
    qkv = torch.randn(2, tokens, 3 * groups * size).double()
    products = fused.channel_products(qkv, groups)
    for image in range(2):
        for group in range(groups):
            expected = torch.zeros(size, size).double()
            for token in range(tokens):
                query, key, _ = qkv[image, token].view(3, groups, size)[:, group]
                expected += query[:, None] * key[None]
            torch.testing.assert_close(products[image, group], expected)


def test_plain_to_float8_rounds_to_the_nearest_number_at_the_scale_of_the_row() -> None:
    """Every e4m3 number is 1.xxx in binary times a power of two, or a multiple of 2 ** -9; the largest is 448."""
    numbers = {0.0} | {k * 2.0**-9 for k in range(1, 8)}
    numbers |= {(1 + k / 8) * 2.0**power for k in range(8) for power in range(-6, 9)} - {480.0}
    known = torch.tensor(sorted(numbers | {-number for number in numbers}))
    torch.manual_seed(0)
    x = torch.randn(4, 50) * torch.tensor([1e-3, 1.0, 50, 1e4])[:, None]
    rounded, scale = fused.to_float8(x)
    torch.testing.assert_close(scale, x.abs().amax(1, keepdim=True) / 448)
    scaled = x / scale
    distance = (scaled[..., None] - known).abs().amin(-1)
    torch.testing.assert_close((rounded.float() - scaled).abs(), distance, rtol=1e-5, atol=1e-6)
    zeros, _ = fused.to_float8(torch.zeros(2, 50))
    assert not zeros.float().any()


def test_plain_normalisers_and_candidates_are_log_sum_exp_and_the_best() -> None:
    torch.manual_seed(0)
    scores = torch.randn(3, 20)
    expected = scores.double().exp().sum(1).log()
    torch.testing.assert_close(fused.normalisers(scores).double(), expected, rtol=1e-5, atol=1e-5)
    best, words = fused.candidates(scores, 4)
    for row in range(3):
        ranked = sorted(range(20), key=lambda word: -float(scores[row, word]))[:4]
        assert words[row].tolist() == ranked
        assert best[row].tolist() == scores[row, ranked].tolist()


class Shapes(TorchDispatchMode):
    """Records the shapes of contiguous tensors in calls of GELU; oneDNN keeps a kernel for each."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.gelu_.default and args[0].is_contiguous():
            self.seen.add(tuple(args[0].shape))
        return func(*args, **(kwargs or {}))


def test_gelu_in_place_of_many_row_counts_is_within_rounding_of_float64_and_has_few_shapes() -> None:
    """300 row counts have one shape for each number of whole pieces, and one for a single row."""
    generator = torch.Generator().manual_seed(0)
    assert PIECE // 512 == 128
    with torch.inference_mode(), Shapes() as shapes:
        for rows in range(1, 301):
            x = torch.randn(rows, 1, 512, generator=generator)
            exact, bound = F.gelu(x.double()), gelu_bound(x)
            assert gelu_(x) is x
            assert_within(x, exact, bound)
        for shape in ((0, 8), (2, 3, 7), (3, 70_001)):
            x = torch.randn(shape, generator=generator)
            assert_within(gelu_(x.clone()), F.gelu(x.double()), gelu_bound(x))
    # 128 to 255 rows are one piece, 256 to 300 two; a single row; and rows that are longer than a piece.
    assert shapes.seen == {(1, PIECE), (2, PIECE), (512, 1), (3, 70_001)}


def test_triton_that_does_not_work_or_is_missing_is_replaced_by_plain_torch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a compiler, for example: one trial finds it out before any answer."""
    kernels = pytest.importorskip("harness.florence2.fast.kernels", reason="Triton is not installed")
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
    [message] = caplog.messages
    assert message == "Triton is installed, but does not work (no C compiler): using plain torch"
    monkeypatch.setitem(sys.modules, "harness.florence2.fast.kernels", None)  # as without Triton
    monkeypatch.delattr("harness.florence2.fast.kernels")
    assert chosen() is None
    assert len(caplog.messages) == 1
