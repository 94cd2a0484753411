"""Faster forms of the text layers, with the parameters of the plain ones (`bart`, whose axis letters hold here).

A residual and the norm behind it are one pass over memory on a GPU (`fused.add_norm`).

Where the cache is a `LineageCache`, the beams of a sequence copy nothing when they diverge or end.  The cache keeps
beside the keys and values which beam wrote them, and attention reads a beam's past in the rows of its ancestors.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from harness.florence2 import bart
from harness.florence2.bart import Cache, Memory, bounded
from harness.florence2.fast.fused import add_norm, attend_lineage


@dataclass(slots=True)
class LineageCache(Cache):
    """A cache whose rows are never reordered: `lineage` (B, K, room), for K beams of a sequence, says which beam of its
    sequence wrote what a beam has at each place.  `places` must be given; `mask` is not read."""

    lineage: Tensor = field(kw_only=True)


class EncoderLayer(bart.EncoderLayer):
    """Self-attention, then a feed-forward network, each added and normalised in one pass."""

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, S, E) to (B, S, E)."""
        x = add_norm(x, self.attention(x, mask), self.attention_norm)
        x = add_norm(x, self.mlp(x), self.mlp_norm)
        return bounded(x)


class DecoderLayer(bart.DecoderLayer):
    """Self-attention, cross-attention, feed-forward, each added and normalised in one pass."""

    def forward(self, x: Tensor, memory: Memory, index: int, cache: Cache | None) -> Tensor:
        """(R, T, E) to (R, T, E)."""
        x = add_norm(x, self.attention.causal(x, index, cache), self.attention_norm)
        x = add_norm(x, self.cross(x, memory.keys[index], memory.values[index], memory.mask), self.cross_norm)
        return add_norm(x, self.mlp(x), self.mlp_norm)


class SelfAttention(bart.SelfAttention):
    """Self-attention that reads a `LineageCache` as well."""

    def causal(self, x: Tensor, layer: int, cache: Cache | None) -> Tensor:
        """(R, T, E) to (R, T, E): every token sees itself and what came before it."""
        if not isinstance(cache, LineageCache) or cache.places is None:
            return super().causal(x, layer, cache)
        new = self.qkv(x)[:, 0]
        x = attend_lineage(new, cache.keys[layer], cache.values[layer], cache.lineage, cache.places)
        out: Tensor = self.out(x)
        return out[:, None]


def reads_lineage(decoder: bart.Decoder) -> bool:
    """Whether the decoder's layers can attend to a `LineageCache`."""
    return all(isinstance(layer.attention, SelfAttention) for layer in decoder.layers)
