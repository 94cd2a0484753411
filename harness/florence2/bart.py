"""The text encoder and decoder, after BART: post-norm, learned positions, GELU, biases everywhere.

Shapes, here and in every comment below:
    B  encoded sequences     S  encoder tokens (image and prompt)        E  width
    R  decoded rows: B times the beams; the beams of a sequence are adjacent
    T  decoder input tokens  N  heads        D  channels in a head       Y  layers

All beams of a sequence attend to the same encoder memory.  So its keys and values are stored once per sequence, and
the beams are laid out along the query axis.  `fast.text` has faster forms of the layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2.config import TextConfig
from harness.florence2.feed_forward import FeedForward


@dataclass(slots=True)
class Memory:
    """Encoder memory: cross-attention keys and values (Y, B, N, S, D), and a mask (B, 1, 1, S).

    The mask is True at real tokens; None where no token is padding.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor | None


@dataclass(slots=True)
class Cache:
    """Self-attention keys and values of the tokens decoded so far: (Y, R, N, capacity, D), filled up to `length`.

    Rows may be at different positions.  Then each decode step has one token, and three fields differ:
    `length` is that of the longest row; `positions` (R,) is the position of each row's next token;
    `mask` (R, 1, 1, length + 1) is True where a row may attend.
    """

    keys: Tensor
    values: Tensor
    length: int = 0
    positions: Tensor | None = None
    mask: Tensor | None = None

    @classmethod
    def empty(cls, config: TextConfig, rows: int, like: Tensor, capacity: int = 64) -> Cache:
        """An empty cache with the dtype and device of `like`."""
        shape = (config.decoder_layers, rows, config.heads, capacity, config.width // config.heads)
        return cls(like.new_zeros(shape), like.new_zeros(shape))

    def reserve(self, tokens: int) -> None:
        """Grows the buffers by a multiple of 64 positions if `tokens` more tokens do not fit."""
        missing = self.length + tokens - self.keys.shape[3]
        if missing > 0:
            more = (0, 0, 0, -(-missing // 64) * 64)
            self.keys = F.pad(self.keys, more)  # first the keys: their old buffer is freed before the values are copied
            self.values = F.pad(self.values, more)

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Stores a layer's keys and values (R, N, T, D); returns all stored so far, (R, N, length + T, D) each."""
        end = self.length + keys.shape[2]
        for buffer, new in ((self.keys[layer], keys), (self.values[layer], values)):
            if self.positions is None:
                buffer[:, :, self.length : end] = new
            else:
                buffer[torch.arange(len(self.positions), device=new.device), :, self.positions] = new[:, :, 0]
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


class Encoder(nn.Module):
    """Bidirectional self-attention over image and prompt."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.positions = Positions(config)
        self.norm = nn.LayerNorm(config.width)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Embedded tokens (B, S, E) to encoded tokens (B, S, E); `mask` (B, 1, 1, S) is True at real tokens."""
        x = self.norm(x + self.positions(0, x.shape[1]))
        for layer in self.layers:
            x = layer(x, mask)
        return x


class EncoderLayer(nn.Module):
    """Self-attention, then a feed-forward network; each output is added to its input and normalised."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(config)
        self.attention_norm = nn.LayerNorm(config.width)
        self.mlp = FeedForward(config.width, config.ffn)
        self.mlp_norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, S, E) to (B, S, E)."""
        x = self.attention_norm(x + self.attention(x, mask))
        x = self.mlp_norm(x + self.mlp(x))
        return bounded(x)


class Decoder(nn.Module):
    """Causal self-attention over the decoded tokens, and cross-attention to encoder memory."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.positions = Positions(config)
        self.norm = nn.LayerNorm(config.width)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.memory = nn.Linear(config.width, 2 * config.width * config.decoder_layers)
        self.heads = config.heads

    def project_memory(self, encoded: Tensor, mask: Tensor | None) -> Memory:
        """Encoder memory from encoded tokens (B, S, E): one product gives keys and values of every layer."""
        batch, length, _ = encoded.shape
        both: Tensor = self.memory(encoded)
        both = both.view(batch, length, 2 * len(self.layers), self.heads, -1).permute(2, 0, 3, 1, 4)
        return Memory(both[0::2].contiguous(), both[1::2].contiguous(), mask)

    def forward(self, x: Tensor, memory: Memory, cache: Cache | None = None) -> Tensor:
        """Embedded tokens (R, T, E) to hidden states (R, T, E).

        With a cache, the tokens follow the cached ones, and are appended to the cache.
        """
        start = cache.length if cache else 0
        tokens = x.shape[1]
        if cache:
            cache.reserve(tokens)
        if cache and cache.positions is not None:
            x = self.norm(x + self.positions.at(cache.positions))
        else:
            x = self.norm(x + self.positions(start, tokens))
        for index, layer in enumerate(self.layers):
            x = layer(x, memory, index, cache)
        if cache:
            cache.length += tokens
        return x


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention, feed-forward network; each output is added to its input and normalised."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(config)
        self.attention_norm = nn.LayerNorm(config.width)
        self.cross = CrossAttention(config)
        self.cross_norm = nn.LayerNorm(config.width)
        self.mlp = FeedForward(config.width, config.ffn)
        self.mlp_norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, memory: Memory, index: int, cache: Cache | None) -> Tensor:
        """(R, T, E) to (R, T, E)."""
        x = self.attention_norm(x + self.attention.causal(x, index, cache))
        x = self.cross_norm(x + self.cross(x, memory.keys[index], memory.values[index], memory.mask))
        x = self.mlp_norm(x + self.mlp(x))
        return x


class SelfAttention(nn.Module):
    """Self-attention whose queries, keys and values come from one product."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, S, E) to (B, S, E): every token attends to every real token."""
        q, k, v = self.split(x)
        return self.join(F.scaled_dot_product_attention(q, k, v, mask))

    def causal(self, x: Tensor, layer: int, cache: Cache | None) -> Tensor:
        """(R, T, E) to (R, T, E): every token attends to itself and to the tokens before it.

        ValueError for several tokens after a prefill: a decode step has one token.
        """
        q, k, v = self.split(x)
        if cache:
            k, v = cache.append(layer, k, v)
        prefill = q.shape[2] == k.shape[2]
        if not prefill and q.shape[2] != 1:
            raise ValueError(f"{q.shape[2]} tokens after the prefill; a decode step takes one token at a time")
        mask = cache.mask if cache else None
        return self.join(F.scaled_dot_product_attention(q, k, v, mask, is_causal=prefill and q.shape[2] > 1))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(R, T, E) to 3 x (R, N, T, D)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return q, k, v

    def join(self, x: Tensor) -> Tensor:
        """(R, N, T, D) to (R, T, E)."""
        out: Tensor = self.out(x.transpose(1, 2).flatten(2))
        return out


class CrossAttention(nn.Module):
    """Cross-attention to encoder memory, whose keys and values come from `Decoder.project_memory`."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.width, config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """(R, T, E) to (R, T, E), with keys and values (B, N, S, D) that the R / B beams of a sequence share."""
        rows, tokens, _ = x.shape
        q = self.query(x).view(keys.shape[0], -1, self.heads, keys.shape[-1]).transpose(1, 2)  # (B, N, R/B*T, D)
        x = F.scaled_dot_product_attention(q, keys, values, mask)
        out: Tensor = self.out(x.transpose(1, 2).reshape(rows, tokens, -1))
        return out


class Positions(nn.Embedding):
    """Learned position embeddings; as in BART, position 0 is the table's third row."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__(config.positions + 2, config.width)

    def forward(self, start: int, count: int) -> Tensor:  # type: ignore[override]
        """(count, E): embeddings of `count` positions from `start`; ValueError past the table's end."""
        if start + count + 2 > self.num_embeddings:
            raise ValueError(f"{start + count} tokens; this checkpoint has positions for {self.num_embeddings - 2}")
        return self.weight[start + 2 : start + count + 2]

    def at(self, positions: Tensor) -> Tensor:
        """(R, 1, E): embeddings of the positions (R,) of each row's single token."""
        return self.weight[positions + 2][:, None]


def bounded(x: Tensor) -> Tensor:
    """In float16, x clamped to +-64,504 as in transformers (float16's largest number, 65,504, less 1,000)."""
    return x.clamp(-64504.0, 64504.0) if x.dtype == torch.float16 else x
