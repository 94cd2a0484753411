"""The whole network on one screen: encode an image, encode it with a prompt, decode."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2.bart import Cache, Decoder, Encoder, Memory
from harness.florence2.config import Config
from harness.florence2.davit import DaViT
from harness.florence2.fusion import Fusion


class Florence2(nn.Module):
    """The network from pixels and prompt ids to logits; without files, strings or a search.

    Shapes: B sequences, I image tokens, P prompt tokens, S = I + P, E width, V vocabulary; R = B x beams rows.
    The vision tower and the text layers may have different precisions (see `fast.choose`).
    """

    backend = ""  # the runtime that computes the network, where that is not torch

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.vision = DaViT(config.vision)
        self.fusion = Fusion(config)
        self.embedding = nn.Embedding(config.text.vocab, config.text.width)
        self.encoder = Encoder(config.text)
        self.decoder = Decoder(config.text)
        self.lm_head = nn.Linear(config.text.width, config.text.vocab, bias=False)
        self.lm_head.weight = self.embedding.weight  # tied; `weights.load` unties them where a checkpoint does

    @property
    def hidden_width(self) -> int:
        """The last axis of what `decode` returns and `lm_head` takes."""
        return self.config.text.width

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Image tokens (B, I, E) of normalised pixels (B, 3, height, width)."""
        tokens: Tensor = self.fusion(self.vision(pixels))
        return tokens

    def encode(self, image: Tensor, prompt: Tensor, real: Tensor | None = None) -> Memory:
        """Encoder memory of image tokens (B, I, E) and prompt ids (B, P); `real` (B, P) is False at padding."""
        embedded = self.embedding(prompt)
        x = torch.cat([image.to(embedded.dtype), embedded], dim=1)
        mask = None if real is None else F.pad(real, (image.shape[1], 0), value=True)[:, None, None]
        return self.decoder.project_memory(self.encoder(x, mask), mask)

    def decode(self, tokens: Tensor, memory: Memory, cache: Cache | None = None) -> Tensor:
        """Hidden states (R, T, E) of token ids (R, T); `lm_head` maps them to logits.

        With a cache, the tokens follow the cached ones, and are appended to the cache.
        """
        hidden: Tensor = self.decoder(self.embedding(tokens), memory, cache)
        return hidden

    def forward(self, pixels: Tensor, prompt: Tensor, real: Tensor | None, tokens: Tensor) -> Tensor:
        """Logits (B, T, V) of the token after each of `tokens` (B, T), by teacher forcing."""
        logits: Tensor = self.lm_head(self.decode(tokens, self.encode(self.encode_image(pixels), prompt, real)))
        return logits
