"""Linear maps that multiply in bfloat16 versus float32, in value and in every gradient."""

from __future__ import annotations

import torch
from torch import nn

from harness.florence2.fast.training import Bfloat16Linear
from tests.rounding import assert_within, product_bound


def test_bfloat16_linear_is_within_one_percent_of_float32_in_value_and_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    x, w, b = (torch.randn(size, generator=generator, requires_grad=True) for size in ((3, 50, 64), (32, 64), (32,)))
    layer = Bfloat16Linear(64, 32)
    layer.weight, layer.bias = nn.Parameter(w.detach()), nn.Parameter(b.detach())
    exact = nn.functional.gelu(nn.functional.linear(x, w, b))
    near = nn.functional.gelu(layer(x))
    exact_gradients = torch.autograd.grad(exact.square().sum(), (x, w, b))
    gradients = torch.autograd.grad(near.square().sum(), (x, layer.weight, layer.bias))
    assert near.dtype == torch.float32
    for expected, computed in zip((exact, *exact_gradients), (near, *gradients), strict=True):
        # bfloat16 has 8 bits: a factor is off by at most 0.4 %, and the errors of many products average out.
        assert float((expected - computed).detach().norm() / expected.detach().norm()) < 0.01
    assert not torch.equal(exact, near)


def test_map_without_bias_is_the_product_of_rounded_factors() -> None:
    torch.manual_seed(0)
    layer, x = Bfloat16Linear(6, 4, bias=False), torch.randn(5, 6)
    rounded, weight = x.bfloat16(), layer.weight.detach().bfloat16()
    exact = rounded.double() @ weight.double().T
    # A float32 sum, rounded once to bfloat16's 8 bits.
    assert_within(layer(x), exact, product_bound(rounded, weight) + 2.0**-8 * exact.abs())


def test_frozen_weights_get_no_gradient_and_the_input_gets_its_own() -> None:
    torch.manual_seed(0)
    layer = Bfloat16Linear(6, 4).requires_grad_(False)
    x = torch.randn(5, 6, requires_grad=True)
    layer(x).sum().backward()
    assert layer.weight.grad is None and layer.bias.grad is None
    assert x.grad is not None
    # The gradient of every row is the sum of the bfloat16 weights over the outputs: a product with ones.
    weight, ones = layer.weight.bfloat16(), torch.ones(5, 4)
    exact = ones.double() @ weight.double()
    assert_within(x.grad, exact, product_bound(ones, weight.T) + 2.0**-8 * exact.abs())
