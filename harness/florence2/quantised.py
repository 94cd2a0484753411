"""Linear maps in eight bits, for a CPU: an option that trades a little accuracy for speed.

Weights are rounded once, each output channel by its own largest value, to [-127, 127]; what is fed in is rounded as it
comes, each row by its own largest value, so that what else is in the batch changes nothing.  Products are summed in
whole numbers by oneDNN, through the operator that torch.compile's own code calls; everything between the maps stays
float32.  The output map of channel attention, whose weight is folded into another product, is left as it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.errors import ResourceError
from harness.florence2.davit import ChannelAttention
from harness.florence2.linear import Linear

LEAST = 1e-12  # of a row's largest value, so that a row of zeros divides by something


class Int8Linear(nn.Module):
    """A `Linear` with eight-bit weights and inputs."""

    def __init__(self, like: Linear) -> None:
        super().__init__()
        weight = like.weight.detach().float()
        self.scale = weight.abs().amax(1).clamp_min(LEAST) / 127  # (out,)
        rounded = (weight / self.scale[:, None]).round().to(torch.int8)
        self.packed = torch.ops.onednn.qlinear_prepack(rounded, None)
        self.zero = torch.zeros(len(rounded), dtype=torch.int32)
        self.bias = None if like.bias is None else like.bias.detach().float()

    def forward(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        """(..., in) to (..., out), float32."""
        rows = x.reshape(-1, x.shape[-1])
        largest = rows.abs().amax(1, keepdim=True).clamp_min(LEAST)
        rounded = (rows * (127 / largest)).round_().add_(128).to(torch.uint8)
        out: Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded, 1 / 127, 128, self.packed, self.scale, self.zero, None, 1.0, 0, torch.float32, "none", [], ""
        )
        out = out.mul_(largest) if self.bias is None else torch.addcmul(self.bias, out, largest)
        return (F.gelu(out) if gelu else out).view(*x.shape[:-1], -1)


def quantise(model: nn.Module) -> None:
    """Every `Linear` in eight bits, in place; ResourceError where this build of torch has no kernel for it."""
    if not hasattr(torch.ops.onednn, "qlinear_pointwise"):
        raise ResourceError("int8 needs a torch with oneDNN, which this is not; try --dtype float32")
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Linear) and not (isinstance(parent, ChannelAttention) and name == "proj"):
                setattr(parent, name, Int8Linear(child))
