"""Faster forms of the text layers, with the parameters and axis letters of the plain ones (`bart`).

On a GPU, a residual connection and the norm behind it are one pass over memory (`fused.add_norm`).

With a `LineageCache`, no cache row is copied when beams diverge or end.  The cache records which beam wrote each
position, and attention reads a beam's past from the rows of its ancestors.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from harness.florence2 import bart
from harness.florence2.bart import Cache, Memory, bounded
from harness.florence2.fast.fused import add_norm, attend_lineage


@dataclass(slots=True)
class LineageCache(Cache):
    """A cache whose rows are never reordered.

    `lineage` (B, K, capacity), for K beams of a sequence, is the beam of the sequence that wrote a beam's keys and
    values at each position.  `positions` is required; `mask` is ignored.
    """

    lineage: Tensor = field(kw_only=True)


class EncoderLayer(bart.EncoderLayer):
    """`bart.EncoderLayer` with residual connection and norm in one pass."""

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, S, E) to (B, S, E)."""
        x = add_norm(x, self.attention(x, mask), self.attention_norm)
        x = add_norm(x, self.mlp(x), self.mlp_norm)
        return bounded(x)


class DecoderLayer(bart.DecoderLayer):
    """`bart.DecoderLayer` with residual connection and norm in one pass."""

    def forward(self, x: Tensor, memory: Memory, index: int, cache: Cache | None) -> Tensor:
        """(R, T, E) to (R, T, E)."""
        x = add_norm(x, self.attention.causal(x, index, cache), self.attention_norm)
        x = add_norm(x, self.cross(x, memory.keys[index], memory.values[index], memory.mask), self.cross_norm)
        return add_norm(x, self.mlp(x), self.mlp_norm)


class SelfAttention(bart.SelfAttention):
    """`bart.SelfAttention` that also accepts a `LineageCache`."""

    def causal(self, x: Tensor, layer: int, cache: Cache | None) -> Tensor:
        """See `bart.SelfAttention.causal`; with a `LineageCache`, T is 1."""
        if not isinstance(cache, LineageCache) or cache.positions is None:
            return super().causal(x, layer, cache)
        new = self.qkv(x)[:, 0]
        x = attend_lineage(new, cache.keys[layer], cache.values[layer], cache.lineage, cache.positions)
        out: Tensor = self.out(x)
        return out[:, None]


def reads_lineage(decoder: bart.Decoder) -> bool:
    """Whether all layers of the decoder accept a `LineageCache`."""
    return all(isinstance(layer.attention, SelfAttention) for layer in decoder.layers)
