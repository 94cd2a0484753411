"""Linear maps in fewer bits, each against the same arithmetic in whole numbers or in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from harness.florence2.fast import quantised
from harness.florence2.fast.linear import Linear
from harness.florence2.fast.quantised import Float8Linear, HalfLinear, Int8Linear

FBGEMM = "fbgemm" in torch.backends.quantized.supported_engines


@pytest.fixture(params=[63, None], ids=["seven bits", "as this CPU can"])
def most(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    if request.param is not None:
        monkeypatch.setattr(quantised, "largest_weight", lambda: request.param)
    return quantised.largest_weight()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("gelu", [True, False])
def test_it_is_the_product_of_rounded_factors(bias: bool, gelu: bool, most: int) -> None:
    torch.manual_seed(0)
    like, x = Linear(40, 24, bias=bias), torch.randn(2, 5, 40) * torch.logspace(-3, 3, 5)[:, None]
    with torch.no_grad():
        found = Int8Linear(like)(x, gelu=gelu)
        # Whole numbers: weights by the largest of their output, inputs from the least to the largest of their row.
        by_output = like.weight.abs().amax(1) / most
        weight = (like.weight / by_output[:, None]).round().double() * by_output.double()[:, None]
        least, largest = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
        by_row = (largest - least) / 255
        expected = (((x - least) / by_row).round().double() * by_row + least) @ weight.T
        if bias:
            expected = expected + like.bias
        expected = F.gelu(expected) if gelu else expected
        torch.testing.assert_close(found.double(), expected, rtol=2e-3, atol=1e-4)  # a tie may round either way
        exact = like(x, gelu=gelu)
    assert (found - exact).norm() / exact.norm() < 0.02 * 127 / most
    assert not torch.equal(found, exact)


@pytest.mark.skipif(not FBGEMM, reason="this torch has no FBGEMM")
@pytest.mark.parametrize("gelu", [True, False])
def test_what_writes_is_the_product_of_weights_in_half_precision(gelu: bool) -> None:
    torch.manual_seed(0)
    like, x = Linear(40, 24), torch.randn(2, 5, 40) * torch.logspace(-3, 3, 5)[:, None]
    with torch.no_grad():
        found = HalfLinear(like)(x, gelu=gelu)
        expected = F.linear(x.double(), like.weight.half().double(), like.bias.double())
    torch.testing.assert_close(found.double(), F.gelu(expected) if gelu else expected, rtol=1e-4, atol=1e-5)


def test_what_else_is_in_the_batch_changes_nothing() -> None:
    torch.manual_seed(1)
    like = Linear(32, 16)
    mapped = Int8Linear(like)
    x = torch.randn(6, 32)
    x[3] = 2.5
    with torch.inference_mode():
        together = mapped(x * torch.tensor([1.0, 50, 0, 1, 1e4, 1])[:, None])
        torch.testing.assert_close(mapped(x[:1]), together[:1], rtol=0, atol=0)
        torch.testing.assert_close(together[2], like.bias, rtol=0, atol=0)  # a row of zeros
        # A row of one value is that value times the sums of the rounded weights.
        torch.testing.assert_close(together[3], 2.5 * mapped.sums + like.bias)


def test_the_largest_products_are_summed_whole(most: int) -> None:
    like = Linear(64, 8, bias=False)
    with torch.no_grad():
        like.weight.fill_(1.0)
        x = torch.ones(3, 64)
        x[:, -1] = 0.0  # so that a one is 255
        found = Int8Linear(like)(x)
    torch.testing.assert_close(found, torch.full((3, 8), 63.0))  # in sixteen bits: about half of it


@pytest.mark.parametrize("bias", [True, False])
def test_float8_is_the_product_of_rounded_factors(bias: bool) -> None:
    torch.manual_seed(4)
    like = Linear(48, 32, bias=bias).bfloat16()
    x = (torch.randn(2, 5, 48) * torch.logspace(-3, 3, 5)[:, None]).bfloat16()
    with torch.inference_mode():
        found = Float8Linear(like)(x)
        # e4m3: the largest of an output or of a row becomes 448; a significand has three bits behind its first.
        weight, rows = like.weight.double(), x.double()
        by_output, by_row = weight.abs().amax(1) / 448, rows.abs().amax(-1, keepdim=True) / 448
        expected = (three_bits(rows / by_row) @ three_bits(weight / by_output[:, None]).T) * by_row * by_output
        if like.bias is not None:
            expected = expected + like.bias.double()
        exact = like(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, rtol=0.02, atol=0.01 * expected.abs().max().item() / 1000)
    assert (found - exact).norm() / exact.norm() < 0.05


def three_bits(x: torch.Tensor) -> torch.Tensor:
    """Rounded to a multiple of an eighth of the power of two below it, or of 2 ** -9 where it is small."""
    step = 2.0 ** (x.abs().clamp_min(2.0**-6).log2().floor() - 3)
    return (x / step).round() * step
