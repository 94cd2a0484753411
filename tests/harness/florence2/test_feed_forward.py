"""The feed-forward network versus its formula in Python's own arithmetic."""

from __future__ import annotations

import math

import pytest
import torch

from harness.florence2.feed_forward import FeedForward


def exact_gelu(x: float) -> float:
    """x times the probability that a standard normal variable is below x."""
    return x * 0.5 * (1.0 + math.erf(x / math.sqrt(2.0)))


@torch.no_grad()
def test_feed_forward_equals_its_formula_with_the_exact_gelu() -> None:
    torch.manual_seed(0)
    network, x = FeedForward(3, 5).double(), 3 * torch.randn(2, 3).double()
    y = network(x)
    up, down = network.up, network.down
    for row in range(2):
        hidden = [
            exact_gelu(sum(float(up.weight[unit, i] * x[row, i]) for i in range(3)) + float(up.bias[unit]))
            for unit in range(5)
        ]
        for out in range(3):
            expected = sum(float(down.weight[out, i]) * hidden[i] for i in range(5)) + float(down.bias[out])
            assert float(y[row, out]) == pytest.approx(expected, rel=1e-12)


def test_feed_forward_of_any_leading_axes_keeps_them() -> None:
    assert FeedForward(3, 5)(torch.zeros(2, 4, 6, 3)).shape == (2, 4, 6, 3)
