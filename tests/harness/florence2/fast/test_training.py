"""Linear maps that multiply in bfloat16: near float32's in value and in every gradient."""

from __future__ import annotations

import torch
from torch import nn

from harness.florence2.fast.training import Bfloat16Linear


def test_products_in_bfloat16_are_near_those_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    x, w, b = (torch.randn(size, generator=generator, requires_grad=True) for size in ((3, 50, 64), (32, 64), (32,)))
    layer = Bfloat16Linear(64, 32)
    layer.weight, layer.bias = nn.Parameter(w.detach()), nn.Parameter(b.detach())
    exact = nn.functional.gelu(nn.functional.linear(x, w, b))
    near = nn.functional.gelu(layer(x))
    whole = torch.autograd.grad(exact.square().sum(), (x, w, b))
    halves = torch.autograd.grad(near.square().sum(), (x, layer.weight, layer.bias))
    assert near.dtype == torch.float32
    for one, other in zip((exact, *whole), (near, *halves), strict=True):
        assert float((one - other).detach().norm() / one.detach().norm()) < 0.01  # bfloat16 has 8 bits: 0.4 % a factor
    assert not torch.equal(exact, near)


def test_a_map_without_bias_is_the_product_of_rounded_factors() -> None:
    torch.manual_seed(0)
    layer, x = Bfloat16Linear(6, 4, bias=False), torch.randn(5, 6)
    expected = x.bfloat16().double() @ layer.weight.bfloat16().double().T
    # The sum is rounded once, to bfloat16's eight bits: half a unit in the last of them.
    torch.testing.assert_close(layer(x).double(), expected, rtol=2.0**-8, atol=1e-6)


def test_frozen_weights_get_no_gradient() -> None:
    layer = Bfloat16Linear(6, 4).requires_grad_(False)
    x = torch.randn(5, 6, requires_grad=True)
    layer(x).sum().backward()
    assert layer.weight.grad is None and layer.bias.grad is None
    assert x.grad is not None
    # Every row's gradient is the sum of the weights over the outputs, of bfloat16 weights.
    expected = layer.weight.bfloat16().double().sum(0).expand(5, -1)
    torch.testing.assert_close(x.grad.double(), expected, rtol=2.0**-8, atol=1e-6)
