"""Linear maps for training on a CPU in bfloat16.

The three products of a linear map (forward, and backward to its input and to its weight) have bfloat16 factors.  All
other numbers are float32: sums, results, parameters and gradients.  torch's autocast also rounds the numbers between
products, where conversions cost a CPU more time than they save.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Bfloat16Linear(nn.Linear):
    """`nn.Linear` whose products, forward and backward, are in bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out), both float32."""
        rows: Tensor = _Products.apply(x.flatten(0, -2), self.weight, self.bias)  # type: ignore[no-untyped-call]
        return rows.view(*x.shape[:-1], -1)


class _Products(torch.autograd.Function):
    """(M, in), (out, in), (out) to (M, out): bfloat16 factors; float32 inputs, results and gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x, weight = x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        product = F.linear(x, weight).float()
        return product if bias is None else product.add_(bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        half = gradient.bfloat16()
        to_x, to_weight, to_bias = ctx.needs_input_grad
        return (
            (half @ weight).float() if to_x else None,
            (half.T @ x).float() if to_weight else None,
            gradient.sum(0) if to_bias and ctx.biased else None,
        )
